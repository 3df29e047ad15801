from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorops.api.pointset import Point
from vectorops.api.reasons import Reason
from vectorops.api.source import Mapping
from vectorops.errors import Terminal
from vectorops.formats.base import ArrowRows, BadRow, JsonRows
from vectorops.formats.read import format_of, read_rows
from vectorops.points.block import Block
from vectorops.points.declared import declare
from vectorops.points.fingerprints import fingerprint_payload, fingerprint_vector
from vectorops.points.identity import point_id
from vectorops.points.mapping import Mapper
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.vectors import Sparse

UNNAMED: PointSchema = {"": VectorSchema("dense", 2, distance="Dot")}
NAMED: PointSchema = {
    "text": VectorSchema("dense", 2, distance="Dot"),
    "late": VectorSchema("multivector", 2, distance="Dot"),
    "words": VectorSchema("sparse", distance="Dot"),
}


def arrow(columns: dict[str, Any] | pa.Table) -> ArrowRows:
    batch = pa.RecordBatch.from_pydict(columns) if isinstance(columns, dict) else columns.to_batches()[0]
    return ArrowRows(range(1, batch.num_rows + 1), batch)


def objects(*rows: dict[str, Any]) -> JsonRows:
    return JsonRows(range(1, len(rows) + 1), rows)


def mapped(rows: ArrowRows | JsonRows, schema: PointSchema = UNNAMED, *, mapping: Any = None, **options: Any) -> Block:
    declared = Mapping.model_validate(mapping) if mapping is not None else None
    return Mapper(declared, schema, **options).map(rows)


def refusal(rows: ArrowRows | JsonRows, schema: PointSchema = UNNAMED, **options: Any) -> str:
    with pytest.raises(Terminal) as caught:
        mapped(rows, schema, **options)
    assert caught.value.reason == Reason.SOURCE_INVALID
    return caught.value.message


def both(columns: dict[str, Any]) -> list[ArrowRows | JsonRows]:
    """The same rows as Arrow and as JSON."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [arrow(columns), objects(*rows)]


def plain(vectors: Any) -> list[Any]:
    return [None if one is None else one.tolist() for one in vectors]


# Defaults


def test_by_default_id_is_the_id_vector_the_vector_and_the_rest_payload():
    for rows in both({"id": [1, 2], "vector": [[0.5, 1.0], [2.0, 3.0]], "title": ["a", None], "scores": [[0.5], []]}):
        block = mapped(rows)

        assert block.ids == [1, 2]
        assert list(block.shown_ids) == ["1", "2"]
        assert list(block.numbers) == [1, 2]
        assert plain(block.vectors[""]) == [[0.5, 1.0], [2.0, 3.0]]
        assert block.payloads == [{"title": "a", "scores": [0.5]}, {"title": None, "scores": []}]
        assert not block.failures


def test_a_column_named_as_a_vector_is_that_vector_and_one_without_a_column_stays_absent():
    for rows in both(
        {
            "id": ["a"],
            "text": [[1.0, 2.0]],
            "words": [{"indices": [7, 3], "values": [0.5, 0.25]}],
            "vector": [[9.0, 9.0]],
        }
    ):
        block = mapped(rows, NAMED)

        assert set(block.vectors) == {"text", "words"}
        sparse = block.vectors["words"][0]
        assert isinstance(sparse, Sparse)
        assert (sparse.indices.tolist(), sparse.values.tolist()) == ([3, 7], [0.25, 0.5])
        assert block.payloads == [{"vector": [9.0, 9.0]}]


def test_vector_is_the_only_vector_whatever_its_name():
    for rows in both({"id": [1], "vector": [[1.0, 2.0]]}):
        assert plain(mapped(rows, {"text": NAMED["text"]}).vectors["text"]) == [[1.0, 2.0]]


def test_the_rows_of_a_multivector_may_be_one():
    for rows in both({"id": [1, 2], "late": [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]]}):
        assert plain(mapped(rows, NAMED).vectors["late"]) == [[[1, 2], [3, 4]], [[5, 6]]]
    for rows in both({"id": [1], "late": [[1.0, 2.0]]}):
        assert plain(mapped(rows, NAMED).vectors["late"]) == [[[1, 2]]]


def test_columns_that_pandas_adds_by_itself_are_left_out_unless_named():
    rows = arrow({"id": [1], "__index_level_0__": [7], "index": [3]})
    assert mapped(rows).payloads == [{"index": 3}]
    assert mapped(rows, mapping={"payload": {"rename": {"__index_level_0__": "row"}}}).payloads == [
        {"index": 3, "row": 7}
    ]
    pandas = {b"pandas": json.dumps({"index_columns": ["index"], "columns": []}).encode()}
    fastparquet = pa.table({"id": [1], "index": [3]}).replace_schema_metadata(pandas)
    assert mapped(arrow(fastparquet)).payloads == [{}]


def test_a_row_of_json_is_mapped_alike_whatever_rows_come_with_it():
    only = {"text": NAMED["text"]}
    block = mapped(objects({"id": 1, "text": [1, 2], "vector": [0]}, {"id": 2, "vector": [3, 4], "": "kept"}), only)

    assert plain(block.vectors["text"]) == [[1, 2], [3, 4]]
    assert block.payloads == [{"vector": [0]}, {"": "kept"}]


# Mapping


def test_a_mapping_names_nested_columns_keeps_some_and_renames_others():
    columns = {
        "meta": [{"key": "k", "lang": "de"}],
        "emb": [{"v": [1.0, 2.0], "model": "m"}],
        "a.b": ["dotted"],
        "title": ["t"],
        "drop": ["d"],
    }
    base = {"id": "meta.key", "vectors": [{"column": "emb.v"}]}
    for rows in both(columns):
        block = mapped(rows, mapping={**base, "payload": {"exclude": ["drop"], "rename": {"meta.lang": "language"}}})
        assert block.ids == [point_id("k")]
        assert plain(block.vectors[""]) == [[1.0, 2.0]]
        assert block.payloads == [{"emb": {"model": "m"}, "a.b": "dotted", "title": "t", "language": "de"}]

        block = mapped(
            rows,
            mapping={**base, "payload": {"include": ["meta.lang", "a.b"], "constants": {"by": "us"}}},
            store_id_as="declared",
        )
        assert block.payloads == [{"meta": {"lang": "de"}, "a.b": "dotted", "by": "us", "declared": "k"}]


def test_one_column_may_hold_the_whole_payload():
    mapping = {"payload": {"column": "meta", "constants": {"shelf": "a"}}}
    first = {"title": "a", "nested": {"deep": [None, 2**64 - 1, 0.1]}}
    values = [first, None]
    texts = [json.dumps(value) if value is not None else None for value in values]
    columns = {"id": [1, 2], "vector": [[0.5, 1.0], [2.0, 3.0]], "ignored": [1, 2]}
    wanted = [{**first, "shelf": "a", "number": 1}, {"shelf": "a", "number": 2}]
    as_objects = objects(*({"id": id, "vector": [1, 2], "meta": value} for id, value in enumerate(values, 1)))
    for rows in (*both({**columns, "meta": texts}), as_objects):
        assert mapped(rows, mapping=mapping, store_id_as="number").payloads == wanted

    struct = arrow({"id": [1], "vector": [[0.5, 1.0]], "meta": [{"title": "a", "tags": ["x"]}]})
    assert mapped(struct, mapping=mapping).payloads == [{"title": "a", "tags": ["x"], "shelf": "a"}]


def test_a_whole_payload_that_is_none_fails_its_row():
    deep: Any = 1
    for _ in range(33):
        deep = {"a": deep}
    texts = ["[1]", "{", json.dumps({"shelf": "b"}), json.dumps(deep), "{}"]
    mapping = {"payload": {"column": "meta", "constants": {"shelf": "a"}}}
    for rows in both({"id": [1, 2, 3, 4, 5], "vector": [[0.5, 1.0]] * 5, "meta": texts}):
        block = mapped(rows, mapping=mapping)

        assert block.ids == [5]
        no_object, no_json, twice, too_deep = [failure.reason for failure in block.failures]
        assert no_object == "column meta: no object, which a payload is"
        assert no_json.startswith("column meta: ")
        assert "field shelf twice" in twice
        assert too_deep.startswith("column meta: ")

    assert "mapping.payload.column" in refusal(arrow({"id": [1], "vector": [[0.5, 1.0]]}), mapping=mapping)


def test_several_columns_are_the_id_together():
    for rows in both({"doc": ["a", "a", None], "page": [1, 2, 3], "x": [0, 0, 0]}):
        block = mapped(rows, mapping={"idFrom": ["doc", "page"]}, store_id_as="key")

        assert block.ids == [point_id(["a", 1]), point_id(["a", 2])]
        assert block.payloads[0] == {"x": 0, "key": ["a", 1]}
        assert [(one.number, one.id) for one in block.failures] == [(3, None)]


def test_texts_are_embedded_and_stay_in_the_payload():
    columns = {"id": [1, 2, 3, 4], "title": ["T", "U", None, " "], "body": ["b", None, None, ""], "year": [1, 2, 3, 4]}
    for rows in both(columns):
        block = mapped(
            rows,
            {"text": NAMED["text"]},
            embedded=["text"],
            mapping={"vectors": [{"name": "text", "template": "{title}{{}} {body}"}]},
        )
        assert block.texts == {"text": ["T{} b", "U{} ", None, " {} "]}

        block = mapped(
            rows, {"text": NAMED["text"]}, embedded=["text"], mapping={"vectors": [{"name": "text", "embed": "title"}]}
        )
        assert block.texts == {"text": ["T", "U", None]}
        assert block.payloads[0] == {"title": "T", "body": "b", "year": 1}
        assert [(one.id, one.reason) for one in block.failures] == [(4, "vectors.text: empty text")]


def test_types_say_what_the_texts_of_csv_are():
    mapping = {
        "types": {"id": "Integer", "n": "Integer", "x": "Number", "b": "Boolean", "j": "JSON"},
        "vectors": [{"column": "v", "encoding": "JSON"}],
    }
    columns = {
        "id": ["7", "8", "x", "10"],
        "n": ["00123", "", "1", "1.5"],
        "x": ["1e3", "-.5", "1", "nan"],
        "b": ["true", "FALSE", "", ""],
        "j": ['{"a": [1]}', "null", "[]", "[]"],
        "plain": ["00123", "", "2026-11-28", ""],
        "v": ["[1, 2.5]", "", "[1,2]", "[1,2]"],
    }
    for rows in both(columns):
        block = mapped(rows, mapping=mapping)

        assert block.ids == [7, 8]
        assert block.payloads == [
            {"n": 123, "x": 1000.0, "b": True, "j": {"a": [1]}, "plain": "00123"},
            {"n": None, "x": -0.5, "b": False, "j": None, "plain": ""},
        ]
        assert plain(block.vectors[""]) == [[1.0, 2.5], None]
        assert [(one.number, one.id, one.reason) for one in block.failures] == [
            (3, None, "column id: no Integer"),
            (4, 10, "column n: no Integer"),
        ]


# Rows that are no points


def test_a_bad_row_fails_alone_and_keeps_its_id():
    huge, nan = 1e39, math.nan
    columns = {"id": [1, 2, 3, 4, 5], "vector": [[1.0, 2.0], [1.0], [huge, 0.0], [nan, 0.0], [1.0, None]]}
    for rows in both(columns):
        block = mapped(rows)

        assert block.ids == [1]
        assert plain(block.vectors[""]) == [[1.0, 2.0]]
        assert [(one.number, one.id, one.shown_id) for one in block.failures] == [
            (2, 2, "2"),
            (3, 3, "3"),
            (4, 4, "4"),
            (5, 5, "5"),
        ]
        assert block.failures[0].reason == "column vector: 1 component, but the vector's size is 2"
        assert block.failures[1].reason == "column vector[0]: not a finite float32 number"


def test_a_row_without_id_has_none_that_could_be_protected():
    for rows in both({"id": ["a", None, ""], "x": [1, 2, 3]}):
        block = mapped(rows)

        assert block.ids == [point_id("a")]
        assert [(one.number, one.id, one.reason) for one in block.failures] == [
            (2, None, "column id: the row has no id"),
            (3, None, "column id: the row has no id"),
        ]
    assert [one.id for one in mapped(objects({"x": 1})).failures] == [None]
    assert [one.id for one in mapped(arrow({"id": [-1, 1]})).failures] == [None]


def test_a_row_that_could_not_be_read_is_a_failure_without_id():
    block = Mapper(None, UNNAMED).map(BadRow(7, "no JSON"))

    assert len(block) == 0
    assert [(one.number, one.reason, one.id) for one in block.failures] == [(7, "no JSON", None)]


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        (
            "a.jsonl",
            b'{"id": 7, "x": NaN}\n{"id": "a", "x": 36893488147419103232}\n{"id": 1, "t": "\xff"}\n',
            [7, "a", 1],
        ),
        ("a.jsonl", b'{"id": NaN}\n{"id": 36893488147419103232}\n{"id": "\xff"}\n{"id"\n', [None] * 4),
        ("a.csv", b"id,t\na,\xff\n\xff,b\n", ["a", None]),
    ],
)
def test_a_row_that_cannot_be_read_whole_is_a_failure_with_the_id_that_can(tmp_path, name, content, ids):
    (tmp_path / name).write_bytes(content)
    mapper = Mapper(None, UNNAMED)

    blocks = [mapper.map(rows) for rows in read_rows(tmp_path / name, format_of(name))]

    assert sum(map(len, blocks)) == 0
    expected = [None if one is None else point_id(one) for one in ids]
    assert [one.id for block in blocks for one in block.failures] == expected


def test_a_payload_that_is_no_json_fails_its_row():
    years = pa.array([0, 2**62], pa.timestamp("us"))
    assert [one.number for one in mapped(arrow({"id": [1, 2], "at": years})).failures] == [2]
    assert [one.number for one in mapped(arrow({"id": [1, 2], "x": [1.0, math.inf]})).failures] == [2]
    assert [one.number for one in mapped(arrow({"id": [1, 2, 3], "x": [[1.0], [], [math.nan]]})).failures] == [3]
    twice = pa.array([[("a", 1), ("a", 2)], [("a", 1)]], pa.map_(pa.string(), pa.int64()))
    assert [one.reason for one in mapped(arrow({"id": [1, 2], "m": twice})).failures] == [
        "column m: a key is given twice"
    ]
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert "nested" in mapped(objects({"id": 1, "x": deep})).failures[0].reason


def no_utf8(good: str) -> pa.Array:
    data = good.encode() + b"\xff"
    offsets = np.array([0, len(data) - 1, len(data)], np.int32).tobytes()
    return pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def test_text_that_is_no_utf8_fails_its_row():
    block = mapped(arrow({"id": [1, 2], "t": no_utf8("good")}))
    assert block.payloads == [{"t": "good"}]
    assert [(one.id, one.reason) for one in block.failures] == [(2, "column t: no UTF-8")]
    assert [one.id for one in mapped(arrow({"id": no_utf8("a"), "t": [1, 2]})).failures] == [None]


def test_a_batch_that_is_part_of_a_larger_one_is_read_right():
    """Slices of Arrow share the buffers of the whole."""
    whole = pa.table(
        {
            "id": [1, 2, 3, 4],
            "vector": pa.array([[0, 0], [1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)),
            "tags": [["a"], ["b", "c"], None, []],
            "meta": [{"x": 1}, None, {"x": 3}, {"x": 4}],
            "map": pa.array([[("a", 1)], [("b", 2)], [], None], pa.map_(pa.string(), pa.int64())),
            "view": pa.array([[1], [2, 3], None, [4]], pa.list_view(pa.int64())),
            "kind": pa.array(["x", "y", None, "x"]).dictionary_encode(),
        }
    )
    block = mapped(arrow(whole.slice(1)))

    assert block.payloads == [
        {"tags": ["b", "c"], "meta": None, "map": {"b": 2}, "view": [2, 3], "kind": "y"},
        {"tags": None, "meta": {"x": 3}, "map": {}, "view": None, "kind": None},
        {"tags": [], "meta": {"x": 4}, "map": None, "view": [4], "kind": "x"},
    ]
    assert plain(block.vectors[""]) == [[1, 2], None, [3, 4]]


@pytest.mark.parametrize(
    "type",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.list_(pa.float16()),
        pa.large_list(pa.float32()),
        pa.list_(pa.field("item", pa.float32(), nullable=False)),
        pa.list_(pa.float32(), 2),
        pa.list_(pa.int64(), 2),
        pa.list_view(pa.float32()),
        pa.large_list_view(pa.float64()),
    ],
    ids=str,
)
def test_a_dense_vector_may_be_any_list_of_numbers(type):
    whole = pa.array([[1, 2], [3, 4], None, [5, 6]], type)
    for vectors, expected in (
        (whole, [[1, 2], [3, 4], None, [5, 6]]),
        (whole.slice(1, 2), [[3, 4], None]),
        (whole.slice(3), [[5, 6]]),
    ):
        found = mapped(arrow({"id": range(len(vectors)), "vector": vectors})).vectors[""]
        assert plain(found) == expected
    full = mapped(arrow({"id": [0, 1], "vector": whole.slice(0, 2)})).vectors[""]
    assert isinstance(full, np.ndarray)
    assert (str(full.dtype), full.shape, full.flags.c_contiguous) == ("float32", (2, 2), True)


def test_float32_vectors_are_not_copied():
    numbers = np.arange(6, dtype=np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 2)

    found = mapped(arrow({"id": [1, 2, 3], "vector": vectors})).vectors[""]

    assert np.shares_memory(np.asarray(found), numbers)


def test_a_dictionary_may_hold_any_type():
    """polars writes its categories as views."""
    for values in (pa.array(["a", "b"], pa.string_view()), pa.array(["a", "b"], pa.large_string())):
        kinds = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint8()), values)
        block = mapped(arrow({"id": [1, 2, 3], "kind": kinds}))
        assert block.payloads == [{"kind": "b"}, {"kind": None}, {"kind": "a"}]


def test_the_schema_may_differ_from_file_to_file():
    mapper = Mapper(None, UNNAMED)
    first = mapper.map(arrow({"id": [1], "vector": [[1.0, 2.0]], "year": [1999]}))
    second = mapper.map(arrow({"id": ["a"], "year": ["1999"], "vector": pa.array([[1, 2]], pa.list_(pa.float32(), 2))}))
    third = mapper.map(objects({"id": 2}))

    assert [*first.ids, *second.ids, *third.ids] == [1, point_id("a"), 2]
    assert plain(first.vectors[""]) == plain(second.vectors[""]) == [[1, 2]]
    assert (second.payloads, dict(third.vectors)) == ([{"year": "1999"}], {})


# What is wrong with a column

TAGGED = pa.struct([("element1", pa.uint8()), ("num", pa.int32())])


@pytest.mark.parametrize(
    ("columns", "mapping", "expected"),
    [
        ({"x": [1]}, None, "there is no column id for the id: name another in mapping.id. The columns are x"),
        ({"id": [1.0]}, None, "column id is double, which is no id: as a float, integers beyond 2^53 were rounded"),
        ({"id": [b"a"]}, None, "column id is binary, which is no id"),
        ({"id": [1], "vector": [[1.0]], "v": pa.array([[1.0]], pa.list_(pa.float32(), 1))},
         {"vectors": [{"column": "v"}]}, "column v, for vector, has 1 component, but the vector's size is 2"),
        ({"id": [1], "vector": ["[1, 2]"]}, None, "say `encoding: JSON`"),
        ({"id": [1], "vector": [["a"]]}, None, "no list of numbers"),
        ({"id": [1], "raw": [b"a"]}, None, "column raw is binary, and JSON has no bytes"),
        ({"id": [1], "u": pa.array([{"element1": 0, "num": 7}], TAGGED)}, None, "column u is a UNION of DuckDB"),
        ({"id": [1], "s": [{"raw": b"a"}]}, None, "column s has a field raw that is binary"),
        ({"id": [1]}, {"payload": {"include": ["x"]}}, "mapping.payload.include names the column x"),
        ({"id": [1]}, {"types": {"x": "Integer"}}, "mapping.types names the column x"),
        ({"id": [1], "a": [1], "b": [1]}, {"payload": {"rename": {"a": "b"}}}, "the field b twice"),
        ({"id": [1]}, {"vectors": [{"name": "text", "column": "x"}]}, "the collection has no vectors.text, but vector"),
        ({"id": [1]}, {"vectors": [{"embed": "x"}]}, "vector has no embedder"),
        ({"id": [1], "at": pa.array([1], pa.timestamp("us", "Mars/Base"))}, None, "whose time zone is unknown"),
    ],
)  # fmt: skip
def test_a_column_that_cannot_be_used_is_one_error_that_says_what_helps(columns, mapping, expected):
    assert expected in refusal(arrow(columns), mapping=mapping)


def test_the_error_names_columns_of_the_file_that_are_not_read():
    mapper = Mapper(Mapping.model_validate({"payload": {"include": ["titel"]}}), UNNAMED)
    names = mapper.wanted(["id", "title"])

    with pytest.raises(Terminal, match=r"names the column titel, which is not there. The columns are id, title$"):
        mapper.map(arrow({name: [1] for name in names}))


def test_an_id_that_pandas_describes_as_its_index_instead_of_writing_it_is_missed_with_what_helps():
    pandas = json.dumps({"index_columns": [{"kind": "range", "name": "id", "start": 1, "stop": 4, "step": 1}]})
    rows = arrow(pa.table({"title": ["a"]}).replace_schema_metadata({"pandas": pandas}))

    assert refusal(rows).startswith("there is no column id for the id: call reset_index() in pandas before")


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"vectors": [{"column": "vektor"}]}, "mapping.vectors names the column vektor"),
        ({"vectors": [{"template": "{title}: {body}"}]}, "mapping.vectors names the column body"),
        ({"payload": {"column": "meta"}}, "mapping.payload.column names the column meta"),
        ({"payload": {"include": ["title", "clip.modell"]}}, "mapping.payload.include names the column clip.modell"),
        ({"payload": {"rename": {"titel": "name"}}}, "mapping.payload.rename names the column titel"),
        ({"types": {"titel": "Text"}}, "mapping.types names the column titel"),
        ({"vectors": [{"column": "vector"}], "payload": {"include": ["title", "note"]}}, None),
        ({"payload": {"exclude": ["titel"]}}, None),
    ],
)
def test_a_column_that_no_row_of_json_has_is_an_error_and_one_that_some_rows_lack_is_none(mapping, expected):
    """Without it, a slip of the pen would take the vectors of all points away."""
    mapper = Mapper(Mapping.model_validate(mapping), UNNAMED, embedded=[""])
    mapper.map(objects({"id": 1, "vector": [1, 2], "title": "a", "clip": {"model": "b"}}))
    mapper.map(objects({"id": 2, "title": None, "note": "c"}))

    if expected is None:
        mapper.check_columns()
    else:
        with pytest.raises(Terminal, match=f"^{expected}, which no row has. The columns are id, vector, title, clip$"):
            mapper.check_columns()


def test_types_reach_nested_columns_and_say_so_where_they_help():
    columns = {"id": [1], "s": [{"n": 7, "raw": b"a", "deep": {"when": "2026"}}]}
    types = {"s.n": "Text", "s.raw": "Text", "s.deep.when": "Integer"}
    for rows in (arrow(columns), objects({"id": 1, "s": {"n": 7, "raw": "a", "deep": {"when": "2026"}}})):
        assert mapped(rows, mapping={"types": types}).payloads == [
            {"s": {"n": "7", "raw": "a", "deep": {"when": 2026}}}
        ]

    assert "`types: {s.raw: Text}`" in refusal(arrow(columns))
    assert "types" not in refusal(arrow({"id": [1], "list": [[b"a"]]}))


def test_the_error_names_the_file():
    with pytest.raises(Terminal, match=r"^data/a.parquet: there is no column id"):
        Mapper(None, UNNAMED).map(arrow({"x": [1]}), file="data/a.parquet")


def test_a_header_of_csv_is_judged_without_a_row_too(tmp_path):
    """Where an empty source is allowed, the page of an error must not pass for one."""
    (tmp_path / "a.csv").write_text("<html>Please log in</html>")
    with pytest.raises(Terminal, match="there is no column id for the id"):
        [Mapper(None, UNNAMED).map(rows) for rows in read_rows(tmp_path / "a.csv", "CSV")]

    (tmp_path / "a.csv").write_text("id,title\n")
    (block,) = [Mapper(None, UNNAMED).map(rows) for rows in read_rows(tmp_path / "a.csv", "CSV")]
    assert not block.ids


def test_a_float_may_be_an_id_if_the_mapping_says_that_it_is_an_integer():
    block = mapped(arrow({"id": [1.0, 2.0**53, 1.5]}), mapping={"types": {"id": "Integer"}})

    assert block.ids == [1]
    assert [one.id for one in block.failures] == [None, None]


def test_columns_that_are_not_needed_are_not_asked_for():
    names = ["id", "a", "b", "text", "raw", "__index_level_0__"]
    wanted = Mapper(Mapping.model_validate({"payload": {"exclude": ["raw", "a.b"]}}), NAMED).wanted(names)
    assert list(wanted) == ["id", "a", "b", "text"]
    named = {"id": "b", "vectors": [{"name": "text", "template": "{a.x}"}], "payload": {"include": ["raw.y"]}}
    wanted = Mapper(Mapping.model_validate(named), NAMED, embedded=["text"]).wanted(names)
    assert list(wanted) == ["a", "b", "raw"]


# A set that passes from points to a source is not written again.

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)
ids = st.integers(0, 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.uuids().map(str)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


@settings(max_examples=100, deadline=None)
@given(
    id=ids,
    vector=st.lists(numbers, min_size=2, max_size=2),
    payload=st.dictionaries(st.text("xyz", min_size=1), json_values, max_size=4),
)
def test_a_row_of_json_has_the_id_and_the_fingerprints_of_the_same_inline_point(id, vector, payload):
    inline = Point.model_validate({"id": id, "vector": {"values": vector}, "payload": payload})
    declared = declare([inline], UNNAMED, store_id_as="declared")
    block = mapped(objects({"id": id, "vector": vector, **payload}), store_id_as="declared")

    same_as_inline(block, declared)


def same_as_inline(block: Block, declared: Any) -> None:
    assert not block.failures
    assert not declared.failures
    assert block.ids == list(declared.points)
    for row, point in enumerate(declared.points.values()):
        assert fingerprint_payload(block.payloads[row]) == point.payload
        vectors = {
            name: fingerprint_vector(vector)
            for name, column in block.vectors.items()
            if (vector := column[row]) is not None
        }
        assert vectors == point.vectors
        assert block.shown_ids[row] == point.shown_id


MOMENT = datetime(2026, 11, 28, 3, 4, 5, 600000, tzinfo=UTC)


@pytest.mark.parametrize("vector_type", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.list_(pa.float32(), 2)])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_row_of_arrow_has_the_id_and_the_fingerprints_of_the_same_inline_point(vector_type, unit):
    rows = [
        {"id": 2**64 - 1, "vector": [0.1, -0.0], "n": 1, "x": 0.1, "whole": 1.0, "tags": ["a", None]},
        {"id": 7, "vector": [3.0, 1e-30], "n": None, "x": -0.0, "whole": 2.0, "tags": []},
    ]
    points = [
        {
            "id": row["id"],
            "vector": {"values": row["vector"]},
            "payload": {key: row[key] for key in ("n", "x", "whole", "tags")}
            | {"at": "2026-11-28T03:04:05.6Z", "who": {"name": "ä"}},
        }
        for row in rows
    ]
    column = {key: [row[key] for row in rows] for key in rows[0]}
    batch = {
        "id": pa.array(column["id"], pa.uint64()),
        "vector": pa.array(column["vector"], vector_type),
        "n": column["n"],
        "x": pa.array(column["x"], pa.float32()),
        "whole": column["whole"],
        "tags": pa.array(column["tags"]),
        "at": pa.array([MOMENT, MOMENT], pa.timestamp(unit, "UTC")),
        "who": [{"name": "ä"}] * 2,
    }

    same_as_inline(mapped(arrow(batch)), declare([Point.model_validate(one) for one in points], UNNAMED))


@pytest.mark.parametrize("declared", ["doc-1", "550E8400-E29B-41D4-A716-446655440000", "7", "ä" * 100])
def test_a_text_in_arrow_is_the_id_that_it_is_inline(declared):
    """Its short form, too."""
    inline = declare([Point.model_validate({"id": declared})], UNNAMED)
    for array in (
        pa.array([declared]),
        pa.array([declared], pa.large_string()),
        pa.array([declared]).dictionary_encode(),
    ):
        same_as_inline(mapped(arrow({"id": array})), inline)


def test_a_uuid_in_arrow_is_the_id_that_its_text_is_inline():
    key = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")
    block = mapped(arrow({"id": pa.array([key.bytes], pa.uuid())}), store_id_as="key")

    assert (block.ids, block.payloads) == ([key], [{"key": str(key)}])


def test_the_same_moment_is_the_same_text_whatever_its_unit():
    texts = {
        mapped(arrow({"id": [1], "at": pa.array([MOMENT], pa.timestamp(unit, "UTC"))})).payloads[0]["at"]
        for unit in ("ms", "us", "ns")
    }
    assert texts == {"2026-11-28T03:04:05.6Z"}
    whole = pa.array([MOMENT - timedelta(microseconds=600000)], pa.timestamp("us", "UTC"))
    assert mapped(arrow({"id": [1], "at": whole})).payloads == [{"at": "2026-11-28T03:04:05Z"}]

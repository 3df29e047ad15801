"""What becomes of rows that are no points: they fail alone, say where they are, and nothing is deleted by mistake."""

import csv
import gzip
import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from integration.sources.sourced import CONTENT, SourcedSet, lines, row
from vectorops.api.meta import JsonObject

MANY_BYTES = 40_000_000
"""More than Qdrant takes in one request of REST (32 MiB)."""


def nested(levels: int, innermost: str = "1") -> str:
    return "[" * levels + innermost + "]" * levels


def test_bad_rows_fail_alone_and_their_points_stay_as_they_were(rows: SourcedSet) -> None:
    rows.load(*(row(id, kind="old") for id in range(1, 12)))
    bad: dict[int, tuple[JsonObject | str, str]] = {
        2: ('{"id": 2, "vector": [NaN, 1]}', "no JSON"),
        3: (row(3, vector=[1e39, 1]), "column vector[0]"),
        4: (row(4, vector=[1, 2, 3]), "3 components"),
        5: (row(5, vector=CONTENT), "column vector"),
        6: (row(6, vector=[None, 1]), "column vector"),
        7: (f'{{"id": 7, "vector": [1, 2], "deep": {nested(40)}}}', "32 levels"),
        8: (f'{{"id": 8, "vector": [1, 2], "number": 18446744073709551616, "title": "{CONTENT}"}}', "64 bits"),
        9: (f'{{"id": 9, "vector": [1, 2], "title": "{CONTENT}\\ud800"}}', "no JSON"),
    }
    rows.put("a.jsonl", row(1, kind="new"), *(line for line, _ in bad.values()), row(10, kind="new"), row(12))

    look = rows.apply()

    assert (look.reason, look.counts) == ("PointsFailed", (3, 8))
    assert look.failures.keys() == {str(id) for id in bad}
    for id, (_, words) in bad.items():
        assert look.failures[str(id)].startswith(f"a.jsonl, row {id}: ")
        assert words in look.failures[str(id)]
    # All ids are known, so what left the file is deleted: 11.
    assert rows.ids() == [*range(1, 11), 12]
    kinds = {id: payload.get("kind") for id, payload in rows.payloads().items()}
    assert kinds == {1: "new", 10: "new", 12: None, **dict.fromkeys(bad, "old")}

    # The same file again is not read again, and the answer is the same; a mended one is taken.
    assert rows.apply().failures == look.failures
    rows.load(*(row(id, kind="newer") for id in range(1, 12)))
    assert {payload["kind"] for payload in rows.payloads().values()} == {"newer"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"vector": [1, 2], "title": CONTENT}, "column id: the row has no id"),
        ({"id": None, "vector": [1, 2]}, "column id: the row has no id"),
        ({"id": -1, "vector": [1, 2]}, "column id: "),
        (f'{{"id": {nested(900)}}}', "column id: "),
        (f'{{"id": 2, "deep": {nested(1000, "1" * 20)}}}', "nested too deeply"),
        (f'{{"title": "{CONTENT}"', "no JSON"),
        (f'"{CONTENT}"', "no JSON object"),
    ],
)
def test_while_the_id_of_a_row_is_unknown_nothing_is_deleted(rows: SourcedSet, line: Any, words: str) -> None:
    rows.load(row(1, kind="old"), row(2), row(3))
    rows.put("a.jsonl", row(1, kind="new"), line, row(4))

    look = rows.apply()

    assert (look.reason, look.counts) == ("PointsFailed", (2, 1))
    assert look.message.startswith("1 of 3 points failed; first: a.jsonl, row 2: ")
    assert words in look.message
    assert "nothing is deleted" in look.message
    assert rows.ids() == [1, 2, 3, 4]
    assert rows.payloads()[1]["kind"] == "new"


def test_an_id_twice_with_one_content_is_one_point_and_with_two_contents_none(rows: SourcedSet) -> None:
    rows.load(row(1), row(2, kind="old"), row(3, kind="old"))
    rows.put("a.jsonl", row(1), row(2, kind="one"), row(2, kind="other"), row(3, kind="one"), row(1))
    rows.put("b.jsonl", row(1), row(3, kind="other"), row(4))

    look = rows.apply()

    assert (look.reason, look.counts) == ("PointsFailed", (2, 2))
    in_one, in_two = look.failures["2"], look.failures["3"]
    assert "a.jsonl, row 2, and a.jsonl, row 3" in in_one
    assert "a.jsonl, row 4, and b.jsonl, row 2" in in_two
    assert {id: payload.get("kind") for id, payload in rows.payloads().items()} == {
        1: None,
        2: "old",
        3: "old",
        4: None,
    }


def test_an_id_in_a_good_and_in_a_bad_row_is_no_point(rows: SourcedSet) -> None:
    rows.load(row(1, kind="old"))
    rows.put("a.jsonl", row(1, kind="new"), row(1, vector=[1]))

    look = rows.apply()

    assert (look.counts, list(look.failures)) == ((0, 1), ["1"])
    assert rows.payloads()[1]["kind"] == "old"


def test_text_that_is_no_utf_8_fails_its_row_in_each_format(rows: SourcedSet) -> None:
    rows.load(*(row(id) for id in range(1, 7)))
    (rows.folder / "a.jsonl").write_bytes(lines(row(1)) + b'{"id": 2, "vector": [1, 2], "title": "\xff"}\n')
    (rows.folder / "b.csv").write_bytes(b'id,vector,title\n3,"[1, 2]",ok\n4,"[1, 2]",\xff\n')
    texts = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    vectors = pa.array([[1, 2], [1, 2]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"id": [5, 6], "vector": vectors, "title": texts}), rows.folder / "c.parquet")
    rows.spec["source"]["files"]["path"] = "[abc].*"
    rows.spec["mapping"] = {"types": {"id": "Integer"}}

    look = rows.apply()
    assert look.reason == "SourceInvalid", "text is no vector unless the mapping says that it is JSON"
    assert "encoding: JSON" in look.message
    (rows.folder / "b.csv").write_bytes(b"id,title\n3,ok\n4,\xff\n")
    look = rows.apply()

    assert look.counts == (3, 3)
    assert look.failures.keys() == {"2", "4", "6"}
    assert look.failures["4"] == "b.csv, row 3: the row is no UTF-8"
    assert look.failures["6"].startswith("c.parquet, row 2: column title: ")
    assert rows.ids() == [1, 2, 3, 4, 5, 6]


def test_numbers_of_arrow_that_no_float32_holds_fail_their_rows(rows: SourcedSet) -> None:
    rows.spec["source"]["files"]["path"] = "a.parquet"
    vectors = pa.array([[1, 2], [1e39, 2], [float("nan"), 2], [1, None], None, [1, 2, 3]], pa.list_(pa.float64()))
    table = pa.table({"id": range(1, 7), "vector": vectors, "title": [CONTENT] * 6})
    pq.write_table(table, rows.folder / "a.parquet")

    look = rows.apply()

    assert look.counts == (2, 4)
    assert {id: reason.partition(": ")[2] for id, reason in look.failures.items()} == {
        "2": "column vector[0]: not a finite float32 number",
        "3": "column vector[0]: not a finite float32 number",
        "4": "column vector[1]: null",
        "6": "column vector: 3 components, but the vector's size is 2",
    }
    # A point without its vector is one.
    assert rows.ids() == [1, 5]


def test_a_vector_column_of_another_width_is_a_fault_of_the_file(rows: SourcedSet) -> None:
    rows.load(row(1), row(2))
    wide = pa.array([[1, 2, 3]], pa.list_(pa.float32(), 3))
    pq.write_table(pa.table({"id": [1], "vector": wide, "title": [CONTENT]}), rows.folder / "b.parquet")
    rows.spec["source"]["files"]["path"] = "[ab].*"

    look = rows.apply()

    assert (look.reason, rows.ids()) == ("SourceInvalid", [1, 2])
    assert look.message.startswith("b.parquet: column vector")
    assert "3 components, but the vector's size is 2" in look.message


def test_files_of_different_schemas_are_one_source(rows: SourcedSet) -> None:
    vectors = pa.array([[1, 2]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"id": [1], "vector": vectors, "n": [1]}), rows.folder / "a.parquet")
    pq.write_table(pa.table({"n": ["one"], "id": ["2"], "more": [[True]]}), rows.folder / "b.parquet")
    feather.write_feather(pa.table({"id": [3], "vector": [[1, 2]]}), rows.folder / "c.arrow")
    rows.put("d.jsonl", row(4), {"id": "5", "n": {"a": 1}})
    rows.spec["source"]["files"]["path"] = "[abcd].*"
    rows.spec["idFormat"] = "Integer"

    look = rows.apply()

    assert look.ready, look.message
    assert rows.payloads() == {
        1: {"n": 1},
        2: {"n": "one", "more": [True]},
        3: {},
        4: {"title": CONTENT},
        5: {"n": {"a": 1}},
    }
    pq.write_table(pa.table({"key": ["2"], "title": [CONTENT]}), rows.folder / "b.parquet")
    look = rows.apply()
    assert look.reason == "SourceInvalid"
    assert look.message.startswith("b.parquet: there is no column id")
    assert len(rows.ids()) == 5


@pytest.mark.parametrize("prefers_grpc", [True, False])
def test_a_payload_that_qdrant_does_not_take_fails_alone(rows: SourcedSet, prefers_grpc: bool) -> None:
    rows.prefers_grpc = prefers_grpc
    rows.load(row(1), row(2, kind="old"), row(3))
    rows.put("a.jsonl", row(1, kind="new"), row(2, large=CONTENT * (MANY_BYTES // len(CONTENT))), row(4))

    look = rows.apply()

    assert (look.reason, look.counts, list(look.failures)) == ("PointsFailed", (2, 1), ["2"])
    assert {id: payload.get("kind") for id, payload in rows.payloads().items()} == {1: "new", 2: "old", 4: None}


def test_a_row_that_is_longer_than_any_request_is_not_held_in_memory(rows: SourcedSet) -> None:
    rows.load(row(1), row(2))
    rows.put("a.jsonl", row(1, kind="new"), row(2, large="x" * 68_000_000))

    look = rows.apply()

    assert "a.jsonl, row 2: the line is longer than 64 MiB" in look.message
    assert (rows.ids(), rows.payloads()[1]["kind"]) == ([1, 2], "new")


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def arrow(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    feather.write_feather(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def quoted(rows: list[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "title"], *([one["id"], one["title"]] for one in rows)])
    return file.getvalue().encode()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("b.parquet", parquet),
        ("b.arrow", arrow),
        ("b.csv", quoted),
        ("b.jsonl", lambda rows: lines(*rows)),
        ("b.jsonl.gz", lambda rows: gzip.compress(lines(*rows))),
        ("b.jsonl.zst", lambda rows: pa.compress(lines(*rows), "zstd", asbytes=True)),
    ],
)
def test_a_file_that_is_cut_short_deletes_and_writes_nothing(
    rows: SourcedSet, name: str, write: Callable[[list[dict[str, Any]]], bytes]
) -> None:
    rows.load(row(1, kind="old"), row(2), row(3))
    rows.put("a.jsonl", row(1, kind="new"))
    (rows.folder / name).write_bytes(write([row(2), row(3)])[:-3])
    rows.spec["source"]["files"]["path"] = "[ab].*"

    look = rows.apply()

    assert (look.reason, rows.ids()) == ("SourceInvalid", [1, 2, 3])
    assert look.message.startswith(f"{name}: ")
    assert rows.payloads()[1]["kind"] == "old"


def test_what_unpacks_to_more_than_the_limit_is_refused(rows: SourcedSet) -> None:
    rows.load(row(1), row(2))
    (rows.folder / "b.jsonl.gz").write_bytes(gzip.compress(lines(*(row(1, pad="x" * 100) for _ in range(100)))))
    rows.spec["source"]["files"]["path"] = "b.*"

    look = rows.apply("--max-unpacked-bytes", "10Ki")

    assert (look.reason, rows.ids()) == ("SourceInvalid", [1, 2])
    assert "b.jsonl.gz: unpacks to more than 10,240 bytes" in look.message
    assert rows.apply("--max-unpacked-bytes", "100Ki").ready

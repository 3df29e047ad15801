"""From the points of a spec to points, or to the reason why not."""

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.api.pointset import Point
from vectorops.points.declared import LARGEST, LONGEST_SQUARED, _is_surely_in_range, declare, vectors_of_texts
from vectorops.points.fingerprints import fingerprint_text, fingerprint_vector
from vectorops.points.schema import VectorSchema
from vectorops.qdrant.database import UNNAMED

SCHEMA = {
    "text": VectorSchema("dense", 2),
    "bytes": VectorSchema("dense", 2, "Dot", "uint8"),
    "half": VectorSchema("dense", 2, "Dot", "float16"),
    "rows": VectorSchema("multivector", 2),
    "terms": VectorSchema("sparse"),
}
GOOD = {"text": {"values": [1, 2]}}


def declared(*points, schema=SCHEMA, **options):
    return declare([Point.model_validate(point) for point in points], schema, **options)


def packed(*numbers):
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


def only_failure(point, schema=SCHEMA, **options):
    found = declared(point, schema=schema, **options)
    assert found.points == {}
    (failure,) = found.failures
    return failure


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ({"text": {"values": [1, 2, 3]}}, "vectors.text.values: 3 components, but the vector's size is 2"),
        ({"text": {"values": [1, math.nan]}}, "vectors.text.values[1]: not a finite float32 number"),
        ({"text": {"values": [math.inf, 1]}}, "vectors.text.values[0]: not a finite float32 number"),
        ({"text": {"values": [1, 1e39]}}, "vectors.text.values[1]: not a finite float32 number"),
        ({"text": {"packed": "%%%"}}, "vectors.text.packed: not base64"),
        ({"text": {"packed": "AAAA"}}, "vectors.text.packed: 3 bytes, no whole number of float32 components"),
        ({"text": {"packed": packed(1)}}, "vectors.text.packed: 1 component, but the vector's size is 2"),
        ({"text": {"packed": packed(1, math.nan)}}, "vectors.text.packed[1]: not a finite float32 number"),
        ({"text": {"rows": [[1, 2]]}}, "vectors.text.rows: this is no multi-vector; give it as `values` or `packed`"),
        ({"text": {"sparse": {"indices": [1], "values": [1]}}}, "vectors.text.sparse: this is a dense vector"),
        ({"bytes": {"values": [1, 256]}}, "vectors.bytes.values[1]: outside the range of datatype uint8"),
        ({"bytes": {"values": [-1, 1]}}, "vectors.bytes.values[0]: outside the range of datatype uint8"),
        ({"half": {"values": [1, 65505]}}, "vectors.half.values[1]: outside the range of datatype float16"),
        ({"rows": {"rows": []}}, "vectors.rows.rows: a multi-vector needs at least one row"),
        ({"rows": {"rows": [[1, 2], [1]]}}, "vectors.rows.rows[1]: 1 component, but the vector's size is 2"),
        ({"rows": {"rows": [[1, 2], [1, 1e39]]}}, "vectors.rows.rows[1][1]: not a finite float32 number"),
        ({"terms": {"values": [1, 2]}}, "vectors.terms: this is a sparse vector; give it as `sparse`"),
        ({"terms": {"sparse": {"indices": [1, 2], "values": [1]}}}, "vectors.terms.sparse: 2 indices, but 1 value"),
        (
            {"terms": {"sparse": {"indices": [1, 1], "values": [1, 2]}}},
            "vectors.terms.sparse.indices: an index is given",
        ),
        ({"terms": {"sparse": {"indices": [1], "values": [1e39]}}}, "vectors.terms.sparse.values[0]: not a finite"),
        ({"nope": {"values": [1, 2]}}, "vectors.nope: the collection has no vector of this name, but 'bytes'"),
        ({"text": {"values": [1e20, 2e20]}}, "vectors.text.values: too long to be normalized: its squared length"),
        ({"rows": {"rows": [[1, 2], [1e20, 0]]}}, "vectors.rows.rows[1]: too long to be normalized"),
    ],
)
def test_a_bad_vector_is_refused_with_its_place(vectors, reason):
    failure = only_failure({"id": 1, "vectors": vectors})

    assert failure.reason.startswith(reason)
    assert (failure.id, failure.shown_id) == (1, "1")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"a": [1, math.nan]}, "payload: a[1]: NaN or infinite"),
        ({"a": 2**64}, "payload: a: an integer beyond 64 bits"),
        ({"a": "\ud800"}, "payload: not valid Unicode text"),
        ({"key": 1}, "payload.key: storeIdAs keeps the id in this field"),
    ],
)
def test_a_bad_payload_is_refused_with_its_place(payload, reason):
    failure = only_failure({"id": 1, "vectors": GOOD, "payload": payload}, store_id_as="key")

    assert failure.reason.startswith(reason)


def test_the_unnamed_vector_and_named_ones_are_not_mixed_up():
    unnamed = {UNNAMED: VectorSchema("dense", 2)}
    point = {"id": 1, "vector": {"values": [1, 2]}}

    assert declared(point, schema=unnamed).points[1].vectors.keys() == {UNNAMED}
    assert only_failure(point).reason.startswith("vector: the collection has no unnamed vector, but 'bytes'")
    assert only_failure({"id": 1, "vectors": GOOD}, unnamed).reason.endswith("but the unnamed vector")
    assert only_failure({"id": 1, "vector": {"values": [1]}}, unnamed).reason.startswith("vector.values: 1 comp")


def test_what_is_normalized_first_may_be_longer_than_its_datatype_holds():
    schema = {"text": VectorSchema("dense", 2, "Cosine", "float16")}

    assert 1 in declared({"id": 1, "vectors": {"text": {"values": [1e5, 1e18]}}}, schema=schema).points


def test_a_datatype_of_a_newer_server_is_taken():
    schema = {"text": VectorSchema("dense", 2, "Dot", "turbo4")}

    assert 1 in declared({"id": 1, "vectors": {"text": {"values": [-1, 1e30]}}}, schema=schema).points


@pytest.mark.parametrize("point", [{"id": 1}, {"id": 1, "vectors": {}}, {"id": 1, "payload": {"a": 1}}])
@pytest.mark.parametrize("schema", [SCHEMA, {UNNAMED: VectorSchema("dense", 2)}])
def test_a_point_may_have_no_vector_yet(point, schema):
    found = declared(point, schema=schema).points[1]

    assert (found.data.vectors, found.vectors) == ({}, {})


def test_a_collection_without_vectors_takes_points_without_vectors():
    assert declared({"id": 1, "payload": {"a": 1}}, schema={}).points[1].data.vectors == {}
    assert "no vectors at all" in only_failure({"id": 1, "vectors": GOOD}, {}).reason


def test_all_forms_of_the_same_numbers_are_the_same_point():
    one = declared({"id": 1, "vectors": {"text": {"values": [0.1, 2]}, "rows": {"rows": [[1, 2]]}}})
    other = declared({"id": 1, "vectors": {"text": {"packed": packed(0.1, 2)}, "rows": {"values": [1.0, 2.0]}}})

    assert one.points[1].vectors == other.points[1].vectors


def test_a_sparse_vector_is_put_in_order():
    found = declared({"id": 1, "vectors": {"terms": {"sparse": {"indices": [9, 1], "values": [0.5, 0.25]}}}})

    terms = found.points[1].data.vectors["terms"]
    assert (terms.indices.tolist(), terms.values.tolist()) == ([1, 9], [0.25, 0.5])


def test_the_id_is_stored_as_it_was_declared():
    found = declared({"id": "Doc-1", "vectors": GOOD, "payload": {"a": 1}}, store_id_as="key")

    (point,) = found.points.values()
    assert point.data.payload == {"a": 1, "key": "Doc-1"}


def test_a_point_that_cannot_be_written_protects_its_id_and_no_more():
    found = declared({"id": 1, "vectors": {"nope": {"values": [1]}}}, {"id": 2, "vectors": GOOD})

    assert (found.points.keys(), found.protected, found.complete) == ({2}, {1}, True)
    assert found.total == 2


def test_a_point_whose_id_cannot_be_told_makes_the_declaration_incomplete():
    found = declared({"id": -1, "vectors": GOOD}, {"id": 2, "vectors": GOOD})

    assert (found.points.keys(), found.protected, found.complete) == ({2}, frozenset(), False)
    assert found.failures[0].id is None


def test_the_same_point_twice_is_one():
    found = declared({"id": 1, "vectors": GOOD}, {"id": 1.0, "vectors": GOOD})

    assert (found.points.keys(), found.failures, found.total) == ({1}, (), 1)


@pytest.mark.parametrize(
    "others",
    [
        [{"id": 1, "vectors": {"text": {"values": [3, 4]}}}],
        [{"id": 1, "vectors": GOOD, "payload": {"a": 1}}],
        [{"id": 1, "vectors": {}}],
        [{"id": 1, "vectors": {"text": {"values": [3, 4]}}}, {"id": 1, "vectors": GOOD}],
    ],
)
@pytest.mark.parametrize("bad_first", [False, True])
def test_an_id_declared_twice_with_other_content_fails_and_is_protected(others, bad_first):
    good = {"id": 1, "vectors": GOOD}

    found = declared(*([*others, good] if bad_first else [good, *others]))

    assert (found.points, found.protected) == ({}, {1})
    assert any("more than once" in failure.reason for failure in found.failures)


EMBEDDERS = {"text": "0123456789abcdef", "terms": "fedcba9876543210", "rows": "0000000000000000"}


def test_a_text_is_known_by_what_it_says_and_by_what_embeds_it():
    found = declared(
        {"id": 1, "vectors": {"text": {"text": "a lion"}, "bytes": {"values": [1, 2]}}, "payload": {"a": 1}},
        embedders=EMBEDDERS,
    )

    (point,) = found.points.values()
    assert (dict(point.texts), dict(point.pending)) == ({"text": "a lion"}, {"text": "a lion"})
    assert point.data.vectors.keys() == {"bytes"}
    assert point.vectors == {
        "text": fingerprint_text("a lion", EMBEDDERS["text"]),
        "bytes": fingerprint_vector(np.array([1, 2], dtype=np.float32)),
    }


def test_a_text_may_stand_for_a_vector_of_any_kind_and_for_the_unnamed_one():
    every = {"id": 1, "vectors": {name: {"text": "a lion"} for name in EMBEDDERS}}
    unnamed = {UNNAMED: VectorSchema("dense", 2)}

    assert declared(every, embedders=EMBEDDERS).points[1].texts.keys() == EMBEDDERS.keys()
    only = declared({"id": 1, "vector": {"text": "a lion"}}, schema=unnamed, embedders={UNNAMED: "0" * 16})
    assert only.points[1].texts == {UNNAMED: "a lion"}


def test_a_point_is_whole_when_its_texts_are_embedded():
    (point,) = declared({"id": 1, "vectors": {"text": {"text": "a lion"}}}, embedders=EMBEDDERS).points.values()

    whole = point.embedded({"text": np.array([1, 2], dtype=np.float32)})

    assert (whole.pending, whole.data.vectors["text"].tolist()) == ({}, [1, 2])
    assert (whole.vectors, whole.data.payload) == (point.vectors, point.data.payload)


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (
            {"bytes": {"text": "a lion"}},
            "vectors.bytes.text: the vector has no embedder; give numbers, or name a model in the QdrantCollection",
        ),
        ({"text": {"text": ""}}, "vectors.text.text: empty text"),
        ({"text": {"text": " \n\t\u3000"}}, "vectors.text.text: empty text"),
        ({"text": {"text": "secret \ud800"}}, "vectors.text.text: not valid Unicode text"),
        ({"nope": {"text": "a lion"}}, "vectors.nope: the collection has no vector of this name, but 'bytes'"),
        ({"text": {"text": "a lion"}, "bytes": {"values": [1]}}, "vectors.bytes.values: 1 component"),
    ],
)
def test_a_bad_text_is_refused_with_its_place(vectors, reason):
    failure = only_failure({"id": 1, "vectors": vectors}, embedders=EMBEDDERS)

    assert failure.reason.startswith(reason)


def test_the_unnamed_vector_of_a_text_has_its_place():
    unnamed = {UNNAMED: VectorSchema("dense", 2)}
    assert only_failure({"id": 1, "vector": {"text": "a lion"}}, unnamed).reason.startswith("vector.text: the vector")


def test_numbers_are_taken_for_a_vector_with_an_embedder():
    assert declared({"id": 1, "vectors": GOOD}, embedders=EMBEDDERS).points[1].texts == {}


def test_the_same_text_twice_is_one_point_and_another_text_is_none():
    lion, lioness = ({"id": 1, "vectors": {"text": {"text": text}}} for text in ("a lion", "a lioness"))

    assert declared(lion, lion, embedders=EMBEDDERS).points.keys() == {1}
    assert declared(lion, lioness, embedders=EMBEDDERS).protected == {1}


def test_a_text_is_not_part_of_any_words_about_its_point():
    (point,) = declared({"id": 1, "vectors": {"text": {"text": "a secret lion"}}}, embedders=EMBEDDERS).points.values()

    assert "secret" not in repr(point)


def test_the_vectors_that_are_given_as_text_are_told():
    points = [
        Point.model_validate(point)
        for point in (
            {"id": 1, "vectors": {"text": {"text": "a"}, "bytes": {"values": [1, 2]}}},
            {"id": 2, "vectors": {"terms": {"text": "b"}}},
            {"id": 3, "vector": {"text": "c"}},
            {"id": 4},
        )
    ]
    assert vectors_of_texts(points) == {"text", "terms", UNNAMED}


def test_a_long_or_odd_id_is_shown_shortened():
    shown = [
        only_failure({"id": id, "vectors": {"nope": {"values": [1]}}}).shown_id
        for id in ("x" * 200, {"b": 1, "a": [2]})
    ]

    assert shown == ["x" * 79 + "…", '{"a":[2],"b":1}']
    assert only_failure({"id": "\ud800", "vectors": GOOD}).shown_id == "?"


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=8),
    st.sampled_from(["Cosine", "Dot"]),
    st.sampled_from(["float32", "float16"]),
)
def test_components_that_are_in_range_at_a_glance_are_in_range(values, distance, datatype):
    numbers = np.array(values, dtype=np.float32)
    schema = VectorSchema("dense", size=len(numbers), distance=distance, datatype=datatype)
    if not _is_surely_in_range(numbers, schema):
        return
    longest = float(np.sum(np.square(numbers, dtype=np.float64)))

    assert np.isfinite(numbers).all()
    assert np.abs(numbers).max() <= LARGEST[datatype]
    assert longest <= LONGEST_SQUARED

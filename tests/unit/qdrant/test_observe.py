"""What Qdrant gives back, brought into one form. The echoes were taken from a Qdrant 1.16.3."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unit.collections.echo import EchoingQdrant
from vectorops.api.meta import Ref
from vectorops.errors import Terminal
from vectorops.qdrant.marks import LEDGER_KEY, MARK_KEY, registration_key
from vectorops.qdrant.observe import canonical_index, canonical_path, leaves, observe, observed, pruned, same

GET = {
    "status": "green",
    "points_count": 5,
    "config": {
        "params": {
            "vectors": {
                "t": {"size": 4, "distance": "Cosine", "quantization_config": {"binary": {}}, "hnsw_config": {}}
            },
            "shard_number": 1,
            "on_disk_payload": True,
            "sparse_vectors": {"s": {"index": {"on_disk": True, "full_scan_threshold": None}}, "bare": {}},
        },
        "hnsw_config": {"m": 16, "payload_m": None},
        "optimizer_config": {"deleted_threshold": 0.2, "max_segment_size": None},
        "wal_config": {"wal_capacity_mb": 32},
        "quantization_config": None,
        "strict_mode_config": {},
        "metadata": {"team": None},
    },
    "payload_schema": {
        "n": {"data_type": "integer", "params": {"type": "integer", "lookup": None, "range": None}, "points": 3},
        "k": {"data_type": "keyword", "points": 0},
    },
}


def test_an_echo_loses_its_nulls_and_empty_objects_and_its_odd_names():
    zoo = observed("zoo", GET, {"docs": "zoo", "other": "elsewhere", "zoo": "zoo"})

    assert zoo.vectors == {
        "t": {"size": 4, "distance": "Cosine", "datatype": "float32", "quantization_config": {"binary": {}}}
    }
    assert zoo.sparse_vectors == {"s": {"index": {"on_disk": True}}, "bare": {}}
    assert zoo.config == {
        "params": {"shard_number": 1, "on_disk_payload": True},
        "hnsw_config": {"m": 16},
        "optimizers_config": {"deleted_threshold": 0.2},
        "wal_config": {"wal_capacity_mb": 32},
    }
    assert zoo.indexes == {"n": {"type": "integer"}, "k": {"type": "keyword"}}
    assert zoo.aliases == {"docs"}
    assert zoo.metadata == {"team": None}
    assert zoo.points == 5


def test_a_single_vector_is_the_unnamed_one_also_when_one_is_called_size():
    flat = observed("zoo", {"config": {"params": {"vectors": {"size": 4, "distance": "Dot"}}}}, {})
    named = observed("zoo", {"config": {"params": {"vectors": {"size": {"size": 4, "distance": "Dot"}}}}}, {})

    assert flat.vectors == {"": {"size": 4, "distance": "Dot", "datatype": "float32"}}
    assert named.vectors == {"size": {"size": 4, "distance": "Dot", "datatype": "float32"}}


def test_a_collection_without_vectors_is_one():
    assert observed("zoo", {"config": {"params": {"vectors": {}}}}, {}).vectors == {}


@pytest.mark.parametrize(
    ("declared", "echoed"),
    [
        ({"type": "keyword"}, {"type": "keyword", "is_tenant": None, "on_disk": None}),
        ({"type": "keyword", "is_tenant": False, "on_disk": False}, {"type": "keyword"}),
        ({"type": "integer", "range": True}, {"type": "integer", "lookup": None, "range": True, "is_principal": None}),
        ({"type": "text"}, {"type": "text", "tokenizer": "word"}),
        ({"type": "text", "lowercase": True, "phrase_matching": False}, {"type": "text", "tokenizer": "word"}),
        (
            {"type": "text", "stopwords": {"custom": ["b", "a", "b"], "languages": ["german", "english"]}},
            {"type": "text", "stopwords": {"languages": ["english", "german"], "custom": ["a", "b"]}},
        ),
        ({"type": "text", "stopwords": "english"}, {"type": "text", "stopwords": {"languages": ["english"]}}),
        ({"type": "text", "scoring": True}, {"type": "text", "scoring": {"type": "bm25"}}),
        ({"type": "text", "scoring": False}, {"type": "text"}),
        ({"type": "text", "stopwords": {"custom": []}}, {"type": "text"}),
    ],
)
def test_an_index_and_its_echo_are_the_same(declared, echoed):
    assert canonical_index(declared) == canonical_index(echoed)


@pytest.mark.parametrize(
    ("declared", "other"),
    [
        ({"type": "keyword", "is_tenant": True}, {"type": "keyword"}),
        ({"type": "integer", "range": False}, {"type": "integer"}),
        ({"type": "text", "lowercase": False}, {"type": "text"}),
        ({"type": "text", "stopwords": "english"}, {"type": "text", "stopwords": "german"}),
    ],
)
def test_indexes_that_mean_something_else_are_not_the_same(declared, other):
    assert canonical_index(declared) != canonical_index(other)


@pytest.mark.parametrize(
    ("declared", "canonical"),
    [
        ("author", "author"),
        ('"abc"', "abc"),
        ('a."b"', "a.b"),
        ("a[].b", "a[].b"),
        ("a[0].b", "a[0].b"),
        ('ab[][0]."c"', "ab[][0].c"),
        ('"weird key"', '"weird key"'),
        ('x."b c".d', 'x."b c".d'),
        ('"a.b"', '"a.b"'),
        ("é", "é"),
        ("a-b.c_d", "a-b.c_d"),
        ("weird key", "weird key"),
        ("a..b", "a..b"),
        ("a.", "a."),
        ("", ""),
    ],
)
def test_a_path_is_written_as_qdrant_writes_it(declared, canonical):
    assert canonical_path(declared) == canonical
    assert canonical_path(canonical) == canonical


@pytest.mark.parametrize(
    ("want", "have", "equal"),
    [
        (0.987654321, 0.9876543, True),
        (0.99, 0.9900000095367432, True),
        (0.99, 0.98, False),
        (1, 1.0, True),
        (100_000_000, 100_000_001, False),
        (2**64 - 1, 2**64 - 2, False),
        (True, 1, False),
        (False, 0, False),
        (1e300, 1e300, True),
        ([1, 2.0], [1.0, 2], True),
        ([1], [1, 2], False),
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        ("Dot", "dot", False),
    ],
)
def test_numbers_are_compared_as_qdrant_keeps_them(want, have, equal):
    assert same(want, have) is equal


def test_every_value_has_a_path():
    assert leaves({"a": {"b": 1, "c": {}}, "d": [1]}) == {("a", "b"): 1, ("a", "c"): {}, ("d",): [1]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "b", "binary", "quantization_config"]), inner)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(["a", "b", "binary", "scalar"]), json_values)


@given(objects)
def test_the_normal_form_of_a_normal_form_is_itself(block):
    assert pruned(pruned(block)) == pruned(block)


@given(objects)
def test_the_canonical_form_of_an_index_is_itself(schema):
    assert canonical_index(canonical_index(schema)) == canonical_index(schema)


async def test_what_is_not_there_is_seen_as_such():
    qdrant: Any = EchoingQdrant()

    seen = await observe(qdrant, "zoo")

    assert not seen.exists


async def test_an_alias_is_not_mistaken_for_the_collection_that_it_leads_to():
    """GET and PATCH go through an alias: we would change another's collection."""
    qdrant: Any = EchoingQdrant()
    await qdrant.create_collection("theirs", {"vectors": {"size": 4, "distance": "Dot"}})
    await qdrant.create_alias("zoo", "theirs")

    with pytest.raises(Terminal, match="'zoo' is an alias, so no collection"):
        await observe(qdrant, "zoo")


async def test_a_wanted_alias_that_is_a_collection_is_seen_as_taken():
    qdrant: Any = EchoingQdrant()
    await qdrant.create_collection("docs", {"vectors": {}})

    seen = await observe(qdrant, "zoo", ["docs"])

    assert seen.holders == {"docs": "docs"}


def with_metadata(metadata):
    return observed("zoo", {"config": {"params": {}, "metadata": metadata}}, {})


def test_only_registrations_of_this_incarnation_count():
    point_set = Ref("PointSet", "search", "faq")
    mine, other = registration_key("prod", point_set), registration_key("prod", Ref("PointSet", "search", "old"))
    metadata = {mine: "now", other: "before", registration_key("staging", point_set): None, "x": "now"}

    assert with_metadata(metadata).registrations("now") == {mine: "now"}
    assert with_metadata(metadata).registered_incarnations == {"now", "before"}
    assert mine == "vectorops.dev/ledger/prod/search/faq"


def test_the_metadata_tells_where_the_ledgers_are_and_whether_there_is_a_mark():
    assert with_metadata({LEDGER_KEY: "kept"}).ledger_collection == "kept"
    assert with_metadata({LEDGER_KEY: 5}).ledger_collection == with_metadata(None).ledger_collection == ""
    assert not with_metadata({}).has_mark
    elsewhere = {"format": 1, "installation": "i", "namespace": "n", "name": "m", "uid": "u", "incarnation": "1"}
    copied = with_metadata({MARK_KEY: {**elsewhere, "collection": "park"}})
    assert (copied.has_mark, copied.mark) == (True, None)


def test_the_time_of_creation_stands_in_the_answer_from_1_20_on():
    created = "2026-10-22T10:00:00.5+00:00"

    assert (
        observed("zoo", {"status": "green"}, {}).created_at
        == observed("zoo", {"created_at": None}, {}).created_at
        == ""
    )
    assert observed("zoo", {"created_at": created}, {}).created_at == created

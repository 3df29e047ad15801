"""Manifests of what exists: what they say, what no manifest can say, and that each arrives as it was written."""

import math
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.exported import described
from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.pointset import PointSetSpec
from vectorops.collections.plan import differences
from vectorops.collections.resolve import resolve_collection
from vectorops.local.documents import parse_documents
from vectorops.local.export_manifests import (
    MAX_BYTES,
    NotExportable,
    collection_manifest,
    connection_manifest,
    point_set_manifest,
    resource_names,
)
from vectorops.local.export_yaml import to_yaml
from vectorops.points.declared import declare
from vectorops.points.schema import VectorSchema
from vectorops.qdrant.database import ShardKeyName, ShardsOfKey, StoredPoint
from vectorops.qdrant.observe import Observed, observed
from vectorops.vectors import Sparse

FLAT = {"": VectorSchema("dense", 2, "Dot")}


def collection(name="docs", holders=(), **found):
    """A collection as Qdrant describes it. found: blocks of its configuration."""
    config = {"params": {"vectors": {"size": 2, "distance": "Dot"}}, **found}
    return observed(name, {"config": config}, dict(holders))


def spec_of(there, **options):
    return collection_manifest(there, "docs", "main", None, version="1.16.3", **options).manifest["spec"]


def stored(id, payload=None, **vectors):
    given = vectors or {"": [1, 2]}
    return StoredPoint(id, payload or {}, {name: np.array(v, dtype=np.float32) for name, v in given.items()})


def set_of(*points, schema=FLAT, **options):
    return point_set_manifest(points, schema, "docs", ("Docs", "docs"), None, **options)


def read_back(manifest) -> Any:
    """As a file that was written with it is read."""
    (read,) = parse_documents(to_yaml([((), manifest)]))
    return read.value


# ---- names ----


def test_a_name_that_kubernetes_takes_stays_and_another_is_made_one():
    assert resource_names(["notes", "my_notes", "My Docs!", "a.b", "Café", "-x-"]) == {
        "notes": "notes",
        "my_notes": "my-notes",
        "My Docs!": "my-docs",
        "a.b": "a.b",
        "Café": "cafe",
        "-x-": "x",
    }


def test_names_that_become_one_are_told_apart_by_their_hash_and_a_valid_one_never_changes():
    found = resource_names(["my_notes", "my-notes", "My notes", "大きさ", "..."])

    assert found["my-notes"] == "my-notes"
    assert len(set(found.values())) == 5
    assert found == resource_names(reversed(found))
    assert found["大きさ"].startswith("unnamed-")


# ---- the connection ----


def test_a_key_is_asked_for_and_never_written():
    found = connection_manifest("main", "https://qdrant:6333", "search", has_key=True)

    assert found.manifest["spec"]["apiKeySecretRef"] == {"name": "main-api-key", "key": "api-key"}
    assert "kubectl create secret generic main-api-key --namespace search" in found.comment[-1]


@pytest.mark.parametrize(("name", "url"), [("Main", "http://qdrant:6333"), ("main", "http://qdrant:6333/a b")])
def test_a_connection_that_the_api_server_would_refuse_is_refused(name, url):
    with pytest.raises(NotExportable, match="no manifest declares it"):
        connection_manifest(name, url, None, has_key=False)


# ---- collections ----


@pytest.mark.parametrize(("version", "name", "answer"), described())
def test_what_a_server_describes_is_declared_so_that_nothing_differs(version, name, answer):
    there = observed(name, answer, {})
    if not there.vectors and not there.sparse_vectors:
        with pytest.raises(NotExportable, match="at least one of vector, vectors, sparseVectors is required"):
            collection_manifest(there, "docs", "main", None, version=version)
        return

    found = collection_manifest(there, "docs", "main", None, version=version)

    spec = read_back(found.manifest)["spec"]
    wanted = resolve_collection(QdrantCollectionSpec.model_validate(spec), name)
    assert spec["collectionName"] == name
    assert differences(wanted, there, version=version) == []


def test_an_option_with_qdrants_own_default_is_not_declared():
    there = collection(
        hnsw_config={
            "m": 16,
            "ef_construct": 100,
            "full_scan_threshold": 10000,
            "max_indexing_threads": 0,
            "on_disk": False,
        },
        optimizer_config={"deleted_threshold": 0.2, "indexing_threshold": 20000, "max_segment_size": None},
        wal_config={"wal_capacity_mb": 32, "wal_segments_ahead": 0},
    )

    assert spec_of(there) == {
        "connectionRef": {"name": "main"},
        "adoptionPolicy": "IfMatching",
        "deletionPolicy": "Retain",
        "vector": {"size": 2, "distance": "Dot"},
        "optimizersConfig": {"indexing_threshold": 20000},
    }


def test_what_vectorops_and_nulls_left_in_the_metadata_is_not_declared():
    there = collection(metadata={"vectorops.dev/ledger/x": "1", "none": None, "large": 2**63, "deep": {"x": [None]}})

    found = collection_manifest(there, "docs", "main", None, version="1.16.3")

    assert found.manifest["spec"]["metadata"] == {"deep": {"x": [None]}}
    assert [notice.split(" is left out")[0] for notice in found.notices[:1]] == ["collection 'docs': metadata.none"]
    assert "metadata.large: an integer that the API server rounds" in found.notices[1]
    assert str(2**63) not in found.notices[1]


def test_aliases_are_declared_but_for_those_that_no_resource_can_name():
    there = collection(holders={"live": "docs", "a/b": "docs", "other": "elsewhere"})

    found = collection_manifest(there, "docs", "main", None, version="1.16.3")

    assert found.manifest["spec"]["aliases"] == ["live"]
    assert found.notices == ("collection 'docs': the alias 'a/b' is left out: no resource can declare it",)


def test_shard_keys_are_declared_but_for_numbers():
    config = {"params": {"sharding_method": "custom", "shard_number": 1}}
    keys: dict[ShardKeyName, ShardsOfKey] = {
        "acme": ShardsOfKey(1, 1, 5),
        "big": ShardsOfKey(3, 1, 5),
        7: ShardsOfKey(1, 1, 5),
    }
    vectors = {"": {"size": 2, "distance": "Dot", "datatype": "float32"}}
    there = Observed("docs", True, vectors=vectors, config=config, shard_keys=keys, distributed=True)

    found = collection_manifest(there, "docs", "main", None, version="1.16.3")

    assert found.manifest["spec"]["shardKeys"] == [{"name": "acme"}, {"name": "big", "shardsNumber": 3}]
    assert found.manifest["spec"]["params"] == {"sharding_method": "custom", "shard_number": 1}
    assert found.notices == (
        "collection 'docs': the shard key 7 is left out: it is a number, and a declared one is always a string",
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"params": {"vectors": {}}}, "at least one of vector, vectors, sparseVectors"),
        (
            {"params": {"vectors": {"size": 2, "distance": "Dot", "hnsw_config": {"full_scan_threshold": 2**64 - 1}}}},
            r"vector.hnswConfig.full_scan_threshold: an integer that the API server rounds",
        ),
        ({"params": {"vectors": {"a": {"size": 2, "distance": "Hamming"}}}}, "distance: Unsupported value"),
        (
            {"params": {"vectors": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "new"}}}},
            "comparator",
        ),
    ],
)
def test_a_collection_that_no_manifest_declares_is_refused(found, words):
    with pytest.raises(NotExportable, match=words):
        spec_of(collection(**found))


# ---- points ----


def test_points_of_every_form_are_declared_and_sorted():
    schema = {
        "few": VectorSchema("dense", 2, "Dot"),
        "many": VectorSchema("dense", 17, "Dot"),
        "rows": VectorSchema("multivector", 1, "Dot"),
        "terms": VectorSchema("sparse"),
    }
    vectors = {"few": [0.1, -1], "many": [0.1] * 17, "rows": [[1], [2]]}
    point = stored(UUID(int=1), {"b": 1, "a": [None]}, **vectors)
    terms = Sparse(np.array([1, 5], dtype=np.uint32), np.array([0.1, 2], dtype=np.float32))
    point = StoredPoint(point.id, point.payload, {**point.vectors, "terms": terms})

    first, second = set_of(point, stored(7, few=[1, 2]), schema=schema).manifest["spec"]["points"]

    assert first == {"id": 7, "vectors": {"few": {"values": [1.0, 2.0]}}}
    assert second["id"] == "00000000-0000-0000-0000-000000000001"
    assert list(second["payload"]) == ["a", "b"]
    assert second["vectors"]["few"] == {"values": [0.1, -1.0]}
    assert second["vectors"]["many"] == {
        "packed": "zczMPc3MzD3NzMw9zczMPc3MzD3NzMw9zczMPc3MzD3NzMw9zczMPc3MzD3NzMw9zczMPc3MzD3NzMw9zczMPc3MzD0="
    }
    assert second["vectors"]["rows"] == {"rows": [[1.0], [2.0]]}
    assert second["vectors"]["terms"] == {"sparse": {"indices": [1, 5], "values": [0.1, 2.0]}}


def test_a_set_adopts_and_never_deletes():
    spec = set_of(stored(1)).manifest["spec"]

    assert (spec["adoptionPolicy"], spec["deletionPolicy"], spec["collectionRef"]) == (
        "IfMatching",
        "Retain",
        {"name": "docs"},
    )


def test_ids_that_the_api_server_would_round_are_written_as_digits():
    spec = set_of(stored(2**64 - 1), stored(1)).manifest["spec"]

    assert spec["idFormat"] == "Integer"
    assert [point["id"] for point in spec["points"]] == [1, "18446744073709551615"]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([stored(2**63), stored(UUID(int=1))], "the id 9223372036854775808 needs idFormat: Integer"),
        ([stored(1, {"a": {"b": [0, 2**63]}})], r"point '1': payload.a.b\[1\]: an integer that the API server rounds"),
        ([stored(1, {"secret": 2**64 - 1})], "payload.secret"),
        ([stored(n) for n in range(2001)], "more than 2,000 points"),
        ([stored(1, {"text": "x" * MAX_BYTES})], "its points take 1,0.* bytes"),
        ([StoredPoint(1, {}, {"": np.array([math.nan, 1], dtype=np.float32)})], "is no number in JSON"),
        ([stored(1, {}, other=[1])], "the collection has no vector of this name"),
    ],
)
def test_points_that_no_manifest_carries_are_refused_with_their_place(points, words):
    with pytest.raises(NotExportable, match=words) as refused:
        set_of(*points)

    assert str(2**64 - 1) not in str(refused.value)
    assert str(refused.value).startswith("collection 'Docs'")


def test_a_payload_that_is_nested_too_deeply_is_refused():
    deep: Any = 1
    for _ in range(33):
        deep = {"a": deep}

    with pytest.raises(NotExportable, match="point '1': payload: nested more than 32 levels deep"):
        set_of(stored(1, deep))


def test_a_set_that_client_side_apply_cannot_keep_says_so():
    assert set_of(stored(1, {"text": "x" * 300_000})).comment == (
        "Too large for a client-side apply: kubectl apply --server-side",
    )


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_float32_numbers_come_back_bit_for_bit(numbers):
    schema = {"": VectorSchema("dense", len(numbers), "Dot")}

    manifest = read_back(set_of(stored(1, **{"": numbers}), schema=schema).manifest)

    (point,) = declare(PointSetSpec.model_validate(manifest["spec"]).inline_points, schema).points.values()
    assert np.array_equal(np.asarray(point.data.vectors[""]), np.array(numbers, dtype=np.float32))


# ---- YAML ----


CARRIED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(CARRIED)
def test_what_is_written_is_what_is_read(value):
    (read,) = parse_documents(to_yaml([(("a comment",), {"kind": "x", "value": value})]))

    assert read.value == {"kind": "x", "value": value}


@pytest.mark.parametrize(
    "text", ["yes", "n", "1e3", "0x1F", "1_000", "2026-11-27", "1:30", "<<", "=", ".inf", "0o7", "-"]
)
def test_a_text_that_some_reader_takes_for_something_else_is_quoted(text):
    assert f'{text}: "{text}"' in to_yaml([((), {text: text})]) or f'"{text}": "{text}"' in to_yaml(
        [((), {text: text})]
    )

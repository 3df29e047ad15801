"""One suite for all doors to a Qdrant: a server over REST, a server over gRPC, a folder. What holds for one holds
for all.
"""

import uuid
from typing import Any

import numpy as np
import pytest

from vectorops.api.meta import JsonObject
from vectorops.errors import Conflict, NotFound, Rejected
from vectorops.qdrant.database import UNNAMED, Database, PayloadChange, PointData, PointId, StoredPoint
from vectorops.vectors import Sparse, VectorData

DOT = {"size": 2, "distance": "Dot"}
MULTI = {"comparator": "max_sim"}
U64_MAX = 2**64 - 1


async def make(database: Database, name: str, **body: object) -> None:
    await database.create_collection(name, {"vectors": DOT, **body})


async def config_of(database: Database, name: str) -> JsonObject:
    found = await database.collection(name)
    assert found is not None
    config: JsonObject = found["config"]
    return config


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else "here"


async def payload_of(database: Database, name: str, id: PointId) -> JsonObject:
    return (await database.points(name, [id], payload=True))[id].payload


async def vectors_of(database: Database, name: str, id: PointId) -> dict[str, VectorData]:
    return dict((await database.points(name, [id], vectors=True))[id].vectors)


def same(left: object, right: object) -> bool:
    if isinstance(left, Sparse) and isinstance(right, Sparse):
        return same(left.indices, right.indices) and same(left.values, right.values)
    return isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and np.array_equal(left, right)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


class TestCollections:
    async def test_what_was_created_is_read_back_as_it_was_given(self, database, name):
        await database.create_collection(
            name,
            {
                "vectors": {
                    "text": {
                        "size": 4,
                        "distance": "Cosine",
                        "hnsw_config": {"m": 24, "payload_m": None},
                        "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
                        "on_disk": True,
                    },
                    "image": {"size": 3, "distance": "Euclid", "datatype": "uint8"},
                    "half": {"size": 3, "distance": "Manhattan", "datatype": "float16"},
                    "tokens": {"size": 2, "distance": "Dot", "multivector_config": MULTI},
                },
                "sparse_vectors": {"terms": {"modifier": "idf", "index": {"on_disk": True}}, "plain": {}},
                "shard_number": 1,
                "on_disk_payload": False,
                "hnsw_config": {"ef_construct": 64},
                "optimizers_config": {"indexing_threshold": 500},
                "wal_config": {"wal_capacity_mb": 8},
                "strict_mode_config": {"enabled": True, "max_query_limit": 100},
                "metadata": {"team": "search", "nothing": None},
            },
        )

        config = await config_of(database, name)

        assert config == {
            "params": {
                "vectors": {
                    "text": {
                        "size": 4,
                        "distance": "Cosine",
                        "hnsw_config": {"m": 24},
                        "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
                        "on_disk": True,
                    },
                    "image": {"size": 3, "distance": "Euclid", "datatype": "uint8"},
                    "half": {"size": 3, "distance": "Manhattan", "datatype": "float16"},
                    "tokens": {"size": 2, "distance": "Dot", "multivector_config": MULTI},
                },
                "sparse_vectors": {"terms": {"modifier": "idf", "index": {"on_disk": True}}, "plain": {}},
                "shard_number": 1,
                "replication_factor": 1,
                "write_consistency_factor": 1,
                "on_disk_payload": False,
            },
            "hnsw_config": {
                "m": 16,
                "ef_construct": 64,
                "full_scan_threshold": 10000,
                "max_indexing_threads": 0,
                "on_disk": False,
            },
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "max_segment_size": None,
                "memmap_threshold": None,
                "indexing_threshold": 500,
                "flush_interval_sec": 5,
                "max_optimization_threads": None,
            },
            "wal_config": {"wal_capacity_mb": 8, "wal_segments_ahead": 0, "wal_retain_closed": 1},
            "quantization_config": None,
            "strict_mode_config": {"enabled": True, "max_query_limit": 100},
            "metadata": {"team": "search", "nothing": None},
        }

    async def test_a_change_merges_blocks_and_replaces_a_quantization(self, database, name):
        vector = {"size": 4, "distance": "Dot", "hnsw_config": {"m": 24}}
        await database.create_collection(
            name,
            {
                "vectors": {"text": vector},
                "sparse_vectors": {"terms": {"index": {"on_disk": True}}},
                "quantization_config": {"scalar": {"type": "int8", "quantile": 0.5}},
            },
        )

        await database.update_collection(
            name,
            {
                "vectors": {"text": {"hnsw_config": {"ef_construct": 50}, "quantization_config": {"binary": {}}}},
                "sparse_vectors": {"terms": {"modifier": "idf", "index": {"full_scan_threshold": 10}}},
                "params": {"on_disk_payload": False, "shard_number": 7, "read_fan_out_factor": 2},
                "hnsw_config": {"payload_m": 8},
                "optimizers_config": {"max_optimization_threads": 3},
                "quantization_config": {"product": {"compression": "x8"}},
                "strict_mode_config": {"enabled": False},
            },
        )

        config = await config_of(database, name)
        assert config["params"]["vectors"]["text"] == {
            "size": 4,
            "distance": "Dot",
            "hnsw_config": {"m": 24, "ef_construct": 50},
            "quantization_config": {"binary": {}},
        }
        assert config["params"]["sparse_vectors"] == {
            "terms": {"modifier": "idf", "index": {"on_disk": True, "full_scan_threshold": 10}}
        }
        assert config["params"]["on_disk_payload"] is False
        assert config["params"]["shard_number"] == 1, "cannot be changed, and Qdrant says nothing"
        assert config["params"]["read_fan_out_factor"] == 2
        assert config["hnsw_config"]["payload_m"] == 8
        assert config["optimizer_config"]["max_optimization_threads"] == 3
        assert config["quantization_config"] == {"product": {"compression": "x8"}}
        assert config["strict_mode_config"] == {"enabled": False}

        await database.update_collection(
            name,
            {
                "vectors": {"text": {"quantization_config": "Disabled"}},
                "quantization_config": "Disabled",
                "optimizers_config": {"max_optimization_threads": "auto"},
            },
        )

        config = await config_of(database, name)
        assert "quantization_config" not in config["params"]["vectors"]["text"]
        assert config["quantization_config"] is None
        assert config["optimizer_config"]["max_optimization_threads"] is None

    async def test_the_unnamed_vector_is_changed_under_the_empty_name(self, database, name):
        await make(database, name)

        await database.update_collection(name, {"vectors": {UNNAMED: {"on_disk": True}}})

        assert (await config_of(database, name))["params"]["vectors"] == {**DOT, "on_disk": True}

    async def test_options_that_this_qdrant_does_not_know_do_not_come_back(self, database, name):
        await database.create_collection(name, {"vectors": {**DOT, "typo": 1}, "hnsw_config": {"mm": 3}, "extra": 1})

        config = await config_of(database, name)

        assert config["params"]["vectors"] == DOT
        assert "mm" not in config["hnsw_config"]

    async def test_metadata_merges_by_key_and_a_null_removes(self, database, name):
        await make(database, name, metadata={"kept": 1, "changed": {"a": 1}, "removed": True})

        await database.update_collection(
            name, {"metadata": {"changed": {"b": [None, 0.1, 2**53 + 1]}, "removed": None}}
        )

        metadata = (await config_of(database, name))["metadata"]
        assert metadata == {"kept": 1, "changed": {"b": [None, 0.1, 2**53 + 1]}}

    async def test_a_collection_without_vectors_is_possible(self, database, name):
        await make(database, name, vectors={})

        await database.upsert(name, [PointData(1, payload={"a": 1})])

        assert (await config_of(database, name))["params"]["vectors"] == {}
        assert await payload_of(database, name, 1) == {"a": 1}

    async def test_a_missing_collection_is_none_when_looked_at_and_refused_when_written(self, database, name):
        assert await database.collection(name) is None
        await database.delete_collection(name)
        for write in (
            database.update_collection(name, {"metadata": {}}),
            database.create_index(name, "a", {"type": "keyword"}),
            database.upsert(name, [PointData(1, {UNNAMED: numbers(1, 2)})]),
            database.delete_points(name, [1]),
            database.scroll(name),
        ):
            with pytest.raises(NotFound):
                await write

    async def test_a_taken_name_is_refused(self, database, name):
        await make(database, name)

        with pytest.raises(Conflict):
            await make(database, name)

    async def test_a_vector_that_is_not_there_cannot_be_changed(self, database, name):
        await make(database, name)

        with pytest.raises(Rejected, match="Not existing vector name error: zz") as refused:
            await database.update_collection(name, {"vectors": {"zz": {"on_disk": True}}, "metadata": {"done": 1}})

        assert refused.value.status == 400
        assert "metadata" not in await config_of(database, name), "metadata is written last"

    @pytest.mark.parametrize(
        "body",
        [
            {"vectors": {"size": 2, "distance": "dot"}},
            {"vectors": {"size": 0, "distance": "Dot"}},
            {"vectors": DOT, "hnsw_config": {"m": "many"}},
            {"vectors": DOT, "quantization_config": {"scalar": {"type": "int4"}}},
            {"vectors": DOT, "quantization_config": "Disabled"},
        ],
    )
    async def test_a_wrong_option_is_refused_and_nothing_is_made(self, database, name, body):
        with pytest.raises(Rejected) as refused:
            await database.create_collection(name, body)

        assert refused.value.status in (400, 422)
        assert await database.collection(name) is None

    async def test_a_deleted_collection_is_gone_with_its_aliases(self, database, name):
        await make(database, name)
        await database.create_alias(f"{name}-alias", name)

        await database.delete_collection(name)

        assert name not in await database.collection_names()
        assert f"{name}-alias" not in await database.aliases()


class TestAliases:
    async def test_an_alias_leads_to_its_collection_and_moves_in_one_step(self, database, name):
        await make(database, f"{name}-1", metadata={"number": 1})
        await make(database, f"{name}-2", metadata={"number": 2})

        await database.create_alias(name, f"{name}-1")
        before = (await config_of(database, name))["metadata"]
        await database.create_alias(name, f"{name}-2")
        after = (await config_of(database, name))["metadata"]

        assert (before, after) == ({"number": 1}, {"number": 2})
        assert (await database.aliases())[name] == f"{name}-2"
        assert name not in await database.collection_names()

    async def test_aliases_move_together_and_missing_ones_are_created(self, database, name):
        await make(database, f"{name}-1")
        await make(database, f"{name}-2")
        moved, created, other = f"{name}-a", f"{name}-b", f"{name}-c"
        await database.move_aliases([moved, other], f"{name}-1")

        await database.move_aliases([moved, created], f"{name}-2")

        found = {alias: holder for alias, holder in (await database.aliases()).items() if alias.startswith(name)}
        assert found == {moved: f"{name}-2", created: f"{name}-2", other: f"{name}-1"}

    async def test_an_alias_that_cannot_be_moved_stays_where_it_is(self, database, name):
        await make(database, f"{name}-1")
        await make(database, f"{name}-2")
        await database.move_aliases([f"{name}-a", f"{name}-b"], f"{name}-1")

        with pytest.raises(NotFound):
            await database.move_aliases([f"{name}-a", f"{name}-b"], f"{name}-missing")
        with pytest.raises(Rejected) as taken:
            await database.move_aliases([f"{name}-1", f"{name}-a", f"{name}-b"], f"{name}-2")

        assert taken.value.status == 409
        found = {alias: holder for alias, holder in (await database.aliases()).items() if alias.startswith(name)}
        assert found == {f"{name}-a": f"{name}-1", f"{name}-b": f"{name}-1"}

    async def test_an_alias_can_be_deleted_twice(self, database, name):
        await make(database, name)
        await database.create_alias(f"{name}-alias", name)

        await database.delete_alias(f"{name}-alias")
        await database.delete_alias(f"{name}-alias")

        assert f"{name}-alias" not in await database.aliases()

    async def test_an_alias_cannot_take_the_name_of_a_collection_or_lead_nowhere(self, database, name):
        await make(database, name)

        with pytest.raises(Rejected) as taken:
            await database.create_alias(name, name)
        with pytest.raises(Rejected) as nowhere:
            await database.create_alias(f"{name}-alias", f"{name}-missing")

        assert (taken.value.status, nowhere.value.status) == (409, 404)

    async def test_deleting_through_an_alias_deletes_nothing(self, database, name):
        await make(database, name)
        await database.create_alias(f"{name}-alias", name)

        await database.delete_collection(f"{name}-alias")

        assert await database.collection(name) is not None


class TestIndexes:
    async def test_indexes_are_read_back_in_qdrants_form(self, database, name):
        await make(database, name)

        await database.create_index(name, "author", {"type": "keyword", "is_tenant": True})
        await database.create_index(name, '"odd key".part[]', {"type": "integer", "range": True})
        await database.create_index(name, "body", {"type": "text", "stopwords": {"custom": ["b", "a", "b"]}})
        await database.create_index(name, "when", {"type": "datetime"})

        schema = (await database.collection(name))["payload_schema"]
        assert {path: (index["data_type"], index["params"]) for path, index in schema.items()} == {
            "author": ("keyword", {"type": "keyword", "is_tenant": True}),
            '"odd key".part[]': ("integer", {"type": "integer", "lookup": None, "range": True, "is_principal": None}),
            "body": ("text", {"type": "text", "tokenizer": "word", "stopwords": {"custom": ["a", "b"]}}),
            "when": ("datetime", {"type": "datetime", "is_principal": None}),
        }

    async def test_an_index_is_replaced_in_place_and_deleted_twice(self, database, name):
        await make(database, name)
        await database.create_index(name, '"odd key".part[]', {"type": "keyword"})
        await database.create_index(name, '"odd key".part[]', {"type": "integer"})

        replaced = (await database.collection(name))["payload_schema"]
        await database.delete_index(name, '"odd key".part[]')
        await database.delete_index(name, '"odd key".part[]')

        assert replaced['"odd key".part[]']["data_type"] == "integer"
        assert (await database.collection(name))["payload_schema"] == {}

    async def test_an_unknown_kind_of_index_is_refused(self, database, name):
        await make(database, name)

        with pytest.raises(Rejected):
            await database.create_index(name, "a", {"type": "telepathy"})

    async def test_indexes_survive_a_change_of_the_collection(self, database, name):
        await make(database, name)
        await database.create_index(name, "author", {"type": "keyword"})

        await database.update_collection(name, {"hnsw_config": {"m": 8}, "metadata": {"a": 1}})

        assert (await database.collection(name))["payload_schema"]["author"]["data_type"] == "keyword"


class TestPoints:
    async def test_every_kind_of_vector_is_read_back_to_the_last_bit(self, database, name, floats):
        await database.create_collection(
            name,
            {
                "vectors": {
                    "dot": {"size": 384, "distance": "Dot"},
                    "euclid": {"size": 3, "distance": "Euclid"},
                    "manhattan": {"size": 3, "distance": "Manhattan"},
                    "cosine": {"size": 2, "distance": "Cosine"},
                    "half": {"size": 2, "distance": "Dot", "datatype": "float16"},
                    "bytes": {"size": 3, "distance": "Dot", "datatype": "uint8"},
                    "tokens": {"size": 2, "distance": "Dot", "multivector_config": MULTI},
                },
                "sparse_vectors": {"terms": {}},
            },
        )
        written = {
            "dot": floats(384),
            "euclid": floats(3),
            "manhattan": numbers(1e-38, -3.4e38, 0.1),
            "cosine": numbers(0.6, 0.8),
            "half": numbers(0.5, -2.0),
            "bytes": numbers(0, 1, 255),
            # Whole numbers, two rows: as integers they would be taken for a sparse vector.
            "tokens": np.array([[1, 2], [3, 4]], dtype=np.float32),
            "terms": Sparse(np.array([0, 7, 2**32 - 1], dtype=np.uint32), numbers(1, 0.1, -2)),
        }

        await database.upsert(name, [PointData(1, written), PointData(2, {"terms": written["terms"]})])

        read = await vectors_of(database, name, 1)
        cosine: Any = read.pop("cosine")
        assert {one: same(vector, written[one]) for one, vector in read.items()} == {
            one: True for one in written if one != "cosine"
        }
        assert np.allclose(cosine, written["cosine"], atol=1e-6), "normalized by Qdrant"
        assert (await vectors_of(database, name, 2)).keys() == {"terms"}

    async def test_the_unnamed_vector_alone(self, database, name, floats):
        await make(database, name, vectors={"size": 8, "distance": "Dot"})
        vector = floats(8)

        await database.upsert(name, [PointData(1, {UNNAMED: vector}), PointData(2)])

        assert same((await vectors_of(database, name, 1))[UNNAMED], vector)
        assert await vectors_of(database, name, 2) == {}

    async def test_numbers_in_unusual_memory_arrive_all_the_same(self, database, name):
        await make(database, name, vectors={"size": 3, "distance": "Dot"})
        every_other: Any = np.arange(6, dtype=np.float64)[::2]

        await database.upsert(name, [PointData(1, {UNNAMED: every_other})])

        assert same((await vectors_of(database, name, 1))[UNNAMED], numbers(0, 2, 4))

    async def test_ids_of_both_kinds_in_their_whole_range(self, database, name):
        await make(database, name)
        ids: list[PointId] = [0, 2**53 + 1, U64_MAX, uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4()]

        await database.upsert(name, [PointData(one, {UNNAMED: numbers(1, 2)}) for one in ids])
        await database.update_vectors(name, [PointData(one, {UNNAMED: numbers(3, 4)}) for one in ids])

        assert (await database.points(name, [*ids, 12345])).keys() == set(ids)
        await database.delete_points(name, [*ids[1:], 12345])
        assert [point.id for point in await database.scroll(name)] == [0]

    async def test_fields_of_the_payload_can_be_left_out(self, database, name):
        await make(database, name)
        payload = {"list": [1, 2], "text": "x", "number": 2**53 + 1}

        await database.upsert(name, [PointData(one, {UNNAMED: numbers(1, 2)}, payload) for one in range(100)])

        for ids in ([1], list(range(100))):
            for vectors in (False, True):
                read = await database.points(name, ids, payload=True, vectors=vectors, without=("list", "absent"))
                assert read.keys() == set(ids)
                assert all(point.payload == {"text": "x", "number": 2**53 + 1} for point in read.values())
        assert (await database.points(name, [1], without=("list",)))[1].payload == {}

    @pytest.mark.parametrize(
        "payload",
        [
            {},
            {"unsigned": U64_MAX, "signed": -(2**63), "edge": 2**63, "safe": 2**53 + 1},
            {"tenth": 0.1, "one": 1.0, "tiny": 5e-324, "huge": 1.7976931348623157e308, "zero": 0, "negative": -0.5},
            {"null": None, "true": True, "false": False, "empty": {}, "none": [], "text": "", "": "no name"},
            {"unicode": "héllo 🦀 \u0000 \n \u2028", "ключ": "значение", 'a"b\\c.d[0]': 1},
            {"nested": {"list": [1, 2.5, None, {"deep": [[], [{}], [[{"x": U64_MAX}]]]}], "1": {"2": {"3": "4"}}}},
            {"deeper": [[[[[[[[[[[[[[[[[[[[{"down": {"here": 1}}]]]]]]]]]]]]]]]]]]]]},
            {"beyond what gRPC's protobuf nests": nested(60)},
            {"mixed": [1, "1", 1.5, True, None, {"a": 1}, [1]], "location": {"lon": 52.5, "lat": 13.4}},
        ],
    )
    async def test_a_payload_is_read_back_exactly(self, database, name, payload):
        await make(database, name)

        await database.upsert(
            name, [PointData(1, {UNNAMED: numbers(1, 2)}, payload), PointData(2, payload={"other": 1})]
        )

        alone = await payload_of(database, name, 1)
        beside_vectors = (await database.points(name, [1, 2], payload=True, vectors=True))[1].payload
        for read in (alone, beside_vectors):
            assert read == payload
            types = {key: type(value) for key, value in read.items()}
            assert types == {key: type(value) for key, value in payload.items()}

    async def test_an_upsert_replaces_the_whole_point(self, database, name):
        await make(database, name, vectors={"a": DOT, "b": DOT})
        both = {"a": numbers(1, 2), "b": numbers(3, 4)}
        await database.upsert(name, [PointData(1, both, {"old": 1})])

        await database.upsert(name, [PointData(1, {"a": numbers(5, 6)}, {"new": 1})])

        assert await payload_of(database, name, 1) == {"new": 1}
        assert (await vectors_of(database, name, 1)).keys() == {"a"}

    async def test_insert_only_leaves_existing_points_alone(self, database, name):
        await make(database, name)
        await database.upsert(name, [PointData(1, {UNNAMED: numbers(1, 2)}, {"by": "someone else"})])

        mine = [PointData(one, {UNNAMED: numbers(3, 4)}, {"by": "me"}) for one in (1, 2)]
        await database.upsert(name, mine, insert_only=True)

        assert await payload_of(database, name, 1) == {"by": "someone else"}
        assert same((await vectors_of(database, name, 1))[UNNAMED], numbers(1, 2))
        assert await payload_of(database, name, 2) == {"by": "me"}

    async def test_a_condition_leaves_other_points_alone(self, database, name):
        await make(database, name)
        await database.upsert(name, [PointData(1, payload={"token": "old"}), PointData(2, payload={"token": "other"})])

        where = {"must": [{"key": "token", "match": {"value": "old"}}]}
        await database.upsert(name, [PointData(one, payload={"token": "new"}) for one in (1, 2, 3)], where=where)

        tokens = {
            one: point.payload["token"] for one, point in (await database.points(name, [1, 2, 3], payload=True)).items()
        }
        assert tokens == {1: "new", 2: "other", 3: "new"}

    async def test_changed_vectors_leave_the_rest_of_the_point(self, database, name):
        await make(database, name, vectors={"a": DOT, "b": DOT}, sparse_vectors={"s": {}})
        sparse = Sparse(np.array([1], dtype=np.uint32), numbers(1))
        await database.upsert(name, [PointData(1, {"a": numbers(1, 2), "b": numbers(3, 4)}, {"kept": True})])

        await database.update_vectors(name, [PointData(1, {"b": numbers(5, 6), "s": sparse})])

        vectors = await vectors_of(database, name, 1)
        assert same(vectors["a"], numbers(1, 2))
        assert same(vectors["b"], numbers(5, 6))
        assert same(vectors["s"], sparse)
        assert await payload_of(database, name, 1) == {"kept": True}

    async def test_vectors_can_be_deleted_the_unnamed_one_too(self, database, name):
        await make(database, name, sparse_vectors={"s": {}})
        sparse = Sparse(np.array([1], dtype=np.uint32), numbers(1))
        await database.upsert(name, [PointData(1, {UNNAMED: numbers(1, 2), "s": sparse}, {"kept": True})])

        await database.delete_vectors(name, [1], [UNNAMED])

        assert (await vectors_of(database, name, 1)).keys() == {"s"}
        assert await payload_of(database, name, 1) == {"kept": True}

    async def test_only_some_vectors_are_read_the_unnamed_one_too(self, database, name):
        await make(database, name, sparse_vectors={"s": {}})
        sparse = Sparse(np.array([1], dtype=np.uint32), numbers(1))
        points = [PointData(1, {UNNAMED: numbers(1, 2), "s": sparse}, {"a": 1}), PointData(2, {"s": sparse})]
        await database.upsert(name, points)

        async def read(*names):
            return {id: one.vectors for id, one in (await database.points(name, [1, 2], vectors=names)).items()}

        assert {id: vectors.keys() for id, vectors in (await read("s")).items()} == {1: {"s"}, 2: {"s"}}
        unnamed = await read(UNNAMED)
        assert same(unnamed[1][UNNAMED], numbers(1, 2))
        assert (unnamed[1].keys(), unnamed[2].keys()) == ({UNNAMED}, set())
        assert {id: vectors.keys() for id, vectors in (await read(UNNAMED, "s")).items()} == {
            1: {UNNAMED, "s"},
            2: {"s"},
        }

    async def test_payloads_change_key_by_key(self, database, name):
        await make(database, name)
        odd = 'a"b\\c.d[0]'
        before = {"kept": {"x": 1}, "changed": {"old": 1}, "removed": 1, odd: 1, "to null": 1}
        await database.upsert(name, [PointData(one, {UNNAMED: numbers(1, 2)}, before) for one in (1, 2, 3)])

        await database.change_payloads(
            name,
            [
                PayloadChange(
                    1, put={"changed": {"new": [None]}, "added": U64_MAX}, remove=["removed", odd, "never there"]
                ),
                PayloadChange(2, put={"to null": None, odd: "put"}, remove=["kept"]),
            ],
        )

        assert await payload_of(database, name, 1) == {
            "kept": {"x": 1},
            "changed": {"new": [None]},
            "added": U64_MAX,
            "to null": 1,
        }
        assert await payload_of(database, name, 2) == {"changed": {"old": 1}, "removed": 1, odd: "put", "to null": None}
        assert await payload_of(database, name, 3) == before
        assert same((await vectors_of(database, name, 1))[UNNAMED], numbers(1, 2))

    async def test_changes_of_a_missing_point_are_refused(self, database, name):
        await make(database, name)

        for write in (
            database.change_payloads(name, [PayloadChange(1, put={"a": 1})]),
            database.change_payloads(name, [PayloadChange(1, put={"a": None})]),
            database.update_vectors(name, [PointData(1, {UNNAMED: numbers(1, 2)})]),
            database.delete_vectors(name, [1], [UNNAMED]),
        ):
            with pytest.raises(NotFound):
                await write
        assert await database.points(name, [1]) == {}

    async def test_lists_longer_than_a_request(self, database, name):
        await make(database, name)
        ids = list(range(1200))

        await database.upsert(name, [PointData(one, {UNNAMED: numbers(one, 1)}, {"n": one}) for one in ids])
        await database.change_payloads(name, [PayloadChange(one, put={"n": -one}) for one in ids])
        await database.update_vectors(name, [PointData(one, {UNNAMED: numbers(one, 2)}) for one in ids])

        points = await database.points(name, ids, payload=True, vectors=True)
        assert {one: point.payload for one, point in points.items()} == {one: {"n": -one} for one in ids}
        assert all(same(point.vectors[UNNAMED], numbers(one, 2)) for one, point in points.items())
        assert [point.id for point in await database.scroll(name)] == ids
        await database.delete_points(name, ids[1:])
        assert await database.scroll(name) == [StoredPoint(0, {}, {})]

    async def test_points_longer_than_a_request_together(self, database, name):
        await make(database, name)
        long = "x" * 5_000_000

        await database.upsert(name, [PointData(one, payload={"text": f"{one}{long}"}) for one in range(3)])

        assert {one: (await payload_of(database, name, one))["text"][:1] for one in range(3)} == {
            0: "0",
            1: "1",
            2: "2",
        }

    async def test_empty_lists_do_nothing(self, database, name):
        await make(database, name)

        await database.upsert(name, [])
        await database.update_vectors(name, [])
        await database.delete_vectors(name, [], [UNNAMED])
        await database.change_payloads(name, [])
        await database.delete_points(name, [])

        assert await database.points(name, []) == {}
        assert await database.scroll(name) == []

    async def test_matching_points_are_listed_and_deleted(self, database, name):
        await make(database, name)
        await database.upsert(name, [PointData(one, payload={"even": one % 2 == 0}) for one in range(6)])
        even = {"must": [{"key": "even", "match": {"value": True}}]}

        assert [(point.id, point.payload) for point in await database.scroll(name, even, payload=True)] == [
            (0, {"even": True}),
            (2, {"even": True}),
            (4, {"even": True}),
        ]
        await database.delete_matching(name, even)

        assert [point.id for point in await database.scroll(name)] == [1, 3, 5]

    @pytest.mark.parametrize(
        ("vectors", "words"),
        [
            ({UNNAMED: numbers(1, 2, 3)}, "expected dim: 2, got 3"),
            ({"zz": numbers(1, 2)}, "Not existing vector name"),
            ({UNNAMED: Sparse(np.array([1], dtype=np.uint32), numbers(1))}, "[Ss]parse"),
        ],
    )
    async def test_a_wrong_vector_is_refused_with_the_reason_and_without_content(self, database, name, vectors, words):
        """The other points of its batch may or may not be written; the caller repeats them."""
        await make(database, name)
        good = PointData(1, {UNNAMED: numbers(1, 2)})

        with pytest.raises(Rejected, match=words) as refused:
            await database.upsert(name, [good, PointData(2, vectors, {"private": "s3cret"})])

        assert refused.value.status == 400
        assert "s3cret" not in refused.value.message
        assert await database.points(name, [2]) == {}

    @pytest.mark.parametrize("payload", [{"long": 2**64}, {"half": "\ud800"}, {"set": {1, 2}}])
    async def test_a_payload_that_is_no_json_is_refused(self, database, name, payload):
        await make(database, name)

        with pytest.raises(Rejected):
            await database.upsert(name, [PointData(1, {UNNAMED: numbers(1, 2)}, payload)])

        assert await database.scroll(name) == []


class TestSearches:
    async def test_the_nearest_points_are_found_the_nearest_first(self, database, name):
        await make(database, name)
        other = uuid.uuid4()
        points: list[tuple[int | uuid.UUID, Any]] = [
            (7, numbers(1, 0)),
            (other, numbers(3, 0)),
            (9, numbers(2, 0)),
            (11, numbers(-1, 0)),
        ]
        await database.upsert(name, [PointData(id, {UNNAMED: vector}) for id, vector in points])

        assert await database.search(name, numbers(1, 0), limit=3) == [other, 9, 7]

    async def test_only_points_that_match_the_filter_are_found(self, database, name):
        await make(database, name)
        points = [PointData(id, {UNNAMED: numbers(id, 0)}, {"even": id % 2 == 0}) for id in range(1, 7)]
        await database.upsert(name, points)
        even = {"must": [{"key": "even", "match": {"value": True}}]}

        assert await database.search(name, numbers(1, 0), where=even, limit=2) == [6, 4]

    async def test_multi_vectors_and_sparse_vectors_are_searched_by_name(self, database, name):
        rows = {"size": 2, "distance": "Dot", "multivector_config": MULTI}
        await database.create_collection(name, {"vectors": {"rows": rows}, "sparse_vectors": {"terms": {}}})
        terms = [Sparse(np.array([one], dtype=np.uint32), numbers(1)) for one in (1, 2)]
        await database.upsert(
            name,
            [
                PointData(1, {"rows": numbers(1, 0).reshape(1, 2), "terms": terms[0]}),
                PointData(2, {"rows": np.stack([numbers(0, 1), numbers(1, 0)]), "terms": terms[1]}),
            ],
        )

        assert await database.search(name, np.stack([numbers(0, 1), numbers(1, 0)]), using="rows", limit=2) == [2, 1]
        assert await database.search(name, terms[0], using="terms", limit=2) == [1]
        nothing = Sparse(np.array([], dtype=np.uint32), numbers())
        assert await database.search(name, nothing, using="terms", limit=2) == []

    @pytest.mark.parametrize(
        ("vector", "options", "words"),
        [
            (numbers(1, 2, 3), {}, "expected dim: 2, got 3|not aligned"),
            (numbers(1, 2), {"using": "zz"}, "zz"),
            (numbers(1, 2), {"where": {"must": [{"key": "a", "match": {"valu": 1}}]}}, "[Ee]xpected|match"),
        ],
    )
    async def test_a_wrong_query_is_refused(self, database, name, vector, options, words):
        await make(database, name)
        await database.upsert(name, [PointData(1, {UNNAMED: numbers(1, 2)})])

        with pytest.raises(Rejected, match=words):
            await database.search(name, vector, limit=1, **options)

    async def test_a_search_of_a_collection_that_is_not_there_finds_none(self, database, name):
        with pytest.raises(NotFound):
            await database.search(name, numbers(1, 2), limit=1)

"""What must change: Qdrant's rules, one by one, on collections as Qdrant gives them back."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.collections.echo import EchoingQdrant
from unit.collections.specs import TEXT, VERSION, bring, declare, look, specs
from vectorops.api.reasons import Reason
from vectorops.collections.handover import AliasHandover
from vectorops.collections.last_applied import LastApplied
from vectorops.collections.plan import differences, make_plan, mismatches
from vectorops.collections.rules import parse_version
from vectorops.collections.steps import Action
from vectorops.errors import Terminal
from vectorops.qdrant.observe import Observed, observe


@pytest.fixture
def qdrant() -> EchoingQdrant:
    return EchoingQdrant()


async def planned(qdrant, before, after, version=VERSION):
    """The plan for a new declaration of a collection that stands as declared before."""
    await bring(qdrant, declare(**before), version)
    return await look(qdrant, declare(**after), version)


def actions(steps):
    return [(step.action, step.target) for step in steps]


@settings(max_examples=60, deadline=None)
@given(specs)
async def test_a_collection_that_was_made_as_declared_needs_nothing(spec):
    qdrant: Any = EchoingQdrant()
    done = await bring(qdrant, declare(**spec))
    writes = len(qdrant.writes)

    again = await bring(qdrant, declare(**spec))

    assert done.plan.doable == done.plan.held_back == ()
    assert len(qdrant.writes) == writes
    assert again.plan.unsupported == (
        (("params.unknown_option", 1),) if "unknown_option" in spec.get("params", {}) else ()
    )


@settings(max_examples=60, deadline=None)
@given(specs, specs)
async def test_a_new_declaration_is_settled_by_one_pass_and_never_destroys(before, after):
    qdrant: Any = EchoingQdrant()
    await bring(qdrant, declare(**before))
    vectors = (await observe(qdrant, "zoo")).vectors

    done = await bring(qdrant, declare(**after))
    writes = len(qdrant.writes)
    again = await bring(qdrant, declare(**after))

    assert done.plan.doable == again.plan.doable == ()
    assert len(qdrant.writes) == writes
    assert {name: params["size"] for name, params in done.observed.vectors.items()} == {
        name: params["size"] for name, params in vectors.items()
    }


@settings(max_examples=60, deadline=None)
@given(specs, specs, st.sampled_from([VERSION, "1.18.3", "1.19.0"]))
async def test_an_approved_plan_leaves_the_declared_collection(before, after, version):
    qdrant: Any = EchoingQdrant()
    await bring(qdrant, declare(**before), version)

    done = await bring(qdrant, declare(**after), version, approved=True)

    assert done.plan.doable == done.plan.held_back == ()


def test_nothing_there_means_create_with_indexes_and_aliases():
    wanted = declare(payloadIndexes=[{"field": "a", "schema": {"type": "bool"}}], aliases=["docs"])

    todo = make_plan(wanted, Observed(name="zoo", exists=False), version=VERSION, last_applied={})

    assert actions(todo.doable) == [
        (Action.CREATE_COLLECTION, "zoo"),
        (Action.PUT_INDEX, "a"),
        (Action.CREATE_ALIAS, "docs"),
    ]
    assert todo.describe() == [
        "create collection zoo",
        '  vector "text": 4 Cosine',
        'create payload index a: {"type": "bool"}',
        "create alias docs",
    ]
    assert not todo.is_drift


IN_PLACE = {
    "vector on_disk": ({"vectors": [{**TEXT, "params": {"on_disk": True}}]}, {"vectors": {"text": {"on_disk": True}}}),
    "vector hnsw": ({"vectors": [{**TEXT, "hnswConfig": {"m": 8}}]}, {"vectors": {"text": {"hnsw_config": {"m": 8}}}}),
    "vector quantization": (
        {"vectors": [{**TEXT, "quantizationConfig": {"binary": {}}}]},
        {"vectors": {"text": {"quantization_config": {"binary": {}}}}},
    ),
    "hnsw": ({"hnswConfig": {"m": 8, "ef_construct": 100}}, {"hnsw_config": {"m": 8}}),
    "optimizers": ({"optimizersConfig": {"indexing_threshold": 7}}, {"optimizers_config": {"indexing_threshold": 7}}),
    "params": ({"params": {"read_fan_out_factor": 2, "shard_number": 1}}, {"params": {"read_fan_out_factor": 2}}),
    "quantization": (
        {"quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.9}}},
        {"quantization_config": {"scalar": {"type": "int8", "quantile": 0.9}}},
    ),
    "strict mode": (
        {"strictModeConfig": {"enabled": True, "max_query_limit": 9}},
        {"strict_mode_config": {"enabled": True, "max_query_limit": 9}},
    ),
}


@pytest.mark.parametrize("change", IN_PLACE)
async def test_what_qdrant_can_change_is_patched_leaf_by_leaf(qdrant, change):
    spec, body = IN_PLACE[change]

    todo = await planned(qdrant, {}, spec)

    assert actions(todo.doable) == [(Action.UPDATE_COLLECTION, "zoo")]
    assert todo.doable[0].body == body
    assert todo.held_back == ()


IMMUTABLE = {
    "size": ({"vectors": [{"name": "text", "size": 8}]}, 'vector "text": size 4 -> 8', "1.19"),
    "distance": ({"vectors": [{**TEXT, "distance": "Dot"}]}, 'vector "text": distance Cosine -> Dot', "1.19"),
    "datatype": ({"vectors": [{**TEXT, "datatype": "uint8"}]}, 'vector "text": datatype float32 -> uint8', "1.19"),
    "multivector": (
        {"vectors": [{**TEXT, "multivector": {"comparator": "max_sim"}}]},
        'vector "text": multivector_config.comparator absent -> max_sim',
        "1.19",
    ),
    "shards": ({"params": {"shard_number": 3}}, "params.shard_number: 1 -> 3", ""),
    "sharding": ({"params": {"sharding_method": "custom"}}, "params.sharding_method: absent -> custom", ""),
    "wal": ({"walConfig": {"wal_capacity_mb": 1}}, "wal_config.wal_capacity_mb: 32 -> 1", ""),
    "a vector more": ({"vectors": [TEXT, {"name": "image", "size": 2}]}, 'vector "image": absent -> 2 Cosine', "1.18"),
    "another vector": ({"vectors": [{"name": "image", "size": 2}]}, 'vector "text": 4 Cosine -> absent', "1.19"),
    "unnamed": ({"vector": {"size": 4}}, "the vector: absent -> 4 Cosine", ""),
    "a sparse vector more": (
        {"vectors": [TEXT], "sparseVectors": [{"name": "terms"}]},
        'vector "terms": absent -> sparse',
        "1.18",
    ),
    "dense to sparse": ({"sparseVectors": [{"name": "text"}]}, 'vector "text": 4 Cosine -> sparse', "1.19"),
}


@pytest.mark.parametrize("change", IMMUTABLE)
async def test_what_qdrant_cannot_change_is_held_back_with_what_it_would_cost_and_the_version_that_could(
    qdrant, change
):
    spec, line, since = IMMUTABLE[change]

    todo = await planned(qdrant, {}, spec)

    assert todo.doable == ()
    assert actions(todo.held_back) == [(Action.RECREATE_COLLECTION, "zoo")]
    assert line in todo.held_back[0].lines
    older = f" before Qdrant {since}" if since else ""
    again = f"cannot be changed in place{older}: the collection must be deleted and created again"
    cost = f"({again}; 1,234 points would be lost)"
    assert f"{line} {cost}" in todo.describe(points=1234)


async def test_the_datatype_of_a_sparse_index_is_patched_because_the_weights_stay_float32(qdrant):
    before = {"sparseVectors": [{"name": "terms"}]}
    after = {"sparseVectors": [{"name": "terms", "index": {"datatype": "float16"}}]}

    todo = await planned(qdrant, before, after)

    assert todo.held_back == ()
    assert todo.doable[0].body == {"sparse_vectors": {"terms": {"index": {"datatype": "float16"}}}}
    assert todo.describe() == [
        'vector "terms": index.datatype absent -> float16, in each segment when its index is next rebuilt'
    ]


async def test_saying_a_default_aloud_changes_nothing(qdrant):
    before = {"vectors": [TEXT], "sparseVectors": [{"name": "terms"}]}
    after = {
        "vectors": [{**TEXT, "datatype": "float32", "distance": "Cosine"}],
        "sparseVectors": [{"name": "terms", "modifier": "none", "index": {"datatype": "float32"}}],
        "params": {"sharding_method": "auto"},
        "optimizersConfig": {"max_optimization_threads": "auto"},
    }

    todo = await planned(qdrant, before, after)

    assert todo.doable == todo.held_back == ()


@pytest.mark.parametrize(
    ("spec", "body"),
    [
        ({"quantizationConfig": {"binary": {}}}, {"quantization_config": "Disabled"}),
        (
            {"vectors": [{**TEXT, "quantizationConfig": {"binary": {}}}]},
            {"vectors": {"text": {"quantization_config": "Disabled"}}},
        ),
        (
            {"optimizersConfig": {"max_optimization_threads": 2}},
            {"optimizers_config": {"max_optimization_threads": "auto"}},
        ),
    ],
)
async def test_what_qdrant_can_take_back_is_taken_back_when_no_longer_declared(qdrant, spec, body):
    todo = await planned(qdrant, spec, {})

    assert todo.doable[0].body == body


async def test_a_modifier_that_is_no_longer_declared_is_taken_back(qdrant):
    sparse = {"name": "terms", "modifier": "idf"}

    todo = await planned(qdrant, {"sparseVectors": [sparse]}, {"sparseVectors": [{"name": "terms"}]})

    assert todo.doable[0].body == {"sparse_vectors": {"terms": {"modifier": "none"}}}


async def test_quantization_that_others_set_is_left_alone(qdrant):
    await bring(qdrant, declare())
    await qdrant.update_collection("zoo", {"quantization_config": {"binary": {}}})

    assert (await look(qdrant, declare())).doable == ()


async def test_other_values_that_are_no_longer_declared_stay(qdrant):
    todo = await planned(qdrant, {"hnswConfig": {"m": 8}}, {})

    assert todo.doable == todo.held_back == ()


async def test_a_changed_quantization_is_sent_whole(qdrant):
    """Qdrant replaces it: a partial one would drop the rest."""
    before = {"quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.9}}}
    after = {"quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.9, "always_ram": True}}}

    todo = await planned(qdrant, before, after)

    assert todo.doable[0].body == {"quantization_config": after["quantizationConfig"]}


async def test_an_option_removed_from_a_quantization_is_removed(qdrant):
    await bring(qdrant, declare(quantizationConfig={"scalar": {"type": "int8", "quantile": 0.9}}))

    done = await bring(qdrant, declare(quantizationConfig={"scalar": {"type": "int8"}}))

    assert done.observed.config["quantization_config"] == {"scalar": {"type": "int8"}}


async def test_indexes_are_put_over_and_only_ours_are_removed(qdrant):
    before = {"payloadIndexes": [{"field": f, "schema": {"type": "keyword"}} for f in ("kept", "gone", "other")]}
    after = {
        "payloadIndexes": [
            {"field": "kept", "schema": {"type": "keyword"}},
            {"field": "other", "schema": {"type": "integer"}},
        ]
    }
    await qdrant.create_collection("zoo", {"vectors": {"text": {"size": 4, "distance": "Cosine"}}})
    await qdrant.create_index("zoo", "theirs", {"type": "bool"})

    todo = await planned(qdrant, before, after)

    assert actions(todo.doable) == [(Action.PUT_INDEX, "other"), (Action.DELETE_INDEX, "gone")]


def keyword(*fields):
    return [{"field": field, "schema": {"type": "keyword"}} for field in fields]


LIMIT: dict[str, Any] = {"strictModeConfig": {"enabled": True, "max_payload_index_count": 2}}
NO_LIMIT: dict[str, Any] = {"strictModeConfig": {"enabled": False, "max_payload_index_count": 2}}
YEARS: list[dict[str, Any]] = [{"field": "year", "schema": {"type": "integer"}}]
SWAPS: dict[str, Any] = {
    "no limit": ({}, keyword("a", "b"), keyword("a", "c"), ["put c", "delete b"]),
    "a limit that is off": (NO_LIMIT, keyword("a", "b"), keyword("a", "c"), ["put c", "delete b"]),
    "room enough": (LIMIT, keyword("b"), keyword("c"), ["put c", "delete b"]),
    "another field": (LIMIT, keyword("a", "b"), keyword("a", "c"), ["delete b", "put c"]),
    "another type": (LIMIT, [*keyword("a"), *YEARS], keyword("a", "year"), ["delete year", "put year"]),
    "one goes, one changes": (LIMIT, [*keyword("a"), *YEARS], keyword("year"), ["delete a", "put year"]),
    "both": (
        LIMIT,
        [*keyword("a"), *YEARS],
        keyword("b", "year"),
        ["delete a", "put year", "put b"],
    ),
}


@pytest.mark.parametrize("swap", SWAPS)
async def test_an_index_that_goes_makes_room_first_where_their_number_is_limited_and_else_there_is_never_a_gap(
    qdrant, swap
):
    limit, before, after, order = SWAPS[swap]

    todo = await planned(qdrant, {**limit, "payloadIndexes": before}, {**limit, "payloadIndexes": after})

    assert [f"{step.action.split()[0]} {step.target}" for step in todo.doable] == order
    writes = len(qdrant.writes)
    done = await bring(qdrant, declare(**limit, payloadIndexes=after))
    assert done.plan.doable == ()
    carried_out = [f"{call.split('_')[0]} {what[0]}" for call, what in qdrant.writes[writes:] if "index" in call]
    assert carried_out == [words.replace("put", "create") for words in order]


async def test_a_limit_that_is_raised_by_the_same_change_does_not_count(qdrant):
    raised: dict[str, Any] = {"strictModeConfig": {"enabled": True, "max_payload_index_count": 3}}

    todo = await planned(
        qdrant, {**LIMIT, "payloadIndexes": keyword("a", "b")}, {**raised, "payloadIndexes": keyword("a", "c")}
    )

    assert actions(todo.doable)[1:] == [(Action.PUT_INDEX, "c"), (Action.DELETE_INDEX, "b")]


async def test_an_index_is_not_deleted_where_it_could_not_be_put_again(qdrant):
    """Others have made more of them than are allowed by now."""
    await bring(qdrant, declare(payloadIndexes=YEARS))
    for field in ("theirs", "also"):
        await qdrant.create_index("zoo", field, {"type": "bool"})
    await bring(qdrant, declare(**LIMIT, payloadIndexes=YEARS))

    todo = await look(qdrant, declare(**LIMIT, payloadIndexes=keyword("year")))

    assert actions(todo.doable) == [(Action.PUT_INDEX, "year")]


async def test_a_collection_that_is_made_anew_gets_no_index_that_goes_because_there_may_be_no_room(qdrant):
    await bring(qdrant, declare(**LIMIT, payloadIndexes=keyword("a", "b")))
    wanted = declare(vectors=[{"name": "text", "size": 8}], **LIMIT, payloadIndexes=keyword("a", "c"))

    done = await bring(qdrant, wanted, approved=True)

    assert done.observed.indexes.keys() == {"a", "c"}


async def test_only_our_aliases_are_removed_and_none_is_stolen(qdrant):
    await bring(qdrant, declare(aliases=["docs"]))
    await bring(qdrant, declare("other"))
    await qdrant.create_alias("theirs", "zoo")
    await qdrant.create_alias("taken", "other")

    todo = await look(qdrant, declare(aliases=["taken", "other", "new"]))

    assert actions(todo.doable) == [(Action.CREATE_ALIAS, "new"), (Action.DELETE_ALIAS, "docs")]
    assert todo.taken == (("other", "other"), ("taken", "other"))


class TestQdrant118:
    """Since 1.18 named vectors come in place."""

    VERSION = "1.18.0"

    async def test_a_vector_is_added_without_asking(self, qdrant):
        image = {"name": "image", "size": 2, "datatype": "float16", "params": {"on_disk": True}}

        todo = await planned(qdrant, {}, {"vectors": [TEXT, image]}, self.VERSION)

        assert actions(todo.doable) == [(Action.CREATE_VECTOR, "image")]
        assert todo.doable[0].body == {"dense": {"size": 2, "distance": "Cosine", "datatype": "float16"}}
        assert todo.held_back == ()

    async def test_a_sparse_vector_is_added_without_asking(self, qdrant):
        spec = {"vectors": [TEXT], "sparseVectors": [{"name": "terms", "modifier": "idf"}]}

        todo = await planned(qdrant, {}, spec, self.VERSION)

        assert todo.doable[0].body == {"sparse": {"modifier": "idf"}}

    async def test_none_is_deleted_in_place_because_a_crash_would_cost_points(self, qdrant):
        todo = await planned(qdrant, {"vectors": [TEXT, {"name": "image", "size": 2}]}, {}, "1.18.3")

        assert actions(todo.held_back) == [(Action.RECREATE_COLLECTION, "zoo")]
        assert "in place before Qdrant 1.19: " in todo.describe()[0]

    async def test_a_vector_is_added_beside_the_unnamed_one(self, qdrant):
        both = {"vector": {"size": 4}, "vectors": [{"name": "image", "size": 2}]}

        todo = await planned(qdrant, {"vector": {"size": 4}}, both, self.VERSION)

        assert actions(todo.doable) == [(Action.CREATE_VECTOR, "image")]
        assert todo.held_back == ()


class TestQdrant119:
    """Since 1.19 they go in place, too."""

    VERSION = "1.19.0"

    async def test_a_vector_is_removed_only_when_approved(self, qdrant):
        todo = await planned(qdrant, {"vectors": [TEXT, {"name": "image", "size": 2}]}, {}, self.VERSION)

        assert todo.doable == ()
        assert todo.describe(points=7) == ['delete vector "image": 2 Cosine (the vector of 7 points would be lost)']

    async def test_another_size_replaces_the_vector_alone_when_approved(self, qdrant):
        after = {"vectors": [{"name": "text", "size": 8}]}

        todo = await planned(qdrant, {"vectors": [TEXT, {"name": "image", "size": 2}]}, after, self.VERSION)

        assert todo.doable == ()
        assert todo.describe(points=7) == [
            'delete vector "image": 2 Cosine (the vector of 7 points would be lost)',
            (
                'vector "text": size 4 -> 8 (cannot be changed in place: the vector must be deleted and added again; '
                "the vector of 7 points would be lost)"
            ),
        ]

    async def test_what_is_no_vector_still_needs_another_collection_and_takes_the_vectors_along(self, qdrant):
        after = {"vectors": [{"name": "text", "size": 8}], "params": {"shard_number": 3}}

        todo = await planned(qdrant, {"vectors": [TEXT, {"name": "image", "size": 2}]}, after, self.VERSION)

        assert actions(todo.held_back) == [(Action.RECREATE_COLLECTION, "zoo")]
        assert todo.held_back[0].lines == (
            "params.shard_number: 1 -> 3",
            'delete vector "image": 2 Cosine',
            'vector "text": size 4 -> 8',
        )

    async def test_dense_to_sparse_replaces_the_vector_too(self, qdrant):
        todo = await planned(qdrant, {}, {"sparseVectors": [{"name": "text"}]}, self.VERSION)

        assert actions(todo.held_back) == [(Action.REPLACE_VECTOR, "text")]
        assert todo.held_back[0].lines == ('vector "text": 4 Cosine -> sparse',)

    async def test_the_unnamed_vector_is_not_one_of_them(self, qdrant):
        todo = await planned(qdrant, {"vector": {"size": 4}}, {}, self.VERSION)

        assert actions(todo.held_back) == [(Action.RECREATE_COLLECTION, "zoo")]


async def test_the_hash_is_that_of_the_plan_and_of_the_incarnation(qdrant):
    todo = await planned(qdrant, {}, {"vectors": [{"name": "text", "size": 8}]})
    other = replace(todo.observed, mark=replace(todo.observed.mark, incarnation="another"))

    assert len(todo.hash) == 12
    assert todo.hash == (await look(qdrant, todo.desired)).hash
    assert todo.hash != replace(todo, observed=other).hash
    assert todo.hash != (await look(qdrant, declare(vectors=[{"name": "text", "size": 9}]))).hash


async def test_the_hash_stays_while_points_come_and_go(qdrant):
    todo = await planned(qdrant, {}, {"vectors": [{"name": "text", "size": 8}]})

    qdrant.collections["zoo"]["points_count"] = 99

    assert (await look(qdrant, todo.desired)).hash == todo.hash


async def test_nothing_held_back_has_no_hash(qdrant):
    assert (await planned(qdrant, {}, {})).hash == ""


async def test_a_new_declaration_is_no_drift_and_a_change_by_others_is(qdrant):
    wanted = declare(hnswConfig={"m": 8})
    await bring(qdrant, declare())

    assert not (await look(qdrant, wanted)).is_drift
    await bring(qdrant, wanted)
    assert not (await look(qdrant, wanted)).is_drift
    await qdrant.update_collection("zoo", {"hnsw_config": {"m": 32}})
    assert (await look(qdrant, wanted)).is_drift


async def test_an_alias_that_another_collection_lets_go_is_no_drift_and_one_that_was_ours_is(qdrant):
    wanted = declare(aliases=["docs"])
    await bring(qdrant, declare("other", aliases=["docs"]))
    assert (await bring(qdrant, wanted)).plan.taken

    seen = await observe(qdrant, "zoo", wanted.aliases)
    assert seen.mark is not None
    passing = AliasHandover(takeable={"docs": "other"})
    moved = make_plan(wanted, seen, version=VERSION, last_applied=seen.mark.last_applied, handover=passing)
    assert (actions(moved.doable), moved.is_drift) == ([(Action.MOVE_ALIAS, "docs")], False)

    await qdrant.delete_alias("docs")
    made = await look(qdrant, wanted)
    assert (actions(made.doable), made.is_drift) == ([(Action.CREATE_ALIAS, "docs")], False)

    await bring(qdrant, wanted)
    await qdrant.delete_alias("docs")
    assert (await look(qdrant, wanted)).is_drift


async def test_recreating_keeps_what_others_had_set(qdrant):
    """Mistake 9 of peers.md, fault 8 of cocoindex.md: only size and distance survived."""
    await bring(qdrant, declare(payloadIndexes=[{"field": "ours", "schema": {"type": "bool"}}], aliases=["docs"]))
    await qdrant.update_collection("zoo", {"hnsw_config": {"m": 32}, "metadata": {"team": "a"}})
    await qdrant.update_collection("zoo", {"vectors": {"text": {"on_disk": True}}})
    await qdrant.create_index("zoo", "theirs", {"type": "keyword"})
    await qdrant.create_alias("readers", "zoo")

    wanted = declare(
        vectors=[{"name": "text", "size": 8}],
        payloadIndexes=[{"field": "ours", "schema": {"type": "bool"}}],
        aliases=["docs"],
    )
    done = await bring(qdrant, wanted, approved=True)

    assert done.observed.vectors["text"] == {"size": 8, "distance": "Cosine", "datatype": "float32", "on_disk": True}
    assert done.observed.config["hnsw_config"]["m"] == 32
    assert done.observed.indexes == {"ours": {"type": "bool"}, "theirs": {"type": "keyword"}}
    assert done.observed.aliases == {"docs", "readers"}
    assert done.observed.metadata["team"] == "a"


async def test_what_would_be_destroyed_decides_about_adoption(qdrant):
    await qdrant.create_collection("zoo", {"vectors": {"text": {"size": 4, "distance": "Dot"}}})
    seen = await observe(qdrant, "zoo")

    assert mismatches(declare(), seen, version=VERSION) == ['vector "text": distance Dot -> Cosine']
    fitting = declare(vectors=[{**TEXT, "distance": "Dot"}], hnswConfig={"m": 8}, aliases=["docs"])
    assert mismatches(fitting, seen, version=VERSION) == []
    assert differences(fitting, seen, version=VERSION) == ["hnsw_config.m: 16 -> 8", "create alias docs"]


async def test_an_unknown_option_where_qdrant_fills_in_all_known_ones_is_not_a_reason_to_recreate(qdrant):
    todo = await planned(qdrant, {}, {"walConfig": {"wal_typo": 1}})

    assert todo.doable == todo.held_back == ()
    assert todo.unsupported == (("wal_config.wal_typo", 1),)


def test_a_build_of_someones_own_is_trusted_with_the_oldest_version():
    assert parse_version("1.18.0-dev") == (1, 18, 0)
    assert parse_version("nightly") <= parse_version("1.16.0")


@pytest.mark.parametrize(
    "junk",
    [
        {"spec": 7},
        {"indexes": "a"},
        {"aliases": [1]},
        {"resets": [["a"], "b"]},
        {"approved": "x"},
        {"settled": {"a": 1}},
    ],
    ids=str,
)
def test_a_damaged_memory_of_what_was_applied_is_told_and_not_acted_upon(junk):
    with pytest.raises(Terminal) as raised:
        LastApplied.from_json(junk)

    assert raised.value.reason is Reason.UNKNOWN_MARK

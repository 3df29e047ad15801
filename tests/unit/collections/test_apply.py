"""Carrying out a plan: in which order, cut off anywhere, with others at work meanwhile."""

from typing import Any

import pytest

from unit.collections.echo import EchoingQdrant, Killed
from unit.collections.specs import TEXT, VERSION, bring, declare, look
from vectorops.api.reasons import Reason
from vectorops.collections.apply import apply_plan
from vectorops.collections.steps import Action
from vectorops.errors import OutcomeUnknown, Transient
from vectorops.qdrant.marks import MARK_KEY
from vectorops.qdrant.observe import observe

EVERYTHING: dict[str, Any] = {
    "vectors": [TEXT, {"name": "image", "size": 2, "quantizationConfig": {"binary": {}}}],
    "sparseVectors": [{"name": "terms", "modifier": "idf"}],
    "params": {"read_fan_out_factor": 1, "unknown_option": 1},
    "hnswConfig": {"m": 8},
    "payloadIndexes": [{"field": f, "schema": {"type": "keyword"}} for f in ("a", "b")],
    "aliases": ["docs", "live"],
}
SOMETHING_ELSE: dict[str, Any] = {
    "vectors": [{**TEXT, "hnswConfig": {"m": 4}}, {"name": "image", "size": 2}],
    "sparseVectors": [{"name": "terms"}],
    "payloadIndexes": [{"field": f, "schema": {"type": "integer"}} for f in ("b", "c")],
    "aliases": ["live", "new"],
}
ANOTHER_SIZE: dict[str, Any] = {**EVERYTHING, "vectors": [{"name": "text", "size": 9}, EVERYTHING["vectors"][1]]}

SHARDED: dict[str, Any] = {
    **EVERYTHING,
    "params": {"sharding_method": "custom"},
    "shardKeys": [{"name": "acme"}, {"name": "globex"}],
    "metadata": {"team": "search", "cost": 1},
}
SHARDED_OTHERWISE: dict[str, Any] = {
    **SHARDED,
    "shardKeys": [{"name": "acme", "shardsNumber": 2}, {"name": "initech"}],
    "metadata": {"team": "find", "sla": {"hours": 4}},
}


@pytest.fixture
def qdrant() -> EchoingQdrant:
    return EchoingQdrant()


async def settled(qdrant, wanted):
    """The collection as it is once nothing is left to do, without what differs from run to run."""
    done = await bring(qdrant, wanted)
    assert done.plan.doable == ()
    writes = len(qdrant.writes)
    done = await bring(qdrant, wanted)
    assert len(qdrant.writes) == writes, "it does not come to rest"
    world = {key: value for key, value in qdrant.collections[wanted.name].items() if key != "config"}
    config = qdrant.collections[wanted.name]["config"]
    # An approval that was cut off is counted, too.
    remembered = {key: value for key, value in done.mark.last_applied.items() if key != "approved"}
    config = {**config, "metadata": {**config["metadata"], MARK_KEY: remembered}}
    return {**world, "config": config, "aliases": dict(sorted(qdrant.alias_map.items()))}


async def test_a_collection_is_born_with_its_mark(qdrant):
    await bring(qdrant, declare())

    assert MARK_KEY in qdrant.writes[0][1][1]["metadata"]


async def test_a_plain_collection_takes_one_write(qdrant):
    await bring(qdrant, declare(hnswConfig={"m": 8}))

    assert [call for call, _ in qdrant.writes] == ["create_collection"]


async def test_what_creating_ignores_is_patched_afterwards(qdrant):
    done = await bring(qdrant, declare(params={"read_fan_out_factor": 2}))

    assert done.observed.config["params"]["read_fan_out_factor"] == 2


async def test_a_changed_collection_takes_one_patch_with_the_mark_in_it(qdrant):
    await bring(qdrant, declare())
    before = len(qdrant.writes)

    await bring(qdrant, declare(hnswConfig={"m": 8}))

    (call, (_, body)), *others = qdrant.writes[before:]
    assert (call, others) == ("update_collection", [])
    assert body.keys() == {"hnsw_config", "metadata"}


async def test_an_unknown_option_is_tried_once_for_each_declaration_and_server(qdrant):
    """`UnsupportedByServer` is a state, no retry loop."""
    wanted = declare(
        hnswConfig={"unknown_option": 1},
        payloadIndexes=[{"field": "a", "schema": {"type": "bool", "unknown_option": 2}}],
    )
    done = await bring(qdrant, wanted)
    writes = len(qdrant.writes)

    for _ in range(3):
        again = await bring(qdrant, wanted)

    assert done.plan.unsupported == again.plan.unsupported
    assert dict(again.plan.unsupported) == {"hnsw_config.unknown_option": 1, "payload_indexes.a.unknown_option": 2}
    assert len(qdrant.writes) == writes
    assert not again.plan.is_drift

    assert [step.action for step in (await look(qdrant, wanted, "1.17.0")).doable] == [
        Action.UPDATE_COLLECTION,
        Action.PUT_INDEX,
    ]
    await bring(qdrant, wanted, "1.17.0")
    assert (await look(qdrant, wanted, "1.17.0")).doable == ()


async def test_a_change_by_others_between_writing_and_reading_is_not_taken_for_the_servers(qdrant):
    await bring(qdrant, declare())
    patch = qdrant.update_collection

    async def interfered(name, body):
        await patch(name, body)
        await patch(name, {"hnsw_config": {"m": 64}})

    qdrant.update_collection = interfered
    await bring(qdrant, declare(hnswConfig={"m": 8}))
    qdrant.update_collection = patch

    assert (await look(qdrant, declare(hnswConfig={"m": 8}))).is_drift


async def test_adopting_writes_the_mark_and_leaves_the_rest(qdrant):
    await qdrant.create_collection(
        "zoo", {"vectors": {"text": {"size": 4, "distance": "Cosine"}}, "hnsw_config": {"m": 32}}
    )
    await qdrant.create_index("zoo", "theirs", {"type": "bool"})

    done = await bring(qdrant, declare(), incarnation="adopted")

    assert done.mark == (await observe(qdrant, "zoo")).mark
    assert done.mark.incarnation == "adopted"
    assert done.observed.config["hnsw_config"]["m"] == 32
    assert done.observed.indexes == {"theirs": {"type": "bool"}}


async def test_a_changed_policy_reaches_the_mark(qdrant):
    await bring(qdrant, declare())

    await bring(qdrant, declare(), deletion_policy="Delete")

    mark = (await observe(qdrant, "zoo")).mark
    assert mark is not None
    assert mark.deletion_policy == "Delete"


async def test_held_back_steps_do_not_hold_up_the_others(qdrant):
    await bring(qdrant, declare())

    done = await bring(qdrant, declare(vectors=[{"name": "text", "size": 8}], hnswConfig={"m": 8}, aliases=["docs"]))

    assert done.observed.vectors["text"]["size"] == 4
    assert done.observed.config["hnsw_config"]["m"] == 8
    assert done.observed.aliases == {"docs"}
    assert done.plan.held_back


async def test_recreating_makes_another_incarnation(qdrant):
    first = await bring(qdrant, declare())

    second = await bring(qdrant, declare(vectors=[{"name": "text", "size": 8}]), approved=True)

    assert second.observed.vectors["text"]["size"] == 8
    assert second.mark.incarnation != first.mark.incarnation
    assert second.mark == (await observe(qdrant, "zoo")).mark


async def test_a_collection_that_changed_hands_is_not_deleted(qdrant):
    ours = (await bring(qdrant, declare())).mark
    todo = await look(qdrant, declare(vectors=[{"name": "text", "size": 8}]))
    await bring(qdrant, declare(), installation="another")

    with pytest.raises(Transient, match="another owner"):
        await apply_plan(qdrant, todo, ours, approved=True)

    assert (await observe(qdrant, "zoo")).vectors["text"]["size"] == 4


async def test_a_collection_that_appears_while_we_create_it_is_left_to_its_maker(qdrant):
    todo = await look(qdrant, declare())
    await qdrant.create_collection("zoo", {"vectors": {"theirs": {"size": 1, "distance": "Dot"}}})
    before = qdrant.collections["zoo"].copy()

    with pytest.raises(Transient, match="created or deleted"):
        await apply_plan(qdrant, todo, await a_mark())

    assert qdrant.collections["zoo"] == before


async def a_mark():
    return (await bring(EchoingQdrant(), declare())).mark


async def test_a_lost_answer_to_create_is_looked_up(qdrant):
    todo = await look(qdrant, declare())
    qdrant.answers_lost = True

    done = await apply_plan(qdrant, todo, await a_mark())

    assert done.plan.doable == ()


async def test_a_lost_create_is_reported_as_such(qdrant):
    async def lost(name, body):
        raise OutcomeUnknown(Reason.UNREACHABLE, "no answer")

    qdrant.create_collection = lost

    with pytest.raises(OutcomeUnknown):
        await bring(qdrant, declare())


async def test_an_alias_that_another_takes_meanwhile_is_not_stolen(qdrant):
    ours = (await bring(qdrant, declare())).mark
    await bring(qdrant, declare("other"))
    todo = await look(qdrant, declare(aliases=["docs"]))
    await qdrant.create_alias("docs", "other")

    done = await apply_plan(qdrant, todo, ours)

    assert qdrant.alias_map == {"docs": "other"}
    assert done.plan.taken == (("docs", "other"),)
    assert "docs" not in done.mark.last_applied.get("aliases", ())


async def test_an_alias_that_moved_away_is_not_deleted_with_ours(qdrant):
    ours = (await bring(qdrant, declare(aliases=["docs"]))).mark
    await bring(qdrant, declare("other"))
    todo = await look(qdrant, declare())
    await qdrant.create_alias("docs", "other")

    await apply_plan(qdrant, todo, ours)

    assert qdrant.alias_map == {"docs": "other"}


async def test_a_deleted_index_that_qdrant_still_shows_stays_ours_until_it_is_gone(qdrant):
    """Qdrant 1.16.3 shows it while it optimizes; forgotten, it would stay for ever if the deletion was lost."""
    await bring(qdrant, declare(payloadIndexes=[{"field": "a", "schema": {"type": "bool"}}]))
    qdrant.optimizing = True
    unfinished = await bring(qdrant, declare())
    qdrant.optimizing = False
    todo = await look(qdrant, declare())

    done = await bring(qdrant, declare())

    assert unfinished.plan.doable
    assert not todo.is_drift
    assert done.plan.doable == ()
    assert done.observed.indexes == {}
    assert "indexes" not in done.mark.last_applied


class TestQdrant119:
    async def test_a_vector_is_added_with_all_its_options(self, qdrant):
        await bring(qdrant, declare(), "1.19.0")
        image = {"name": "image", "size": 2, "params": {"on_disk": True}, "quantizationConfig": {"binary": {}}}

        done = await bring(qdrant, declare(vectors=[TEXT, image]), "1.19.0")

        assert done.plan.doable == ()
        assert done.observed.vectors["image"] == {
            "size": 2,
            "distance": "Cosine",
            "datatype": "float32",
            "on_disk": True,
            "quantization_config": {"binary": {}},
        }

    async def test_a_new_vector_leaves_the_points_alone(self, qdrant):
        first = await bring(qdrant, declare(), "1.19.0")

        second = await bring(qdrant, declare(vectors=[TEXT, {"name": "image", "size": 2}]), "1.19.0")

        assert second.mark.incarnation == first.mark.incarnation

    async def test_a_vector_that_comes_again_leaves_the_points_with_their_sets(self, qdrant):
        """With another incarnation their ledgers would no longer count, and their own points be somebody else's."""
        both = declare(vectors=[TEXT, {"name": "image", "size": 2}])
        first = await bring(qdrant, both, "1.19.0")
        await bring(qdrant, declare(), "1.19.0", approved=True)

        second = await bring(qdrant, both, "1.19.0")

        assert second.observed.vectors.keys() == {"text", "image"}
        assert second.mark.incarnation == first.mark.incarnation

    async def test_the_approval_of_a_removal_does_not_fit_once_more_when_the_vector_comes_again(self, qdrant):
        """An annotation stays in the files, and without a cluster no status tells that it was heeded."""
        both = declare(vectors=[TEXT, {"name": "image", "size": 2}])
        await bring(qdrant, both, "1.19.0")
        removal = (await look(qdrant, declare(), "1.19.0")).hash
        await bring(qdrant, declare(), "1.19.0", approved=True)

        await bring(qdrant, both, "1.19.0")

        assert removal
        assert (await look(qdrant, declare(), "1.19.0")).hash not in {"", removal}

    async def test_a_vector_is_removed_when_approved(self, qdrant):
        await bring(qdrant, declare(vectors=[TEXT, {"name": "image", "size": 2}]), "1.19.0")

        done = await bring(qdrant, declare(), "1.19.0", approved=True)

        assert done.observed.vectors.keys() == {"text"}
        assert done.plan.held_back == ()


STORIES: dict[str, list[tuple[dict[str, Any], bool]]] = {
    "create": [(EVERYTHING, False)],
    "change": [(EVERYTHING, False), (SOMETHING_ELSE, False)],
    "recreate": [(EVERYTHING, False), (ANOTHER_SIZE, True)],
    "create with shard keys": [(SHARDED, False)],
    "change shard keys": [(SHARDED, False), (SHARDED_OTHERWISE, True)],
}


async def tell(qdrant, story):
    for spec, approved in story:
        await bring(qdrant, declare(**spec), approved=approved)


async def writes_of_the_last_part(story):
    """Their numbers, found by recording."""
    qdrant = EchoingQdrant()
    await tell(qdrant, story[:-1])
    first = len(qdrant.writes)
    await tell(qdrant, story[-1:])
    assert len(qdrant.writes) > first
    return range(first, len(qdrant.writes))


async def killed(story, write, *, after):
    """Qdrant as the process left it."""
    qdrant = EchoingQdrant()
    qdrant.kill_at, qdrant.after = write, after
    with pytest.raises(Killed):
        await tell(qdrant, story)
    qdrant.kill_at = None
    return qdrant


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_killed_at_any_write_it_ends_as_if_it_had_not_been(story, after):
    wanted = declare(**story[-1][0])
    quiet = EchoingQdrant()
    await tell(quiet, story)
    undisturbed = await settled(quiet, wanted)

    for write in await writes_of_the_last_part(story):
        qdrant = await killed(story, write, after=after)
        await tell(qdrant, story[-1:])

        assert await settled(qdrant, wanted) == undisturbed, qdrant.writes[write]


async def test_killed_at_any_write_and_then_told_otherwise_it_leaves_nothing_of_its_own_behind():
    nothing = {**EVERYTHING, "payloadIndexes": [], "aliases": []}

    for write in await writes_of_the_last_part(STORIES["change"]):
        qdrant = await killed(STORIES["change"], write, after=True)
        done = await bring(qdrant, declare(**nothing))

        assert done.observed.indexes == {}, qdrant.writes[write]
        assert done.observed.aliases == frozenset(), qdrant.writes[write]


@pytest.mark.parametrize("name", ["create", "change"])
async def test_killed_at_any_write_the_rest_is_not_mistaken_for_drift(name):
    """With driftPolicy Report it would never be done."""
    story = STORIES[name]
    for write in await writes_of_the_last_part(story):
        qdrant = await killed(story, write, after=False)
        todo = await look(qdrant, declare(**story[-1][0]), VERSION)

        assert not todo.is_drift, qdrant.writes[write]

"""User metadata of a collection: merged by top-level key, beside what others and the operator keep there."""

import hashlib
import json

import pytest

from unit.collections.echo import EchoingQdrant
from unit.collections.specs import bring, declare, look
from vectorops.collections.plan import differences
from vectorops.qdrant.marks import MARK_KEY
from vectorops.qdrant.observe import observe


@pytest.fixture
def qdrant() -> EchoingQdrant:
    return EchoingQdrant()


def metadata(qdrant):
    return {key: value for key, value in qdrant.collections["zoo"]["config"]["metadata"].items() if key != MARK_KEY}


def put(qdrant, **values):
    qdrant.collections["zoo"]["config"]["metadata"].update(values)


async def test_a_collection_is_born_with_its_metadata(qdrant):
    """In a create, Qdrant would keep the null as a value."""
    done = await bring(qdrant, declare(metadata={"team": "search", "gone": None, "deep": {"a": None}}))

    assert metadata(qdrant) == {"team": "search", "deep": {"a": None}}
    assert done.plan.doable == ()
    assert len(qdrant.writes) == 1


async def test_a_changed_value_is_patched_and_others_keys_stay(qdrant):
    await bring(qdrant, declare(metadata={"team": "search", "cost": 1}))
    put(qdrant, theirs="x")

    todo = await look(qdrant, declare(metadata={"team": "find", "cost": 1}))
    await bring(qdrant, declare(metadata={"team": "find", "cost": 1}))

    assert [step.lines for step in todo.doable] == [("metadata.team: search -> find",)]
    assert not todo.is_drift
    assert metadata(qdrant) == {"team": "find", "cost": 1, "theirs": "x"}


async def test_a_key_that_is_no_longer_declared_goes_if_it_is_ours(qdrant):
    await bring(qdrant, declare(metadata={"team": "search"}))
    put(qdrant, theirs="x")

    done = await bring(qdrant, declare())

    assert metadata(qdrant) == {"theirs": "x"}
    assert "metadata" not in done.mark.last_applied


async def test_null_removes_a_key_of_others(qdrant):
    await bring(qdrant, declare())
    put(qdrant, theirs="x", empty=None)

    await bring(qdrant, declare(metadata={"theirs": None, "empty": None}))
    writes = len(qdrant.writes)
    again = await bring(qdrant, declare(metadata={"theirs": None, "empty": None}))

    assert metadata(qdrant) == {}
    assert again.plan.doable == ()
    assert len(qdrant.writes) == writes


async def test_a_change_by_others_is_drift(qdrant):
    await bring(qdrant, declare(metadata={"team": "search"}))
    put(qdrant, team="them")

    todo = await look(qdrant, declare(metadata={"team": "search"}))

    assert todo.is_drift
    assert todo.describe() == ["metadata.team: them -> search"]


@pytest.mark.parametrize(
    ("declared", "stored"),
    [(1, 1.0), (0.1, 0.10000000000000002), ({"a": [1.5, None]}, {"a": [1.5, None]}), (2**53, 2.0**53)],
    ids=str,
)
async def test_what_only_json_changes_is_no_difference(qdrant, declared, stored):
    await bring(qdrant, declare(metadata={"it": declared}))
    put(qdrant, it=stored)

    assert (await look(qdrant, declare(metadata={"it": declared}))).doable == ()


@pytest.mark.parametrize(
    ("declared", "stored"),
    [(1732700000.5, 1732700010.5), (1, True), ({"a": None}, {}), ([1], [1, 2]), ("1", 1)],
    ids=str,
)
async def test_any_other_difference_is_one(qdrant, declared, stored):
    await bring(qdrant, declare(metadata={"it": declared}))
    put(qdrant, it=stored)

    assert (await look(qdrant, declare(metadata={"it": declared}))).doable != ()


async def test_a_long_value_is_shortened_for_people(qdrant):
    await bring(qdrant, declare(metadata={"text": "short"}))

    todo = await look(qdrant, declare(metadata={"text": "long " * 1000}))

    assert all(len(line) < 200 for line in todo.describe())


async def test_recreating_keeps_the_metadata_of_others(qdrant):
    await bring(qdrant, declare(metadata={"team": "search", "old": 1}))
    put(qdrant, theirs="x")

    done = await bring(qdrant, declare(metadata={"team": "find"}, vectors=[{"name": "text", "size": 8}]), approved=True)

    assert metadata(qdrant) == {"team": "find", "theirs": "x"}
    assert done.plan.doable == done.plan.held_back == ()


async def test_metadata_of_a_collection_of_the_users_is_compared(qdrant):
    await bring(qdrant, declare(metadata={"team": "search"}))

    found = await observe(qdrant, "zoo")

    assert differences(declare(metadata={"team": "find"}), found, version="1.16.3") == ["metadata.team: search -> find"]
    assert differences(declare(), found, version="1.16.3") == []


async def test_a_declaration_without_the_new_fields_keeps_its_hash_and_its_bytes_in_the_mark(qdrant):
    """Else an upgrade would write the mark of every collection."""
    wanted = declare(aliases=["docs"])
    before = json.dumps(["zoo", wanted.tree(), {}, ["docs"]], sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    done = await bring(qdrant, wanted)

    assert wanted.hash == hashlib.sha256(before.encode()).hexdigest()[:16]
    assert done.mark.last_applied == {"spec": wanted.hash, "aliases": ["docs"]}

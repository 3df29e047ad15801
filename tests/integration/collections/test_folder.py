"""The same declarations in a folder: plans made there are those made for a server."""

from pathlib import Path

import pytest

from integration.collections.cases import EVERYTHING, IMMUTABLE, IN_PLACE
from unit.collections.specs import TEXT, bring, declare
from vectorops.collections.steps import Action
from vectorops.qdrant.local import LocalQdrant


@pytest.fixture
async def folder(tmp_path: Path):
    database = LocalQdrant(tmp_path / "qdrant")
    await database.check()
    yield database
    await database.close()


async def test_every_option_at_once_is_set_and_then_nothing_is_left_to_do(folder):
    wanted = declare("zoo", **EVERYTHING, aliases=["docs"])

    made = await bring(folder, wanted)
    again = await bring(folder, wanted)

    assert made.plan.describe() == again.plan.describe() == []
    assert made.plan.unsupported == ()
    assert made.observed == again.observed


@pytest.mark.parametrize("change", IN_PLACE)
async def test_what_can_be_changed_in_place_is(folder, change):
    before, after = IN_PLACE[change]
    was = (await bring(folder, declare("zoo", **before))).observed

    made = await bring(folder, declare("zoo", **after))

    assert made.plan.describe() == []
    assert (made.observed.tree(), made.observed.indexes) != (was.tree(), was.indexes)


@pytest.mark.parametrize("change", IMMUTABLE)
async def test_what_cannot_is_held_back_until_approved(folder, change):
    was = (await bring(folder, declare("zoo"))).observed

    held = await bring(folder, declare("zoo", **IMMUTABLE[change]))
    assert [step.action for step in held.plan.held_back] == [Action.RECREATE_COLLECTION]
    assert held.observed.tree() == was.tree()

    made = await bring(folder, declare("zoo", **IMMUTABLE[change]), approved=True)
    assert made.plan.describe() == []


async def test_a_vector_more_is_no_error_where_the_folder_has_the_level_of_a_new_server(folder):
    await bring(folder, declare("zoo"), folder.info.version)

    both = await bring(folder, declare("zoo", vectors=[TEXT, {"name": "image", "size": 2}]), folder.info.version)

    assert both.plan.held_back or both.observed.vectors.keys() == {"text", "image"}

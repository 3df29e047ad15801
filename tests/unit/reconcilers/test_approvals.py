"""What approves a plan, and what no longer does."""

from collections.abc import Mapping
from typing import Any, cast

from vectorops.api.meta import APPROVE_PLAN, TAKE_OVER_FROM, JsonObject, ObjectMeta, Resource
from vectorops.reconcilers.approvals import NOTHING, Approval, approval, take_over
from vectorops.reconcilers.base import Context, Grants

PLAN = "0123456789ab"


class Counted:
    """A database with so many points."""

    def __init__(self, points: int) -> None:
        self.points = points

    async def count(self, _name: str) -> int:
        return self.points


def context(grants: Grants | None = None) -> Context:
    nobody = cast("Any", None)
    return Context(nobody, nobody, nobody, "test", "writer", grants)


def resource(status: JsonObject | None = None, annotations: Mapping[str, str] | None = None) -> Resource:
    meta = ObjectMeta(name="zoo", namespace="park", annotations=dict(annotations or {}))
    return Resource("QdrantCollection", meta, {}, status or {})


def status(found: Approval) -> JsonObject:
    """What the operator writes down of a plan that is held back."""
    return {"plan": {"hash": found.hash, "nonce": found.nonce}}


async def in_a_cluster(seen: Resource, plan: str = PLAN, *, used: bool = False) -> Approval:
    return await approval(context(), seen, plan, cast("Any", Counted(0)), "zoo", used=used)


async def at_the_command_line(points: int, *granted: str, plan: str = PLAN) -> Approval:
    grants = Grants(plans=frozenset(granted))
    return await approval(context(grants), resource(), plan, cast("Any", Counted(points)), "zoo")


async def test_where_nothing_is_held_back_there_is_nothing_to_approve():
    assert await in_a_cluster(resource(), "") == NOTHING
    assert await at_the_command_line(3, plan="") == NOTHING


async def test_the_hash_stays_as_long_as_the_same_plan_is_held_back():
    first = await in_a_cluster(resource())

    again = await in_a_cluster(resource(status(first)))

    assert again == first
    assert not first.given


async def test_the_annotation_with_that_hash_approves():
    first = await in_a_cluster(resource())

    assert (await in_a_cluster(resource(status(first), {APPROVE_PLAN: first.hash}))).given
    assert first.hash in first.how
    assert APPROVE_PLAN in first.how


async def test_another_plan_has_another_hash():
    first = await in_a_cluster(resource())

    other = await in_a_cluster(resource(status(first), {APPROVE_PLAN: first.hash}), "ba9876543210")

    assert other.hash != first.hash
    assert not other.given


async def test_once_carried_out_an_approval_fits_nothing_that_follows():
    first = await in_a_cluster(resource())
    approved = {APPROVE_PLAN: first.hash}

    after = await in_a_cluster(resource(status(first), approved), used=True)
    later = await in_a_cluster(resource({"plan": None}, approved))

    for follows in (after, later):
        assert follows.hash != first.hash
        assert not follows.given


async def test_an_annotation_that_outlives_its_status_approves_nothing():
    """A cluster was built anew from a backup, and the snapshot of the collection restored."""
    first = await in_a_cluster(resource())

    rebuilt = await in_a_cluster(resource({}, {APPROVE_PLAN: first.hash}))

    assert rebuilt.hash not in {"", first.hash}
    assert not rebuilt.given


async def test_a_plan_from_before_there_were_nonces_gets_one():
    old = resource({"plan": {"hash": PLAN}}, {APPROVE_PLAN: PLAN})

    assert (await in_a_cluster(old)).nonce
    assert not (await in_a_cluster(old)).given


async def test_the_command_line_takes_the_hash_that_it_told():
    shown = await at_the_command_line(3)

    assert not shown.given
    assert (await at_the_command_line(3, "another", shown.hash)).given
    assert "--approve" in shown.how


async def test_a_collection_that_was_filled_or_restored_meanwhile_needs_another_grant():
    shown = await at_the_command_line(3)

    assert not (await at_the_command_line(4, shown.hash)).given


async def test_the_command_line_knows_no_annotation():
    annotated = resource(annotations={APPROVE_PLAN: (await at_the_command_line(3)).hash, TAKE_OVER_FROM: "first"})
    database = cast("Any", Counted(3))

    assert not (await approval(context(Grants()), annotated, PLAN, database, "zoo")).given
    assert take_over(context(Grants()), annotated) == ""
    assert take_over(context(Grants(take_over_from="first")), annotated) == "first"


def test_a_collection_is_taken_over_for_an_annotation_that_came_later_and_once():
    wanted = {TAKE_OVER_FROM: "first"}

    assert take_over(context(), resource({"observedGeneration": 1}, wanted)) == "first"
    assert take_over(context(), resource({}, wanted)) == ""
    assert take_over(context(), resource({"observedGeneration": -1, "conditions": []}, wanted)) == ""
    assert take_over(context(), resource({"observedGeneration": 1, "lastHandledTakeOverFrom": "first"}, wanted)) == ""

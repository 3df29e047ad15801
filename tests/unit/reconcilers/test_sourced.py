"""How far a long pass is shown to be."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from vectorops.api.meta import ObjectMeta, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import GaveWay, Terminal, Transient, VectorOpsError
from vectorops.local.cluster import LocalCluster
from vectorops.points.pass_progress import PassProgress
from vectorops.points.synced import Synced
from vectorops.reconcilers.shown_progress import ShownProgress
from vectorops.reconcilers.status import conditions, failed, merge, suspended, updated

SYNCED = Synced(total=12, written=9, deleted=1, unchanged=1, failed=2)


class Passing:
    """A pass over a set, and what people see of it. progress: of an earlier run, which gave way."""

    def __init__(self, progress: Mapping[str, Any] | None = None) -> None:
        self.told: list[str] = []
        meta = ObjectMeta(name="cats", namespace="team", uid="1", generation=1)
        known: dict[str, Any] = {"points": {"desired": 3}, **({"progress": progress} if progress else {})}
        self.resource = Resource("PointSet", meta, {}, known)
        self.cluster = LocalCluster(
            [self.resource], {}, lambda _, reason, words: self.told.append(f"{reason}: {words}")
        )
        self.progress = PassProgress("Writing", 3, 10)
        self.shown = ShownProgress(self.cluster, self.resource, self.progress)

    @property
    def status(self) -> dict[str, Any]:
        resource = self.cluster.now(self.resource.ref)
        assert resource is not None
        return resource.status


async def test_a_long_pass_is_in_the_status_with_an_event_at_its_begin_and_one_at_its_end():
    cats = Passing()
    await cats.shown.write()
    cats.progress.done = 7
    await cats.shown.write()
    assert cats.status == {"points": {"desired": 3}, "progress": {"phase": "Writing", "done": 7, "total": 10}}

    await cats.shown.announce_end(SYNCED)

    assert cats.told == [
        "Progressing: a long pass has begun: writing points",
        "PointsFailed: the long pass has ended: 10 of 12 points as declared, 9 written, 1 deleted",
    ]


async def test_a_short_pass_is_not_told_of():
    cats = Passing()

    await cats.shown.announce_end(SYNCED)

    assert (cats.told, cats.status) == ([], {"points": {"desired": 3}})


async def test_a_pass_that_gave_way_goes_on_without_another_begin():
    """And what its earlier runs wrote was not counted."""
    cats = Passing(progress={"phase": "Writing", "done": 3, "total": 10})
    await cats.shown.write()
    await cats.shown.announce_end(SYNCED)

    assert cats.told == ["PointsFailed: the long pass has ended: 10 of 12 points as declared"]


async def test_a_pass_that_failed_leaves_no_progress_behind():
    cats = Passing()
    await cats.shown.write()

    await cats.shown.remove()

    assert cats.status == {"points": {"desired": 3}}


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (GaveWay("others wait"), True),
        (Transient(Reason.SOURCE_CHANGED, "another one"), False),
        (Terminal(Reason.SOURCE_EMPTY, "no rows"), False),
    ],
)
def test_only_a_pass_that_goes_on_keeps_its_progress(error: VectorOpsError, stays: bool):
    cats = Passing(progress={"phase": "Writing", "done": 3, "total": 10})

    assert ("progress" in failed(cats.resource, error)) == stays


def test_a_set_that_is_suspended_in_a_pass_is_not_ready_and_shows_no_progress():
    cats = Passing(progress={"phase": "Writing", "done": 3, "total": 10})
    was_ready = {"conditions": [one.dump() for one in conditions(True, Reason.SUCCEEDED, "12 points as declared")]}
    resource = replace(cats.resource, status={**cats.status, **was_ready})

    status = merge(resource.status, updated(resource, suspended(resource)), now=datetime.now(UTC), generation=2)

    assert "progress" not in status
    (ready,) = status["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "Suspended")

"""What is told and done about replicas, look by look. Qdrant is played here by an answer; test_qdrant_replicas.py has a
real one.
"""

from typing import Any, cast

import pytest

from vectorops.api.collection import QdrantCollectionSpec, QdrantCollectionStatus, ReplicasStatus
from vectorops.api.meta import JsonObject, ObjectMeta, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Transient
from vectorops.qdrant.database import Database, ServerInfo
from vectorops.qdrant.observe import Observed
from vectorops.reconcilers.base import Outcome
from vectorops.reconcilers.replicas import Replicas
from vectorops.reconcilers.status import conditions

ZOO = Resource("QdrantCollection", ObjectMeta(name="zoo", namespace="park", uid="u", generation=1), {}, {})
FINE = QdrantCollectionStatus(conditions=conditions(True, Reason.SUCCEEDED, "as declared"))
HELD = QdrantCollectionStatus(conditions=conditions(False, Reason.PLAN_HELD_BACK, "size", stalled=True))


class Played:
    """One shard of collection `zoo`: the states of its replicas on nodes 1, 2, ... of three."""

    def __init__(self, *states: str, distributed: bool = True) -> None:
        self.endpoint = "http://qdrant"
        self.info = ServerInfo("1.16.3", distributed)
        self.states = states
        self.pending = 0
        self.answer = True
        self.refusal: Rejected | None = None
        self.done: list[JsonObject] = []
        self.asked: list[str] = []

    async def cluster(self) -> JsonObject:
        self.asked.append("cluster")
        peers = {str(peer): {"uri": f"http://{peer}"} for peer in (1, 2, 3)}
        return {"peers": peers, "raft_info": {"pending_operations": self.pending}}

    async def collection_cluster(self, name: str) -> JsonObject:
        self.asked.append(name)
        shards = [{"shard_id": 0, "peer_id": 1 + at, "state": state} for at, state in enumerate(self.states)]
        return {"peer_id": 9, "remote_shards": shards}

    async def all_replicas_answer(self, name: str) -> bool:
        assert name == "zoo"
        assert set(self.states) == {"Active"}, "a dead one never answers"
        return self.answer

    async def change_replicas(self, _: str, operation: JsonObject) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.done.append(operation)


class Looks:
    """Looks of one process at a collection of factor 2."""

    def __init__(self, **spec: Any) -> None:
        self.now = 0.0
        self.replicas = Replicas(clock=lambda: self.now)
        whole = {"connectionRef": {"name": "main"}, "vector": {"size": 3}, "params": {"replication_factor": 2}, **spec}
        self.spec = QdrantCollectionSpec.model_validate(whole)

    async def at(self, qdrant: Played, status: QdrantCollectionStatus = FINE, **more: bool) -> Outcome:
        observed = Observed("zoo", exists=True, config={"params": {"replication_factor": 2}})
        database = cast("Database", qdrant)
        return await self.replicas.judge(database, ZOO, self.spec, observed, Outcome(status), **more)


def told(outcome: Outcome) -> dict[str, str]:
    """Types of the conditions, with their reason."""
    assert outcome.status is not None
    return {found.type: f"{found.status} {found.reason}" for found in outcome.status.conditions}


async def test_a_qdrant_that_is_not_distributed_is_not_asked() -> None:
    qdrant = Played("Active", distributed=False)

    outcome = await Looks().at(qdrant)

    assert outcome == Outcome(FINE.model_copy(update={"replicas": None}))
    assert qdrant.asked == []


@pytest.mark.parametrize(
    ("states", "also", "again", "passing"),
    [
        (("Active",), "Stalled", 60.0, False),
        (("Active", "Dead"), "Reconciling", 60.0, True),
        (("Active", "Partial"), "Reconciling", 5.0, True),
        (("Active", "Recovery"), "Reconciling", 5.0, True),
    ],
)
async def test_with_report_what_is_missing_is_told_and_one_request_is_enough(
    states: tuple[str, ...], also: str, again: float, passing: bool
) -> None:
    qdrant = Played(*states)

    outcome = await Looks().at(qdrant)

    assert told(outcome) == {"Ready": "False ReplicasMissing", also: "True ReplicasMissing"}
    assert (outcome.requeue_after, outcome.passing) == (again, passing)
    assert (qdrant.asked, qdrant.done) == (["zoo"], [])


async def test_what_was_done_in_the_same_look_is_told_at_once() -> None:
    assert not (await Looks().at(Played("Active", "Dead"), may_pass=False)).passing


@pytest.mark.parametrize("policy", ["Report", "Converge"])
async def test_as_many_as_declared_is_fine_and_asks_for_nothing_more(policy: str) -> None:
    qdrant = Played("Active", "Active")

    outcome = await Looks(replicaPolicy=policy).at(qdrant)

    shown = ReplicasStatus(wanted=2, active=2, dead=0, transferring=0)
    assert outcome.status == FINE.model_copy(update={"replicas": shown})
    assert (outcome.requeue_after, qdrant.asked) == (None, ["zoo"])


@pytest.mark.parametrize("states", [("Active", "Active"), ("Active",)])
async def test_who_wanted_to_look_again_sooner_does(states: tuple[str, ...]) -> None:
    """As where an alias that nobody declares any more is kept for a few seconds."""
    looks, soon = Looks(), Outcome(FINE, requeue_after=5.0)
    observed = Observed("zoo", exists=True, config={"params": {"replication_factor": 2}})

    outcome = await looks.replicas.judge(cast("Database", Played(*states)), ZOO, looks.spec, observed, soon)

    assert outcome.requeue_after == 5.0


async def test_nothing_is_done_while_something_else_is_wrong() -> None:
    qdrant = Played("Active")

    outcome = await Looks(replicaPolicy="Converge").at(qdrant, HELD)

    assert told(outcome) == {"Ready": "False PlanHeldBack", "Stalled": "True PlanHeldBack"}
    assert outcome.status is not None
    assert outcome.status.dump_set()["replicas"]["active"] == 1
    assert qdrant.done == []


async def test_with_converge_one_operation_a_look_is_carried_out() -> None:
    lacking, surplus, looks = Played("Active"), Played("Active", "Active", "Active"), Looks(replicaPolicy="Converge")

    making, dropping = await looks.at(lacking), await looks.at(surplus)

    assert lacking.done == [{"replicate_shard": {"shard_id": 0, "from_peer_id": 1, "to_peer_id": 2}}]
    assert told(making) == {"Ready": "False ReplicasMissing", "Reconciling": "True ReplicasMissing"}
    assert [list(operation) for operation in surplus.done] == [["drop_replica"]]
    assert told(dropping) == {"Ready": "True Succeeded", "Reconciling": "True Succeeded"}
    assert (making.requeue_after, dropping.requeue_after) == (1.0, 1.0)


async def test_a_dead_one_is_moved_after_ten_minutes_in_which_it_was_never_seen_active() -> None:
    looks, dead, fine = Looks(replicaPolicy="Converge"), Played("Active", "Dead"), Played("Active", "Active")
    await looks.at(dead)
    looks.now = 500
    await looks.at(fine)
    looks.now = 590
    await looks.at(dead)
    looks.now = 1180
    waiting = await looks.at(dead)
    assert dead.done == []
    assert told(waiting)["Reconciling"] == "True ReplicasMissing"

    looks.now = 1190
    await looks.at(dead)
    assert dead.done == [{"replicate_shard": {"shard_id": 0, "from_peer_id": 1, "to_peer_id": 3}}]

    moved = Played("Active", "Dead", "Active")
    await looks.at(moved)
    assert moved.done == [{"drop_replica": {"shard_id": 0, "peer_id": 2}}]


async def test_old_news_and_refusals_are_no_reason_to_give_up() -> None:
    behind, refused, looks = Played("Active"), Played("Active"), Looks(replicaPolicy="Converge")
    behind.pending = 3
    refused.refusal = Rejected(Reason.REQUEST_REJECTED, "Bad request: Peer 2 does not exist", status=400)

    for qdrant, words in ((behind, "has not caught up"), (refused, "Peer 2 does not exist")):
        with pytest.raises(Transient, match=words) as failed:
            await looks.at(qdrant)
        assert failed.value.reason is Reason.PROGRESSING
        assert qdrant.done == []


@pytest.mark.parametrize(
    ("states", "ready"), [(("Active",), "False ReplicasMissing"), (("Active", "Active", "Active"), "True Succeeded")]
)
async def test_nothing_is_done_while_one_that_is_called_active_does_not_answer(
    states: tuple[str, ...], ready: str
) -> None:
    """Or the copy would never end, or the one that is left would be the one that is not there."""
    qdrant = Played(*states)
    qdrant.answer = False

    outcome = await Looks(replicaPolicy="Converge").at(qdrant)

    assert qdrant.done == []
    assert told(outcome)["Ready"] == ready
    assert "Stalled" not in told(outcome)
    assert outcome.requeue_after == 60.0


async def test_what_nobody_can_help_is_told_with_what_a_person_can_do() -> None:
    four = {"replication_factor": 4}

    outcome = await Looks(replicaPolicy="Converge", params=four).at(Played("Active", "Active", "Active"))

    assert told(outcome)["Stalled"] == "True ReplicasMissing"
    assert outcome.status is not None
    assert "add nodes, or lower params.replication_factor" in outcome.status.conditions[0].message


async def test_drift_that_is_only_reported_stays_told() -> None:
    told_drift = conditions(True, Reason.SUCCEEDED, "as declared", drifted="m: 9 -> 16")
    drifted = QdrantCollectionStatus(conditions=told_drift)

    outcome = await Looks().at(Played("Active"), drifted)

    assert told(outcome)["Drifted"] == "True Drifted"

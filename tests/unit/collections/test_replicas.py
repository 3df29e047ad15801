"""What is made of Qdrant's answers about replicas. `replicas.json` holds answers of real clusters of three nodes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.collections.replicas import (
    ACTIVE,
    STATES,
    Factors,
    Replica,
    ReplicaHealth,
    ReplicaOperation,
    ReplicaPlacement,
    count_replicas,
    is_behind,
    next_operation,
)

ANSWERS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "replicas.json").read_text())
VERSIONS = sorted(ANSWERS)
A, B, C, D = 1, 2, 3, 4


def answered(version: str, what: str) -> ReplicaPlacement:
    return ReplicaPlacement.from_answer(ANSWERS[version][what])


def shard(number: int, key: str | None = None, **states: str) -> list[Replica]:
    """`shard(0, A="Active", B="Dead")`."""
    return [Replica(number, {"A": A, "B": B, "C": C, "D": D}[peer], state, key) for peer, state in states.items()]


def placed(*shards: list[Replica], transfers: int = 0) -> ReplicaPlacement:
    return ReplicaPlacement(tuple(replica for replicas in shards for replica in replicas), transfers)


def nodes(*peers: int, unreachable: tuple[int, ...] = ()) -> dict[str, Any]:
    """As GET /cluster tells them."""
    return {
        "peers": {str(peer): {"uri": f"http://node-{peer}:6335/"} for peer in peers},
        "message_send_failures": {f"http://node-{peer}:6335/": {"count": 9} for peer in unreachable},
    }


def copied(operation: ReplicaOperation | None) -> tuple[int, int, int]:
    """(shard, from, to)."""
    assert operation is not None
    body = operation.body["replicate_shard"]
    return body["shard_id"], body["from_peer_id"], body["to_peer_id"]


def dropped(operation: ReplicaOperation | None) -> tuple[int, int]:
    """(shard, peer)."""
    assert operation is not None
    body = operation.body["drop_replica"]
    return body["shard_id"], body["peer_id"]


def carried_out(placement: ReplicaPlacement, operation: ReplicaOperation) -> ReplicaPlacement:
    """How it is when Qdrant has done it."""
    if "drop_replica" in operation.body:
        gone = dropped(operation)
        return ReplicaPlacement(tuple(replica for replica in placement.replicas if replica.place != gone))
    number, source, target = copied(operation)
    assert all(replica.place != (number, target) for replica in placement.replicas), "or it leaves service"
    assert any(replica.place == (number, source) and replica.state == ACTIVE for replica in placement.replicas)
    return ReplicaPlacement((*placement.replicas, Replica(number, target, ACTIVE)))


class TestAnswersOfRealClusters:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize(
        ("what", "factor", "wanted", "active", "dead", "transferring"),
        [
            ("placed", 2, 6, 6, 0, 0),
            ("placed, by node 1", 2, 6, 6, 0, 0),
            ("placed", 3, 9, 6, 0, 0),
            ("copying", 3, 9, 6, 0, 1),
            ("copied", 3, 9, 7, 0, 0),
            ("back", 3, 9, 7, 0, 0),
            ("keys", 1, 2, 2, 0, 0),
        ],
    )
    def test_what_status_tells(self, version, what, factor, wanted, active, dead, transferring):
        found = count_replicas(answered(version, what), Factors(factor))

        assert (found.wanted, found.active, found.dead, found.transferring) == (wanted, active, dead, transferring)

    def test_a_node_that_was_killed_is_dead_after_a_write_and_what_was_copied_to_it_may_stay_on_its_way(self):
        old, new = (count_replicas(answered(version, "dead"), Factors(3)) for version in VERSIONS)

        assert (old.active, old.dead, old.transferring) == (4, 3, 0)
        assert (new.active, new.dead, new.transferring) == (4, 2, 1)
        assert old.described() == (
            "4 of 9 replicas are active (shard 0: 1 of 3, shard 1: 2 of 3, shard 2: 1 of 3), 3 are dead"
        )
        assert new.described().endswith("2 are dead, 1 is being made")

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_raised_factor_is_made_true_step_by_step(self, version):
        placement, cluster = answered(version, "placed"), ANSWERS[version]["nodes"]

        for _ in range(3):
            step = next_operation(placement, cluster, Factors(3))
            assert step is not None
            assert "replicate_shard" in step.body
            placement = carried_out(placement, step)

        assert next_operation(placement, cluster, Factors(3)) is None
        assert count_replicas(placement, Factors(3)).short == ()

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("what", ["copying", "dead"])
    def test_what_is_under_way_or_comes_back_is_waited_for(self, version, what):
        assert next_operation(answered(version, what), ANSWERS[version]["node lost"], Factors(2)) is None

    @pytest.mark.parametrize("version", VERSIONS)
    def test_nothing_is_copied_to_the_node_that_the_leader_does_not_reach(self, version):
        """Its replicas are still Active: nobody has written yet."""
        placement, cluster = answered(version, "dropped"), ANSWERS[version]["node lost"]
        (lost,) = {
            int(peer) for peer, told in cluster["peers"].items() if told["uri"] in cluster["message_send_failures"]
        }

        step = next_operation(placement, cluster, Factors(2))

        assert copied(step)[2] != lost


@pytest.mark.parametrize("version", VERSIONS)
def test_a_node_that_knows_that_it_is_behind_is_told_from_one_that_is_not(version):
    for what in ("nodes", "node lost"):
        cluster = ANSWERS[version][what]
        assert not is_behind(cluster)
        assert is_behind({**cluster, "raft_info": {**cluster["raft_info"], "pending_operations": 1}})
        assert is_behind({**cluster, "consensus_thread_status": {"consensus_thread_status": "stopped_with_err"}})


class TestCopies:
    def test_the_shard_with_the_fewest_first_to_the_node_with_the_fewest(self):
        placement = placed(shard(0, A=ACTIVE, B=ACTIVE), shard(1, B=ACTIVE), shard(2, A=ACTIVE, B=ACTIVE, C=ACTIVE))

        assert copied(next_operation(placement, nodes(A, B, C, D), Factors(3))) == (1, B, D)

    def test_the_node_that_answers_is_the_source_since_it_is_certainly_up(self):
        placement = replace(placed(shard(0, A=ACTIVE, B=ACTIVE)), seen_by=B)

        assert copied(next_operation(placement, nodes(A, B, C), Factors(3))) == (0, B, C)

    def test_a_dead_one_is_waited_for_until_it_is_lost(self):
        placement, cluster = placed(shard(0, A=ACTIVE, B="Dead")), nodes(A, B, C)

        assert next_operation(placement, cluster, Factors(2)) is None
        assert copied(next_operation(placement, cluster, Factors(2), lost={(0, B)})) == (0, A, C)

    def test_and_dropped_only_when_the_other_is_there(self):
        placement = placed(shard(0, A=ACTIVE, B="Dead", C="Recovery"))
        assert next_operation(placement, nodes(A, B, C), Factors(2), lost={(0, B)}) is None

        placement = placed(shard(0, A=ACTIVE, B="Dead", C=ACTIVE))
        assert dropped(next_operation(placement, nodes(A, B, C), Factors(2), lost={(0, B)})) == (0, B)
        assert next_operation(placement, nodes(A, B, C), Factors(2)) is None, "it may come back any moment"

    def test_without_a_further_node_the_lost_one_stays_for_its_node(self):
        placement = placed(shard(0, A=ACTIVE, B=ACTIVE, C="Dead"))

        assert next_operation(placement, nodes(A, B, C), Factors(3), lost={(0, C)}) is None

    def test_a_node_with_something_dead_gets_nothing(self):
        placement = placed(shard(0, A=ACTIVE), shard(1, A=ACTIVE, B="Dead"))

        assert copied(next_operation(placement, nodes(A, B, C), Factors(2))) == (0, A, C)
        assert next_operation(placement, nodes(A, B), Factors(2)) is None

    def test_a_shard_without_an_active_replica_cannot_be_copied(self):
        placement = placed(shard(0, A="Dead", B="Dead"))

        assert next_operation(placement, nodes(A, B, C), Factors(2), lost={(0, A), (0, B)}) is None

    def test_a_listener_is_no_source(self):
        placement = placed(shard(0, A="Listener", B=ACTIVE))

        assert copied(next_operation(placement, nodes(A, B, C), Factors(3))) == (0, B, C)
        assert count_replicas(placement, Factors(2)).short == ()


class TestDrops:
    def test_what_is_more_than_declared_goes_from_the_node_with_the_most(self):
        placement = placed(shard(0, A=ACTIVE, B=ACTIVE, C=ACTIVE), shard(1, B=ACTIVE))

        assert dropped(next_operation(placement, nodes(A, B, C), Factors(1))) == (0, B)

    def test_nothing_goes_that_no_declaration_says_is_too_much(self):
        placement = placed(shard(0, A=ACTIVE, B=ACTIVE, C=ACTIVE))

        assert next_operation(placement, nodes(A, B, C), Factors(1, declared=False)) is None

    @pytest.mark.parametrize("factor", [0, 1])
    def test_the_last_active_one_stays(self, factor):
        placement = placed(shard(0, A=ACTIVE))

        assert next_operation(placement, nodes(A, B), Factors(factor)) is None

    @pytest.mark.parametrize("state", ["Dead", "ManualRecovery", "Partial", "something new"])
    def test_nothing_goes_while_another_is_not_active(self, state):
        here, elsewhere = shard(0, A=ACTIVE, B=ACTIVE, C=state), shard(1, A=ACTIVE, B=ACTIVE)

        assert next_operation(placed(here, elsewhere), nodes(A, B, C), Factors(1)) is None

    def test_a_person_at_work_is_left_alone(self):
        placement = placed(shard(0, A=ACTIVE, B="ManualRecovery"))

        assert next_operation(placement, nodes(A, B, C), Factors(2), lost={(0, B)}) is None


class TestShardKeys:
    def test_a_declared_key_has_a_factor_of_its_own(self):
        placement, factors = placed(shard(1, key="acme", A=ACTIVE)), Factors(1, by_key={"acme": 2})

        assert count_replicas(placement, factors).short == ((1, 1, 2),)
        assert copied(next_operation(placement, nodes(A, B), factors)) == (1, A, B)

    def test_of_a_key_of_others_nothing_is_known_but_what_is_there(self):
        placement = placed(shard(1, key="acme", A=ACTIVE, B="Dead"))

        assert count_replicas(placement, Factors(3)).short == ((1, 1, 2),)
        assert next_operation(placement, nodes(A, B, C), Factors(3), lost={(1, B)}) is None


@given(
    states=st.lists(
        st.dictionaries(st.sampled_from([A, B, C, D]), st.sampled_from([*STATES, "Partial"]), min_size=1), min_size=1
    ),
    factor=st.integers(0, 5),
    lost=st.booleans(),
)
def test_whatever_is_there_no_step_takes_the_last_active_one_and_the_steps_end(states, factor, lost):
    placement = ReplicaPlacement(
        tuple(Replica(number, peer, state) for number, of in enumerate(states) for peer, state in of.items())
    )
    active = {number: sum(state == ACTIVE for state in of.values()) for number, of in enumerate(states)}

    for _ in range(100):
        gone = placement.inactive() if lost else frozenset()
        step = next_operation(placement, nodes(A, B, C, D), Factors(factor), lost=gone)
        if step is None:
            break
        placement = carried_out(placement, step)
        for number, replicas in placement.by_shard().items():
            left = sum(replica.state == ACTIVE for replica in replicas)
            assert left >= min(active[number], max(factor, 1))
    else:
        pytest.fail("it never ends")
    assert all(replica.health in ReplicaHealth for replica in placement.replicas)

"""How many replicas a collection has and should have, and the next operation, decided without talking to anyone.

Qdrant places replicas when it creates a shard, and never again: a raised `replication_factor` creates none, a lowered
one drops none, and the replicas of a lost node stay listed there. GET /collections/{name}/cluster returns the replicas;
GET /cluster returns the nodes.

`next_operation` returns one operation at a time, from the observed state alone, so it may be interrupted anywhere.
It never copies to a node that has the shard: Qdrant accepts `replicate_shard` to a node with an active replica, and
takes that replica out of service until it is copied (seen on 1.16.3 and 1.19.0). It never drops the last active
replica, which Qdrant refuses as well (400). And it waits for every transfer in progress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from vectorops.api.meta import JsonObject
from vectorops.qdrant.database import ShardKeyName

ReplicaPlace = tuple[int, int]
"""Id of a shard, id of a node (a `peer_id`)."""

SHOWN_SHARDS: Final = 3

MANUAL: Final = "ManualRecovery"
"""Since 1.17: a person is repairing the replica."""


class ReplicaHealth(Enum):
    """What a replica's state in Qdrant means for its clients."""

    ACTIVE = auto()
    DEAD = auto()
    TRANSFERRING = auto()


ACTIVE: Final = "Active"
"""The only state of a replica that may be copied, and of which one must remain."""

STATES: Final[Mapping[str, ReplicaHealth]] = {
    ACTIVE: ReplicaHealth.ACTIVE,
    # The only state on a node of type Listener, which by intention takes writes and answers no searches.
    "Listener": ReplicaHealth.ACTIVE,
    "ReshardingScaleDown": ReplicaHealth.ACTIVE,
    "Dead": ReplicaHealth.DEAD,
    MANUAL: ReplicaHealth.DEAD,
}
"""In all other states the replica is being made: Initializing, Resharding, Partial (1.16) or Recovery (1.19) while it
is copied, PartialSnapshot, ActiveRead, and those of newer versions.
"""


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of one shard."""

    shard: int
    peer: int
    state: str
    key: ShardKeyName | None = None
    """None where Qdrant shards by itself."""

    @property
    def place(self) -> ReplicaPlace:
        return self.shard, self.peer

    @property
    def health(self) -> ReplicaHealth:
        return STATES.get(self.state, ReplicaHealth.TRANSFERRING)


@dataclass(frozen=True, slots=True)
class ReplicaPlacement:
    """Where the replicas of one collection are, as one node sees it."""

    replicas: tuple[Replica, ...]
    transfers: int = 0
    """Transfers in progress."""
    seen_by: int | None = None
    """The node that answered, which is therefore up."""

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> ReplicaPlacement:
        """answer: `result` of GET /collections/{name}/cluster."""
        local = [{**shard, "peer_id": answer["peer_id"]} for shard in answer.get("local_shards") or ()]
        found = [
            Replica(shard["shard_id"], shard["peer_id"], str(shard["state"]), shard.get("shard_key"))
            for shard in (*local, *(answer.get("remote_shards") or ()))
        ]
        by_place = sorted(found, key=lambda replica: replica.place)
        return cls(tuple(by_place), len(answer.get("shard_transfers") or ()), answer["peer_id"])

    def inactive(self) -> frozenset[ReplicaPlace]:
        """The places of replicas that are dead or being made."""
        return frozenset(replica.place for replica in self.replicas if replica.health is not ReplicaHealth.ACTIVE)

    def by_shard(self) -> dict[int, list[Replica]]:
        shards: dict[int, list[Replica]] = {}
        for replica in self.replicas:
            shards.setdefault(replica.shard, []).append(replica)
        return shards


@dataclass(frozen=True, slots=True)
class Factors:
    """How many replicas each shard should have."""

    of_all: int
    """The collection's `replication_factor`."""
    declared: bool = True
    """Does the resource declare it, or is it Qdrant's default?"""
    by_key: Mapping[ShardKeyName, int] | None = None
    """The factors of declared shard keys. Qdrant does not return the factor of a key that others created; its replicas
    are left alone.
    """

    def of(self, shard: list[Replica]) -> int | None:
        """The factor of the shard with these replicas; None if it is not known."""
        key = shard[0].key
        return self.of_all if key is None else (self.by_key or {}).get(key)


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    """The replicas of all shards, counted."""

    wanted: int
    active: int
    dead: int
    transferring: int
    short: tuple[tuple[int, int, int], ...]
    """Shards with fewer active replicas than they should have: id, active, wanted."""

    def described(self) -> str:
        """`5 of 6 replicas are active (shard 2: 1 of 2), 1 is dead`. The same for the same counts."""
        shown = [f"shard {shard}: {active} of {wanted}" for shard, active, wanted in self.short[:SHOWN_SHARDS]]
        further = ["and others"] if len(self.short) > SHOWN_SHARDS else []
        words = f"{self.active} of {self.wanted} replicas are active ({', '.join([*shown, *further])})"
        for count, what in ((self.dead, "dead"), (self.transferring, "being made")):
            words += f", {count} {'is' if count == 1 else 'are'} {what}" if count else ""
        return words


@dataclass(frozen=True, slots=True)
class ReplicaOperation:
    """One change of where replicas are."""

    body: JsonObject
    """Of POST /collections/{name}/cluster."""
    line: str
    """For people."""


def count_replicas(placement: ReplicaPlacement, factors: Factors) -> ReplicaCounts:
    """The numbers that status shows."""
    health = Counter(replica.health for replica in placement.replicas)
    wanted, short = 0, []
    for shard, replicas in placement.by_shard().items():
        factor = factors.of(replicas)
        # If the factor is unknown, the existing replicas are taken for the wanted ones.
        factor = len(replicas) if factor is None else factor
        active = _count_active(replicas)
        wanted += factor
        if active < factor:
            short.append((shard, active, factor))
    return ReplicaCounts(
        wanted=wanted,
        active=health[ReplicaHealth.ACTIVE],
        dead=health[ReplicaHealth.DEAD],
        transferring=health[ReplicaHealth.TRANSFERRING],
        short=tuple(short),
    )


def next_operation(
    placement: ReplicaPlacement, cluster: Mapping[str, Any], factors: Factors, *, lost: Collection[ReplicaPlace] = ()
) -> ReplicaOperation | None:
    """The next operation; None if there is nothing to do, or nothing can be done now.

    cluster: `result` of GET /cluster. lost: replicas that have been inactive for too long to wait for them.
    """
    is_others_work = any(
        replica.state == MANUAL or (replica.health is ReplicaHealth.TRANSFERRING and replica.place not in lost)
        for replica in placement.replicas
    )
    if placement.transfers or is_others_work:
        return None
    shards = {shard: replicas for shard, replicas in placement.by_shard().items() if factors.of(replicas) is not None}
    load = Counter(replica.peer for replica in placement.replicas)
    # The shards with the fewest active replicas first.
    neediest = sorted(shards.values(), key=lambda replicas: (_count_active(replicas), replicas[0].shard))
    steps = (
        *(_copy(replicas, placement, cluster, factors, lost, load) for replicas in neediest),
        *(_drop_lost(replicas, factors, lost) for replicas in shards.values()),
        *(_drop_surplus(replicas, factors, load) for replicas in shards.values() if not placement.inactive()),
    )
    return next((step for step in steps if step is not None), None)


def is_behind(cluster: Mapping[str, Any]) -> bool:
    """Is the node that gave this answer behind the consensus, as far as it knows? cluster: `result` of GET /cluster."""
    status = cluster.get("consensus_thread_status") or {}
    pending = (cluster.get("raft_info") or {}).get("pending_operations") or 0
    return pending > 0 or status.get("consensus_thread_status", "working") != "working"


def _copy(
    replicas: list[Replica],
    placement: ReplicaPlacement,
    cluster: Mapping[str, Any],
    factors: Factors,
    lost: Collection[ReplicaPlace],
    load: Mapping[int, int],
) -> ReplicaOperation | None:
    """Copies a shard that has too few replicas. Inactive replicas that may come back are counted."""
    shard, wanted = replicas[0].shard, factors.of(replicas) or 0
    sources = [replica.peer for replica in replicas if replica.state == ACTIVE]
    expected = [replica for replica in replicas if replica.place not in lost]
    peers, failing = cluster.get("peers") or {}, (cluster.get("message_send_failures") or {}).keys()
    # A node that does not get the leader's messages. Only the leader knows: the list of any other node is empty.
    unreachable = {int(peer) for peer, node in peers.items() if node.get("uri") in failing}
    # A node that has a dead replica of any shard may be down as well.
    suspect = {peer for _, peer in placement.inactive()} | unreachable
    targets = {int(peer) for peer in peers} - suspect - {replica.peer for replica in replicas}
    if not sources or not targets or len(expected) >= wanted:
        return None
    source = min(sources, key=lambda peer: (peer in suspect, peer != placement.seen_by, peer))
    target = min(targets, key=lambda peer: (load.get(peer, 0), peer))
    body = {"shard_id": shard, "from_peer_id": source, "to_peer_id": target}
    line = f"copy shard {shard} from node {source} to node {target}"
    return ReplicaOperation({"replicate_shard": body}, line)


def _drop_lost(replicas: list[Replica], factors: Factors, lost: Collection[ReplicaPlace]) -> ReplicaOperation | None:
    """Drops a lost replica that was replaced elsewhere."""
    enough = sum(replica.state == ACTIVE for replica in replicas) >= max(factors.of(replicas) or 0, 1)
    gone = [replica for replica in replicas if replica.place in lost and replica.health is not ReplicaHealth.ACTIVE]
    return _drop(gone[0]) if gone and enough else None


def _drop_surplus(replicas: list[Replica], factors: Factors, load: Mapping[int, int]) -> ReplicaOperation | None:
    """If there are more replicas than declared, drops the one on the node with the most."""
    active = [replica for replica in replicas if replica.state == ACTIVE]
    left = len(active) - 1
    if not factors.declared or left < max(factors.of(replicas) or 0, 1):
        return None
    return _drop(max(active, key=lambda replica: (load.get(replica.peer, 0), replica.peer)))


def _drop(replica: Replica) -> ReplicaOperation:
    line = f"drop the replica of shard {replica.shard} on node {replica.peer} ({replica.state})"
    return ReplicaOperation({"drop_replica": {"shard_id": replica.shard, "peer_id": replica.peer}}, line)


def _count_active(replicas: Iterable[Replica]) -> int:
    return sum(replica.health is ReplicaHealth.ACTIVE for replica in replicas)

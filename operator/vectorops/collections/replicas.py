"""How many replicas a collection has and should have, and what brings them together, decided without talking to anyone.

Qdrant places replicas when a shard is made, and never again: a raised `replication_factor` makes none, a lowered one
drops none, and those of a lost node stay where they were. What is there is told by GET /collections/{name}/cluster; the
nodes by GET /cluster.

`next_operation` gives one operation at a time, from nothing but what is observed, so that it may be cut off anywhere.
It never copies to a node that has the shard already: `replicate_shard` to a node with an active replica is accepted,
and takes that replica out of service until it is copied (seen on 1.16.3 and 1.19.0). It never drops the last active
one, which Qdrant refuses as well (400). And it waits for every copy that is under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from vectorops.api.meta import JsonObject

ShardKey = str | int
Place = tuple[int, int]
"""Id of a shard, id of a node (a `peer_id`)."""

SHOWN_SHARDS: Final = 3

MANUAL: Final = "ManualRecovery"
"""Since 1.17: a person is at work on the replica."""


class Health(Enum):
    """What a state of Qdrant's means for those who count on the replica."""

    ACTIVE = auto()
    DEAD = auto()
    TRANSFERRING = auto()


ACTIVE: Final = "Active"
"""The one state of a replica that others may be copied from, and that must remain."""

STATES: Final[Mapping[str, Health]] = {
    ACTIVE: Health.ACTIVE,
    # All that a node of the type Listener ever has: it takes writes and answers no searches, as its owner wants.
    "Listener": Health.ACTIVE,
    "ReshardingScaleDown": Health.ACTIVE,
    "Dead": Health.DEAD,
    MANUAL: Health.DEAD,
}
"""All others are of a replica that is being made: Initializing, Resharding, Partial (1.16) or Recovery (1.19) while it
is copied, PartialSnapshot, ActiveRead, and what newer versions bring."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of one shard. key: the shard key, None where Qdrant shards by itself."""

    shard: int
    peer: int
    state: str
    key: ShardKey | None = None

    @property
    def place(self) -> Place:
        return self.shard, self.peer

    @property
    def health(self) -> Health:
        return STATES.get(self.state, Health.TRANSFERRING)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the replicas of one collection are, as one node sees it.

    transfers: how many copies are under way. seen_by: the node that answered, so that it is certainly up.
    """

    replicas: tuple[Replica, ...]
    transfers: int = 0
    seen_by: int | None = None

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Placement:
        """answer: `result` of GET /collections/{name}/cluster."""
        local = [{**shard, "peer_id": answer["peer_id"]} for shard in answer.get("local_shards") or ()]
        found = [
            Replica(shard["shard_id"], shard["peer_id"], str(shard["state"]), shard.get("shard_key"))
            for shard in (*local, *(answer.get("remote_shards") or ()))
        ]
        by_place = sorted(found, key=lambda replica: replica.place)
        return cls(tuple(by_place), len(answer.get("shard_transfers") or ()), answer["peer_id"])

    def inactive(self) -> frozenset[Place]:
        """The places of replicas that are dead or being made."""
        return frozenset(replica.place for replica in self.replicas if replica.health is not Health.ACTIVE)

    def by_shard(self) -> dict[int, list[Replica]]:
        shards: dict[int, list[Replica]] = {}
        for replica in self.replicas:
            shards.setdefault(replica.shard, []).append(replica)
        return shards


@dataclass(frozen=True, slots=True)
class Factors:
    """How many replicas a shard is to have.

    of_all: the collection's `replication_factor`; declared: does the resource say so, or only Qdrant?
    by_key: those of declared shard keys. Of a key that others made Qdrant tells nobody; its replicas are left alone.
    """

    of_all: int
    declared: bool = True
    by_key: Mapping[ShardKey, int] | None = None

    def of(self, shard: list[Replica]) -> int | None:
        """None: not known."""
        key = shard[0].key
        return self.of_all if key is None else (self.by_key or {}).get(key)


@dataclass(frozen=True, slots=True)
class Counts:
    """wanted, active, dead, transferring: replicas of all shards together.

    short: the shards that have fewer active ones than they are to have: id, active, wanted.
    """

    wanted: int
    active: int
    dead: int
    transferring: int
    short: tuple[tuple[int, int, int], ...]

    def described(self) -> str:
        """`5 of 6 replicas are active (shard 2: 1 of 2), 1 is dead`. The same for the same counts."""
        shown = [f"shard {shard}: {active} of {wanted}" for shard, active, wanted in self.short[:SHOWN_SHARDS]]
        further = ["and others"] if len(self.short) > SHOWN_SHARDS else []
        words = f"{self.active} of {self.wanted} replicas are active ({', '.join([*shown, *further])})"
        for count, what in ((self.dead, "dead"), (self.transferring, "being made")):
            words += f", {count} {'is' if count == 1 else 'are'} {what}" if count else ""
        return words


@dataclass(frozen=True, slots=True)
class Operation:
    """body: of POST /collections/{name}/cluster. line: for people."""

    body: JsonObject
    line: str


def counts(placement: Placement, factors: Factors) -> Counts:
    """What status tells."""
    health = Counter(replica.health for replica in placement.replicas)
    wanted, short = 0, []
    for shard, replicas in placement.by_shard().items():
        to_have = factors.of(replicas)
        # Of a key whose factor nobody knows, what is there is what was wanted.
        to_have = len(replicas) if to_have is None else to_have
        active = _active(replicas)
        wanted += to_have
        if active < to_have:
            short.append((shard, active, to_have))
    return Counts(
        wanted=wanted,
        active=health[Health.ACTIVE],
        dead=health[Health.DEAD],
        transferring=health[Health.TRANSFERRING],
        short=tuple(short),
    )


def next_operation(
    placement: Placement, cluster: Mapping[str, Any], factors: Factors, *, lost: Collection[Place] = ()
) -> Operation | None:
    """The one operation that comes next; None: nothing is to be done, or nothing can be done now.

    cluster: `result` of GET /cluster. lost: replicas that have been inactive for so long that they are not waited for.
    """
    if placement.transfers or any(_is_others_work(replica, lost) for replica in placement.replicas):
        return None
    shards = {shard: replicas for shard, replicas in placement.by_shard().items() if factors.of(replicas) is not None}
    load = Counter(replica.peer for replica in placement.replicas)
    # The shard with the fewest first.
    neediest = sorted(shards.values(), key=lambda replicas: (_active(replicas), replicas[0].shard))
    steps = (
        *(_copy(replicas, placement, cluster, factors, lost, load) for replicas in neediest),
        *(_drop_lost(replicas, factors, lost) for replicas in shards.values()),
        *(_drop_surplus(replicas, factors, load) for replicas in shards.values() if not placement.inactive()),
    )
    return next((step for step in steps if step is not None), None)


def is_behind(cluster: Mapping[str, Any]) -> bool:
    """Does the node that gave this answer know that it does not know the latest? cluster: `result` of GET /cluster."""
    status = cluster.get("consensus_thread_status") or {}
    pending = (cluster.get("raft_info") or {}).get("pending_operations") or 0
    return pending > 0 or status.get("consensus_thread_status", "working") != "working"


def _copy(
    replicas: list[Replica],
    placement: Placement,
    cluster: Mapping[str, Any],
    factors: Factors,
    lost: Collection[Place],
    load: Mapping[int, int],
) -> Operation | None:
    """A replica for a shard that has too few, those that may come back by themselves counted."""
    shard, wanted = replicas[0].shard, factors.of(replicas) or 0
    sources = [replica.peer for replica in replicas if replica.state == ACTIVE]
    expected = [replica for replica in replicas if replica.place not in lost]
    # A node that has a dead replica of any shard may be down, as may one that does not get the leader's messages.
    suspect = {peer for _, peer in placement.inactive()} | _unreachable(cluster)
    targets = _peers(cluster) - suspect - {replica.peer for replica in replicas}
    if not sources or not targets or len(expected) >= wanted:
        return None
    source = min(sources, key=lambda peer: (peer in suspect, peer != placement.seen_by, peer))
    target = min(targets, key=lambda peer: (load.get(peer, 0), peer))
    body = {"shard_id": shard, "from_peer_id": source, "to_peer_id": target}
    line = f"copy shard {shard} from node {source} to node {target}"
    return Operation({"replicate_shard": body}, line)


def _drop_lost(replicas: list[Replica], factors: Factors, lost: Collection[Place]) -> Operation | None:
    """What was replaced elsewhere."""
    enough = sum(replica.state == ACTIVE for replica in replicas) >= max(factors.of(replicas) or 0, 1)
    gone = [replica for replica in replicas if replica.place in lost and replica.health is not Health.ACTIVE]
    return _drop(gone[0]) if gone and enough else None


def _drop_surplus(replicas: list[Replica], factors: Factors, load: Mapping[int, int]) -> Operation | None:
    """Of more than declared, the one on the node with the most."""
    active = [replica for replica in replicas if replica.state == ACTIVE]
    left = len(active) - 1
    if not factors.declared or left < max(factors.of(replicas) or 0, 1):
        return None
    return _drop(max(active, key=lambda replica: (load.get(replica.peer, 0), replica.peer)))


def _drop(replica: Replica) -> Operation:
    line = f"drop the replica of shard {replica.shard} on node {replica.peer} ({replica.state})"
    return Operation({"drop_replica": {"shard_id": replica.shard, "peer_id": replica.peer}}, line)


def _is_others_work(replica: Replica, lost: Collection[Place]) -> bool:
    return replica.state == MANUAL or (replica.health is Health.TRANSFERRING and replica.place not in lost)


def _active(replicas: Iterable[Replica]) -> int:
    return sum(replica.health is Health.ACTIVE for replica in replicas)


def _peers(cluster: Mapping[str, Any]) -> set[int]:
    return {int(peer) for peer in cluster.get("peers") or {}}


def _unreachable(cluster: Mapping[str, Any]) -> set[int]:
    """The nodes that messages do not get to. Only the leader knows: any other node's list is empty."""
    failing = (cluster.get("message_send_failures") or {}).keys()
    return {int(peer) for peer, told in (cluster.get("peers") or {}).items() if told.get("uri") in failing}

"""The interface to one Qdrant: all requests that the operator makes.

Two implementations: `server.Server` (REST, and gRPC for writing points) and `local.LocalQdrant` (qdrant-client's
local mode, for `vectorops apply --qdrant FOLDER`). Collections are exchanged as Qdrant's own JSON, because the
options in them are verbatim; points as the small types below, because their numbers must stay numpy arrays up to the
wire.

Every method raises only errors of `vectorops.errors`. A write returns when Qdrant says `completed`; anything less is
`OutcomeUnknown`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from vectorops.api.meta import JsonObject
from vectorops.vectors import VectorData

PointId = int | UUID
"""Qdrant's two kinds of id: an unsigned 64-bit integer, or a UUID."""

ShardKeyName = str | int
"""Qdrant's two kinds of shard key. 5 and "5" are two keys."""

UNNAMED = ""
"""Name under which the single unnamed vector goes here, as in Qdrant's PATCH."""


@dataclass(frozen=True, slots=True)
class PointData:
    """One point to write."""

    id: PointId
    vectors: Mapping[str, VectorData] = field(default_factory=dict)
    """By name, `UNNAMED` for the unnamed one. The point gets no vector of a name that is missing here."""
    payload: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PayloadChange:
    """Changes of the payload of one existing point, by top-level key. Other keys stay."""

    id: PointId
    put: JsonObject = field(default_factory=dict)
    remove: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """One point as read back. Payload and vectors are empty if they were not requested."""

    id: PointId
    payload: JsonObject
    vectors: Mapping[str, VectorData]


@dataclass(frozen=True, slots=True)
class ShardsOfKey:
    """The shards of one shard key."""

    shards: int
    """Number of shards."""
    replicas: int
    """Number of replicas of the shard that has the fewest."""
    points: int | None
    """About how many points it has; None if the answering node lacks a replica of one of its shards."""


@dataclass(frozen=True, slots=True)
class StoredSizes:
    """What the replicas of one collection on the answering node hold."""

    points: int
    vectors: Mapping[str, int]
    """How many there are, by name."""
    vector_bytes: int
    """Of all vectors, without indexes and quantized copies."""
    payload_bytes: int
    """Of all payloads, as they are stored: packed, in blocks of 128 bytes (1.16.3)."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says about itself."""

    version: str
    """As Qdrant reports it: '1.16.3'."""
    distributed: bool
    """Does it run in distributed mode?"""


class Database(Protocol):
    """One Qdrant, reached with one set of credentials."""

    endpoint: str
    """Identifies the server for limits and logs: scheme, host and port, or the folder. No credentials."""
    info: ServerInfo
    """From the last `check`."""

    async def check(self) -> ServerInfo:
        """Checks that a Qdrant answers and accepts the key (REST, and gRPC where it is used). Refreshes `info`.

        Raises Transient (Unreachable, CertificateInvalid, NotQdrant, ServerError), Unauthorized.
        """

    async def close(self) -> None: ...

    async def seconds_up(self) -> float | None:
        """How long the server has been up; None if it does not say, and for a folder."""

    async def stored_sizes(self, name: str) -> StoredSizes | None:
        """How much a collection takes on the answering node; None if the server does not say, and for a folder."""

    # Collections, verbatim JSON. A missing collection is `Rejected` with status 404, except where None is the answer.
    async def collection(self, name: str) -> JsonObject | None:
        """`result` of GET /collections/{name}, or None. Resolves an alias, as Qdrant does."""

    async def collection_names(self) -> list[str]: ...

    async def create_collection(self, name: str, body: JsonObject) -> None: ...

    async def update_collection(self, name: str, body: JsonObject) -> None: ...

    async def delete_collection(self, name: str) -> None:
        """Also succeeds when there is none; given an alias, it deletes nothing."""

    async def create_vector_name(self, name: str, vector: str, body: JsonObject) -> None:
        """Adds a named vector to a collection (Qdrant >= 1.18). body: `{"dense": {...}}` or `{"sparse": {...}}`."""

    async def delete_vector_name(self, name: str, vector: str) -> None:
        """Removes a named vector, and it from all points (Qdrant >= 1.19; 1.18 may lose points at a crash)."""

    async def shard_keys(self, name: str) -> dict[ShardKeyName, ShardsOfKey]:
        """All shard keys of a collection; none without `sharding_method: custom`."""

    async def create_shard_key(self, name: str, key: ShardKeyName, body: JsonObject) -> None:
        """body: `shards_number`, `replication_factor`, `placement`. Rejected with status 400 if the key exists, or if
        the server is not distributed.
        """

    async def delete_shard_key(self, name: str, key: ShardKeyName) -> None:
        """Deletes the key with all its points. Rejected with status 400 if there is none."""

    def with_shard_key(self, name: str, key: str) -> Database:
        """This database, limited to one shard key in all requests about points of the collection `name`.

        Without such a key, these are Rejected with status 400. It shares the connections; close only the original.
        """

    async def create_index(self, name: str, path: str, schema: JsonObject) -> None:
        """Creates, or replaces in place (never delete and create: filtered queries would fail meanwhile)."""

    async def delete_index(self, name: str, path: str) -> None: ...

    async def aliases(self) -> dict[str, str]:
        """All aliases of this Qdrant: alias to collection."""

    async def create_alias(self, alias: str, collection: str) -> None: ...

    async def move_aliases(self, aliases: Iterable[str], collection: str) -> None:
        """Moves aliases, or creates those that do not exist, in one request: readers always find one of the two
        collections.

        Raises Rejected with status 404 if there is no such collection: then nothing is moved. With status 409 if an
        alias is the name of a collection: aliases before it, in the given order, are moved. Qdrant keeps the actions
        that it had carried out when one of the list fails (seen on 1.16.3). It also stores each one by itself. So no
        alias is deleted to be created: an alias that `create_alias` names changes its collection, and is never gone.
        """

    async def delete_alias(self, alias: str) -> None: ...

    # Snapshots. A distributed Qdrant takes, and lists, those of the shards on the node that answers.
    async def create_snapshot(self, name: str) -> str:
        """Takes a snapshot of a collection, and returns its name. Qdrant goes on with it when OutcomeUnknown is raised.
        It stays when the collection is deleted (seen on 1.16.3).

        Rejected with status 404 if there is no collection; with status 400 for a folder, which has no snapshots.
        """

    async def snapshots(self, name: str) -> dict[str, str]:
        """The snapshots of a collection that are whole: name to the time at which each was begun, as Qdrant writes it
        (`2026-11-28T07:37:44`, to the second); "" if it does not say.
        """

    async def snapshots_under_way(self, name: str) -> int:
        """How many snapshots of a collection are taken now."""

    # Replicas. Only where `info.distributed`.
    async def cluster(self) -> JsonObject:
        """`result` of GET /cluster: the nodes, as this one sees them."""

    async def collection_cluster(self, name: str) -> JsonObject:
        """`result` of GET /collections/{name}/cluster: where its replicas are, as this node sees them."""

    async def all_replicas_answer(self, name: str) -> bool:
        """Does every replica answer a read? A dead replica does not, nor one on a node that has just died, which Qdrant
        calls active until somebody writes.
        """

    async def change_replicas(self, name: str, operation: JsonObject) -> None:
        """One operation of POST /collections/{name}/cluster. Returns when consensus has accepted it, not when it is
        done.
        """

    # Points. Lists may be of any length, also empty: implementations split them by points and by bytes, and send more
    # than one part at a time, so an id should stand in a list once. Parts may fail differently: OutcomeUnknown is then
    # raised rather than Rejected.
    async def points(
        self,
        name: str,
        ids: Sequence[PointId],
        *,
        payload: bool = False,
        vectors: bool | Sequence[str] = False,
        without: Sequence[str] = (),
    ) -> dict[PointId, StoredPoint]:
        """Those of `ids` that exist.

        vectors: all, none, or those of these names; Rejected with status 400 if the collection has none of such a name.
        without: fields of the payload that are left out.
        """

    async def upsert(
        self, name: str, points: Sequence[PointData], *, insert_only: bool = False, where: JsonObject | None = None
    ) -> None:
        """Writes whole points.

        insert_only: existing points are not changed (not an error). where: a Qdrant filter; existing points that do not
        match it are not changed. Raises Rejected if Qdrant refuses the content: some points may have been written.
        """

    async def update_vectors(self, name: str, points: Sequence[PointData]) -> None:
        """Replaces the given vectors of existing points; other vectors and the payload stay.

        Raises Rejected with status 404 for a missing point; others may have been written. So do the next two.
        """

    async def delete_vectors(self, name: str, ids: Sequence[PointId], vectors: Sequence[str]) -> None: ...

    async def change_payloads(self, name: str, changes: Sequence[PayloadChange]) -> None:
        """Changes payloads of existing points key by key.

        Only a change that puts a null under a top-level key reads and overwrites the whole payload of its point: to
        Qdrant, a null in a change means to remove the key.
        """

    async def delete_points(self, name: str, ids: Sequence[PointId]) -> None:
        """Missing ids are not an error."""

    async def scroll(
        self,
        name: str,
        where: JsonObject | None = None,
        *,
        payload: bool | Sequence[str] = False,
        limit: int | None = None,
    ) -> list[StoredPoint]:
        """All points that match a filter, or the first `limit` of them, without vectors. For small results.

        payload: all of it, none, or these top-level keys.
        """

    async def search(
        self, name: str, query: VectorData, *, using: str = UNNAMED, where: JsonObject | None = None, limit: int
    ) -> list[PointId]:
        """The ids of the points that are nearest to a vector, the nearest first, found as readers find them.

        using: name of the searched vector. where: a Qdrant filter. Raises Rejected if Qdrant refuses the query.
        """

    def id_pages(self, name: str, size: int) -> AsyncIterator[list[PointId]]:
        """The ids of all points, so many at a time, in ascending order: integers before UUIDs."""

    async def count(self, name: str) -> int:
        """The exact number of points: a collection's own `points_count` may count a point twice while Qdrant optimizes.
        The time grows with the number.
        """

    async def delete_matching(self, name: str, where: JsonObject) -> None:
        """Deletes all points that match a filter; an empty one matches all."""

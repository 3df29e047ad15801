"""A Qdrant server, over REST, and where the connection allows it over gRPC for points and their vectors.

REST takes collections verbatim, and reads many ids and payloads faster (few large texts against many small messages).
gRPC writes points twice as fast, reads vectors four times as fast, and few points at a fifth of the cost of a request.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import NotFound, RateLimited, TooManyAtOnce, Transient
from vectorops.qdrant import batches, errors, visibility, wire
from vectorops.qdrant.database import (
    UNNAMED,
    PayloadChange,
    PointData,
    PointId,
    ServerInfo,
    ShardKeyName,
    ShardsOfKey,
    StoredPoint,
    StoredSizes,
)
from vectorops.qdrant.rest import Rest, segment
from vectorops.qdrant.traffic import Traffic
from vectorops.vectors import Sparse, VectorData

if TYPE_CHECKING:
    from vectorops.qdrant.grpc_points import GrpcPoints

IDS_AT_ONCE: Final = 4096
CONTENTS_AT_ONCE: Final = 512
FEW: Final = 64
"""So many points are read over gRPC even without their vectors."""
FIRST_CONTENTS: Final = 64
"""So many points are read first where contents are asked for: they tell how large the others are."""
BYTES_AT_ONCE: Final = 2_000_000
"""Of contents in one answer, about: reading them as JSON stops the event loop for some 20 ms."""
COMPONENT_BYTES: Final = 10
"""Of a component of a vector, in JSON."""
READ_PATIENCE_SECONDS: Final = 120.0
"""For so long in all, a list of points waits for a rate limit once some are read: the next try reads all of it."""
SNAPSHOT_DETAILS: Final = 2
"""The lowest level of telemetry that tells of snapshots under way (1.16.3)."""
SIZES_DETAILS: Final = 3
"""The lowest level of telemetry that tells how large shards are (1.16.3)."""
SCROLL_PAGE: Final = 100
"""Small, because a collection's strict mode may limit it."""

# Waits until the write is applied. One replica puts the writes in order, so that all replicas end alike.
WRITE: Final = "wait=true&ordering=medium"
UNAWAITED: Final = "wait=false&ordering=medium"
"""For points of a collection that hides them until they are optimized: waiting would last until then."""
APPLIED_TRIES: Final = 300
APPLIED_SECONDS: Final = 0.1


class Server:
    """See `Database`, which this implements.

    grpc: None sends all writes over REST.
    """

    def __init__(self, rest: Rest, endpoint: str, traffic: Traffic, *, grpc: GrpcPoints | None = None) -> None:
        self.endpoint = endpoint
        self.info = ServerInfo(version="", distributed=False)
        self._rest = rest
        self._traffic = traffic
        self._grpc = grpc
        self._shard_keys: Mapping[str, str] = {}
        self._hiding: set[str] = set()

    async def check(self) -> ServerInfo:
        greeting = await self._rest.greeting()
        version = greeting.get("version") if isinstance(greeting, dict) else None
        if not isinstance(version, str) or "qdrant" not in str(greeting.get("title")).lower():
            raise errors.unreadable_answer(200, {"content-type": "other JSON"}, self.endpoint)
        # It goes into statuses, and anything may answer here.
        version = errors.shorten(version)
        # The greeting needs no key; this does.
        cluster = await self.cluster()
        if self._grpc is not None:
            await self._grpc.check()
        self.info = ServerInfo(version=version, distributed=cluster.get("status") == "enabled")
        return self.info

    async def close(self) -> None:
        await self._traffic.close()
        if self._grpc is not None:
            await self._grpc.close()
        await self._rest.close()

    async def seconds_up(self) -> float | None:
        return visibility.seconds_up(*await self._rest.telemetry())

    async def stored_sizes(self, name: str) -> StoredSizes | None:
        told, _ = await self._rest.telemetry(SIZES_DETAILS)
        return sizes_of(told, name)

    # ---- collections ----

    async def collection(self, name: str) -> JsonObject | None:
        try:
            found: JsonObject = await self._rest.read("get_collection", "GET", _path(name))
        except NotFound:
            return None
        # As of the last check, which is before each pass.
        (self._hiding.add if visibility.hides_points(found) else self._hiding.discard)(name)
        return found

    async def collection_names(self) -> list[str]:
        found = await self._rest.read("list_collections", "GET", "/collections")
        return [collection["name"] for collection in found["collections"]]

    async def create_collection(self, name: str, body: JsonObject) -> None:
        await self._rest.write("create_collection", "PUT", _path(name), wire.dumps(body))

    async def update_collection(self, name: str, body: JsonObject) -> None:
        await self._rest.write("update_collection", "PATCH", _path(name), wire.dumps(body))

    async def delete_collection(self, name: str) -> None:
        await self._rest.write("delete_collection", "DELETE", _path(name))

    async def create_vector_name(self, name: str, vector: str, body: JsonObject) -> None:
        await self._write("create_vector_name", "PUT", f"{_path(name)}/vectors/{segment(vector)}", wire.dumps(body))

    async def delete_vector_name(self, name: str, vector: str) -> None:
        await self._write("delete_vector_name", "DELETE", f"{_path(name)}/vectors/{segment(vector)}", None)

    async def shard_keys(self, name: str) -> dict[ShardKeyName, ShardsOfKey]:
        # Not GET .../shards: that came with 1.16.2, and has the keys alone.
        return shards_by_key(await self._rest.read("get_cluster", "GET", f"{_path(name)}/cluster"))

    async def create_shard_key(self, name: str, key: ShardKeyName, body: JsonObject) -> None:
        whole = wire.dumps({"shard_key": key, **body})
        await self._rest.write("create_shard_key", "PUT", f"{_path(name)}/shards", whole)

    async def delete_shard_key(self, name: str, key: ShardKeyName) -> None:
        body = wire.dumps({"shard_key": key})
        await self._rest.write("delete_shard_key", "POST", f"{_path(name)}/shards/delete", body)

    def with_shard_key(self, name: str, key: str) -> Server:
        narrowed = copy(self)
        narrowed._shard_keys = {**self._shard_keys, name: key}  # noqa: SLF001 (an object of this class)
        return narrowed

    async def create_index(self, name: str, path: str, schema: JsonObject) -> None:
        body = wire.dumps({"field_name": path, "field_schema": schema})
        await self._write("create_index", "PUT", f"{_path(name)}/index", body)

    async def delete_index(self, name: str, path: str) -> None:
        await self._write("delete_index", "DELETE", f"{_path(name)}/index/{segment(path)}", None)

    async def aliases(self) -> dict[str, str]:
        found = await self._rest.read("list_aliases", "GET", "/aliases")
        return {alias["alias_name"]: alias["collection_name"] for alias in found["aliases"]}

    async def create_alias(self, alias: str, collection: str) -> None:
        await self._change_aliases(_created(alias, collection))

    async def move_aliases(self, aliases: Iterable[str], collection: str) -> None:
        # Readers wait until all actions of a request are done.
        await self._change_aliases(*(_created(alias, collection) for alias in aliases))

    async def delete_alias(self, alias: str) -> None:
        await self._change_aliases(_deleted(alias))

    # ---- snapshots ----

    async def create_snapshot(self, name: str) -> str:
        made = await self._rest.write("create_snapshot", "POST", f"{_path(name)}/snapshots?wait=true")
        return str(made["name"])

    async def snapshots(self, name: str) -> dict[str, str]:
        found = await self._rest.read("list_snapshots", "GET", f"{_path(name)}/snapshots")
        return {snapshot["name"]: snapshot.get("creation_time") or "" for snapshot in found}

    async def snapshots_under_way(self, name: str) -> int:
        told, _ = await self._rest.telemetry(SNAPSHOT_DETAILS)
        counts = (told.get("collections") or {}).get("snapshots") or ()
        return sum(count["running_snapshots"] for count in counts if count["id"] == name)

    # ---- replicas ----

    async def cluster(self) -> JsonObject:
        found: JsonObject = await self._rest.read("cluster", "GET", "/cluster")
        return found

    async def collection_cluster(self, name: str) -> JsonObject:
        found: JsonObject = await self._rest.read("collection_cluster", "GET", f"{_path(name)}/cluster")
        return found

    async def all_replicas_answer(self, name: str) -> bool:
        one = wire.dumps({"limit": 1, "with_payload": False, "with_vector": False})
        try:
            await self._rest.read("check_replicas", "POST", f"{_path(name)}/points/scroll?consistency=all", one)
        except Transient as error:
            if error.reason is Reason.SERVER_ERROR:
                return False
            raise
        return True

    async def change_replicas(self, name: str, operation: JsonObject) -> None:
        await self._rest.write("change_replicas", "POST", f"{_path(name)}/cluster", wire.dumps(operation))

    # ---- points ----

    async def points(
        self,
        name: str,
        ids: Sequence[PointId],
        *,
        payload: bool = False,
        vectors: bool | Sequence[str] = False,
        without: Sequence[str] = (),
    ) -> dict[PointId, StoredPoint]:
        if not ids:
            return {}
        patience = _Patience(len(ids))
        parts: dict[int, list[StoredPoint]] = defaultdict(list)

        async def read(start: int, some: Sequence[PointId]) -> None:
            found = await patience.of(
                lambda: self._read_points(name, some, payload=payload, vectors=vectors, without=without)
            )
            parts[start] += found

        async def send(part: tuple[int, Sequence[PointId]]) -> None:
            await batches.in_halves(part[1], lambda some: read(part[0], some))

        begun, at_once = 0, IDS_AT_ONCE
        if payload or vectors:
            await send((0, ids[:FIRST_CONTENTS]))
            begun, at_once = FIRST_CONTENTS, _fitting(parts[0])
        await batches.send_all([(at, ids[at : at + at_once]) for at in range(begun, len(ids), at_once)], send)
        return {point.id: point for at in sorted(parts) for point in parts[at]}

    async def _read_points(
        self, name: str, ids: Sequence[PointId], *, payload: bool, vectors: bool | Sequence[str], without: Sequence[str]
    ) -> list[StoredPoint]:
        """Those of `ids` that exist, by one request if gRPC carries all of them."""
        found: list[StoredPoint] = []
        if self._grpc is not None and (vectors or len(ids) <= FEW):
            shard_key = self._shard_keys.get(name)
            found, left = await self._grpc.points(
                name, ids, payload=payload, vectors=vectors, without=without, shard_key=shard_key
            )
            if not left:
                return found
            ids = left
        known = {wire.id_json(point_id): point_id for point_id in ids}
        fields = {"exclude": list(without)} if payload and without else payload
        body = wire.dumps({"ids": list(known), "with_payload": fields, "with_vector": vectors, **self._shards(name)})
        raw = await self._rest.read("get_points", "POST", f"{_path(name)}/points", body)
        return [*found, *(wire.parse_point(point, known) for point in raw)]

    async def upsert(
        self, name: str, points: Sequence[PointData], *, insert_only: bool = False, where: JsonObject | None = None
    ) -> None:
        if self._grpc is not None and where is None and name not in self._hiding:
            # What gRPC cannot carry comes back.
            points = await self._grpc.upsert(
                name, points, insert_only=insert_only, shard_key=self._shard_keys.get(name)
            )
        update_filter = wire.INSERT_ONLY if insert_only else where
        tail = self._shards(name) | ({} if update_filter is None else {"update_filter": update_filter})
        await self._write_all("upsert", "PUT", f"{_path(name)}/points", map(wire.point_json, points), tail=tail)

    async def update_vectors(self, name: str, points: Sequence[PointData]) -> None:
        if self._grpc is not None and name not in self._hiding:
            await self._grpc.update_vectors(name, points, shard_key=self._shard_keys.get(name))
            return
        elements = map(wire.point_vectors_json, points)
        path = f"{_path(name)}/points/vectors"
        await self._write_all("update_vectors", "PUT", path, elements, tail=self._shards(name))

    async def delete_vectors(self, name: str, ids: Sequence[PointId], vectors: Sequence[str]) -> None:
        if not vectors:
            return
        tail = {"vector": list(vectors), **self._shards(name)}
        path = f"{_path(name)}/points/vectors/delete"
        await self._write_all("delete_vectors", "POST", path, map(_id_bytes, ids), tail=tail)

    async def change_payloads(self, name: str, changes: Sequence[PayloadChange]) -> None:
        patches = [change for change in changes if (change.put or change.remove) and not wire.puts_null(change)]
        shards = self._shards(name)
        elements = (_set_payload(change.id, wire.payload_patch(change), shards) for change in patches)
        path = f"{_path(name)}/points/batch"
        await self._write_all("change_payloads", "POST", path, elements, key="operations")
        whole = [change for change in changes if wire.puts_null(change)]
        for start in range(0, len(whole), CONTENTS_AT_ONCE):
            some = whole[start : start + CONTENTS_AT_ONCE]
            stored = await self.points(name, [change.id for change in some], payload=True)
            replaced = (_overwrite_payload(change, stored, shards) for change in some)
            await self._write_all("change_payloads", "POST", path, replaced, key="operations")

    async def delete_points(self, name: str, ids: Sequence[PointId]) -> None:
        if self._grpc is not None and name not in self._hiding:
            await self._grpc.delete_points(name, ids, shard_key=self._shard_keys.get(name))
            return
        path = f"{_path(name)}/points/delete"
        await self._write_all("delete_points", "POST", path, map(_id_bytes, ids), tail=self._shards(name))

    async def scroll(
        self,
        name: str,
        where: JsonObject | None = None,
        *,
        payload: bool | Sequence[str] = False,
        limit: int | None = None,
    ) -> list[StoredPoint]:
        found: list[StoredPoint] = []
        async for point in self._scrolled(name, where, payload, SCROLL_PAGE if limit is None else limit):
            found.append(point)
            if len(found) == limit:
                break
        return found

    async def search(
        self, name: str, query: VectorData, *, using: str = UNNAMED, where: JsonObject | None = None, limit: int
    ) -> list[PointId]:
        body = wire.dumps(wire.search_json(query, using, where, limit) | self._shards(name))
        found = await self._rest.read("search", "POST", f"{_path(name)}/points/query", body)
        # Under two shard keys there may be two points of one id.
        return list(dict.fromkeys(wire.parse_id(point["id"]) for point in found["points"]))

    async def id_pages(self, name: str, size: int) -> AsyncIterator[list[PointId]]:
        page: list[PointId] = []
        async for point in self._scrolled(name, None, False, size):
            page.append(point.id)
            if len(page) == size:
                yield page
                page = []
        if page:
            yield page

    async def count(self, name: str) -> int:
        body = wire.dumps({"exact": True})
        return int((await self._rest.read("count", "POST", f"{_path(name)}/points/count", body))["count"])

    async def delete_matching(self, name: str, where: JsonObject) -> None:
        body = wire.dumps({"filter": where, **self._shards(name)})
        await self._write("delete_matching", "POST", f"{_path(name)}/points/delete", body)

    # ---- the requests ----

    def _shards(self, name: str) -> JsonObject:
        """What the body of a request about points says of the shards that it is for."""
        return {"shard_key": self._shard_keys[name]} if name in self._shard_keys else {}

    async def _scrolled(
        self, name: str, where: JsonObject | None, payload: bool | Sequence[str], limit: int
    ) -> AsyncIterator[StoredPoint]:
        request: JsonObject = {
            "limit": min(limit, SCROLL_PAGE),
            "with_payload": payload if isinstance(payload, bool) else list(payload),
            "with_vector": False,
            **self._shards(name),
        }
        if where is not None:
            request["filter"] = where
        while True:
            page = await self._rest.read("scroll", "POST", f"{_path(name)}/points/scroll", wire.dumps(request))
            for raw in page["points"]:
                yield wire.parse_point(raw)
            if page.get("next_page_offset") is None:
                return
            request["offset"] = page["next_page_offset"]

    async def _change_aliases(self, *actions: JsonObject) -> None:
        body = wire.dumps({"actions": list(actions)})
        await self._rest.write("change_alias", "POST", "/collections/aliases", body)

    async def _write(self, operation: str, method: str, path: str, body: bytes | None) -> None:
        """One write of points or indexes, done only when it is completed."""
        hiding = next((name for name in self._hiding if path.startswith(f"{_path(name)}/points")), None)
        result = await self._rest.write(operation, method, f"{path}?{WRITE if hiding is None else UNAWAITED}", body)
        for update in result if isinstance(result, list) else [result]:
            status = update.get("status") if isinstance(update, Mapping) else None
            if status != "completed" and (hiding is None or status != "acknowledged"):
                raise errors.incomplete(status, self.endpoint)
        if hiding is not None:
            await self._require_applied(hiding)

    async def _require_applied(self, name: str) -> None:
        """What was acknowledged is applied in a moment: only to be shown it waits for the optimizer."""
        for _ in range(APPLIED_TRIES):
            found = await self.collection(name)
            if not ((found or {}).get("update_queue") or {}).get("length"):
                return
            await asyncio.sleep(APPLIED_SECONDS)
        raise errors.incomplete("acknowledged", self.endpoint)

    async def _write_all(
        self,
        operation: str,
        method: str,
        path: str,
        elements: Iterable[bytes],
        *,
        key: str = "points",
        tail: JsonObject | None = None,
    ) -> None:
        """Writes with a list of any length: `{key: [elements], **tail}`, cut into several requests."""
        rest = b"," + wire.dumps(tail)[1:] if tail else b"}"

        async def send(batch: Sequence[bytes]) -> None:
            body = b"".join((b'{"', key.encode(), b'":[', b",".join(batch), b"]", rest))
            await self._write(operation, method, path, body)

        await batches.send_all(batches.cut(elements, len), batches.halving(send))


def shards_by_key(cluster: Mapping[str, Any]) -> dict[ShardKeyName, ShardsOfKey]:
    """The shard keys in `result` of GET /collections/{name}/cluster."""
    replicas: dict[ShardKeyName, Counter[int]] = defaultdict(Counter)
    points: dict[ShardKeyName, dict[int, int]] = defaultdict(dict)
    for shard in (*cluster.get("local_shards", ()), *cluster.get("remote_shards", ())):
        key = shard.get("shard_key")
        if key is None:
            continue
        replicas[key][shard["shard_id"]] += 1
        if "points_count" in shard:
            points[key][shard["shard_id"]] = shard["points_count"]
    return {
        key: ShardsOfKey(
            shards=len(shards),
            replicas=min(shards.values()),
            points=sum(points[key].values()) if points[key].keys() == shards.keys() else None,
        )
        for key, shards in replicas.items()
    }


def sizes_of(telemetry: Any, name: str) -> StoredSizes | None:
    """How much the replicas of a collection on this node take; None if there are none, or if it is not told.

    telemetry: `result` of GET /telemetry with `SIZES_DETAILS`.
    """
    try:
        collections = telemetry["collections"]["collections"]
        shards = [shard["local"] for one in collections if one["id"] == name for shard in one["shards"]]
        shards = [shard for shard in shards if shard is not None]
        vectors = Counter[str]()
        for shard in shards:
            vectors.update(shard["num_vectors_by_name"])
        points, vector_bytes, payload_bytes = (
            sum(shard[key] for shard in shards) for key in ("num_points", "vectors_size_bytes", "payloads_size_bytes")
        )
    except (KeyError, TypeError):
        return None
    return StoredSizes(points, vectors, vector_bytes, payload_bytes) if points else None


class _Patience:
    """Reads a list in parts no faster than a rate limit allows.

    count: how long the list is.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._any_read = False
        self._left = READ_PATIENCE_SECONDS

    async def of(self, read: Callable[[], Awaitable[Any]]) -> Any:
        """One part. Raises RateLimited if nothing was read yet, or if waiting for the rest takes too long."""
        while True:
            try:
                answer = await read()
            except TooManyAtOnce:
                raise
            except RateLimited as error:
                if not self._any_read:
                    raise
                seconds = error.retry_after or 1.0
                if seconds > self._left:
                    enough = math.ceil(self._count * 60 / READ_PATIENCE_SECONDS)
                    words = f"for {self._count:,} points, read_rate_limit must be at least {enough:,} a minute"
                    raise RateLimited(error.reason, f"{error.message}; {words}", retry_after=seconds) from error
                self._left -= seconds
                await asyncio.sleep(seconds)
            else:
                self._any_read = True
                return answer


def _fitting(points: Iterable[StoredPoint]) -> int:
    """How many points like these are read at once."""
    sizes = [
        COMPONENT_BYTES * sum(map(_components, point.vectors.values())) + len(wire.dumps(point.payload))
        for point in points
    ]
    return max(1, min(CONTENTS_AT_ONCE, BYTES_AT_ONCE // max(sizes, default=1)))


def _components(vector: VectorData) -> int:
    return len(vector.values) if isinstance(vector, Sparse) else vector.size


def _path(collection: str) -> str:
    return f"/collections/{segment(collection)}"


def _created(alias: str, collection: str) -> JsonObject:
    return {"create_alias": {"alias_name": alias, "collection_name": collection}}


def _deleted(alias: str) -> JsonObject:
    return {"delete_alias": {"alias_name": alias}}


def _id_bytes(point_id: PointId) -> bytes:
    return wire.dumps(wire.id_json(point_id))


def _set_payload(point_id: PointId, patch: JsonObject, shards: JsonObject) -> bytes:
    return wire.dumps({"set_payload": {"payload": patch, "points": [wire.id_json(point_id)], **shards}})


def _overwrite_payload(change: PayloadChange, stored: Mapping[PointId, StoredPoint], shards: JsonObject) -> bytes:
    before = stored[change.id].payload if change.id in stored else {}
    payload = wire.changed(before, change)
    return wire.dumps({"overwrite_payload": {"payload": payload, "points": [wire.id_json(change.id)], **shards}})

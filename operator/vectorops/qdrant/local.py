"""A Qdrant in a folder: qdrant-client's local mode, for `vectorops apply --qdrant FOLDER`.

It is for demos and plans with few points, and for one process at a time. Local mode keeps only vectors and metadata of
a collection. All other options, and payload indexes, are stored under one key of the metadata, which is hidden from
callers; see `echo`.

Import this only where a folder is opened: it imports all of qdrant-client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson
from qdrant_client import AsyncQdrantClient, models

from vectorops.api.meta import GROUP, JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import NotFound, Rejected
from vectorops.qdrant import echo, errors, wire
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
from vectorops.qdrant.observe import is_flat
from vectorops.vectors import Sparse, VectorData

REMEMBERED: Final = f"{GROUP}/embedded"
"""Key of the metadata that holds the other options. Stored in folders, so it must not change."""
SCROLL_PAGE: Final = 100


class LocalQdrant:
    """A `Database` in a folder, which is opened, and locked, for the first request."""

    def __init__(self, folder: Path | str) -> None:
        self.endpoint = str(folder)
        self.info = ServerInfo(version="", distributed=False)
        self._open: AsyncQdrantClient | None = None

    async def check(self) -> ServerInfo:
        with self._translated_errors(writes=False):
            found = await self._client().info()
        self.info = ServerInfo(version=found.version, distributed=False)
        return self.info

    async def close(self) -> None:
        if self._open is not None:
            await self._open.close()
            self._open = None

    # ---- collections ----

    async def seconds_up(self) -> float | None:
        return None

    async def stored_sizes(self, name: str) -> StoredSizes | None:  # noqa: ARG002 -- see `Database`
        return None

    async def collection(self, name: str) -> JsonObject | None:
        try:
            with self._translated_errors(writes=False):
                info = await self._client().get_collection(name)
        except NotFound:
            return None
        found: JsonObject = info.model_dump(mode="json", exclude_none=True)
        metadata = found["config"].pop("metadata", {})
        remembered = metadata.pop(REMEMBERED, None)
        if remembered is not None:
            points = found["points_count"]
            schema = {path: {**index, "points": points} for path, index in remembered["payload_schema"].items()}
            config = echo.with_vectors_of(found["config"], remembered["config"])
            found |= {"config": config, "payload_schema": schema}
        if metadata:
            found["config"]["metadata"] = metadata
        return found

    async def collection_names(self) -> list[str]:
        with self._translated_errors(writes=False):
            found = await self._client().get_collections()
        return [collection.name for collection in found.collections]

    async def create_collection(self, name: str, body: JsonObject) -> None:
        with self._translated_errors(writes=True):
            config = echo.config_after_create(body)
            await self._client().create_collection(
                name,
                vectors_config=_vectors_config(config["params"]["vectors"]),
                sparse_vectors_config=_sparse_config(config["params"].get("sparse_vectors", {})),
                metadata={**(body.get("metadata") or {}), **_options_metadata(config, {})},
            )

    async def update_collection(self, name: str, body: JsonObject) -> None:
        before = await self._get_collection(name)
        with self._translated_errors(writes=True):
            config = echo.config_after_patch(before["config"], body)
            await self._client().update_collection(
                name,
                # `modifier` is the only option that changes how local mode searches.
                sparse_vectors_config=_sparse_config(config["params"].get("sparse_vectors", {})),
                metadata={**(body.get("metadata") or {}), **_options_metadata(config, before["payload_schema"])},
            )

    async def delete_collection(self, name: str) -> None:
        with self._translated_errors(writes=True):
            await self._client().delete_collection(name)

    async def create_vector_name(self, name: str, vector: str, body: JsonObject) -> None:
        with self._translated_errors(writes=True):
            added = models.DenseVectorNameConfig if "dense" in body else models.SparseVectorNameConfig
            await self._client().create_vector_name(name, vector, added.model_validate(body))
        # Local mode forgets the datatype.
        after = await self._get_collection(name)
        kind, options = (
            ("vectors", body["dense"]) if "dense" in body else ("sparse_vectors", _as_stored(body["sparse"]))
        )
        after["config"]["params"][kind][vector] |= options
        await self._store_options(name, after["config"], after["payload_schema"])

    async def delete_vector_name(self, name: str, vector: str) -> None:
        with self._translated_errors(writes=True):
            await self._client().delete_vector_name(name, vector)
        # Otherwise a later vector of the same name would get its options.
        after = await self._get_collection(name)
        await self._store_options(name, after["config"], after["payload_schema"])

    async def shard_keys(self, name: str) -> dict[ShardKeyName, ShardsOfKey]:
        await self._get_collection(name)
        return {}

    async def create_shard_key(self, name: str, key: ShardKeyName, body: JsonObject) -> None:  # noqa: ARG002
        raise _refuse_shard_keys()

    async def delete_shard_key(self, name: str, key: ShardKeyName) -> None:  # noqa: ARG002
        raise _refuse_shard_keys()

    def with_shard_key(self, name: str, key: str) -> NoReturn:  # noqa: ARG002
        raise _refuse_shard_keys()

    async def create_index(self, name: str, path: str, schema: JsonObject) -> None:
        with self._translated_errors(writes=True):
            index = echo.index_after_put(schema)
        before = await self._get_collection(name)
        await self._store_options(name, before["config"], before["payload_schema"] | {path: index})

    async def delete_index(self, name: str, path: str) -> None:
        before = await self._get_collection(name)
        left = {other: index for other, index in before["payload_schema"].items() if other != path}
        await self._store_options(name, before["config"], left)

    async def aliases(self) -> dict[str, str]:
        with self._translated_errors(writes=False):
            found = await self._client().get_aliases()
        return {alias.alias_name: alias.collection_name for alias in found.aliases}

    async def create_alias(self, alias: str, collection: str) -> None:
        await self._change_aliases(_create_alias_action(alias, collection))

    async def move_aliases(self, aliases: Iterable[str], collection: str) -> None:
        await self._change_aliases(*(_create_alias_action(alias, collection) for alias in aliases))

    async def delete_alias(self, alias: str) -> None:
        await self._change_aliases(_delete_alias_action(alias))

    # ---- snapshots: a folder has none ----

    async def create_snapshot(self, name: str) -> str:
        message = (
            f"collection {name!r} is in a folder: it has no snapshots; copy the folder, or leave snapshotBefore out"
        )
        raise Rejected(Reason.REQUEST_REJECTED, message, status=400)

    async def snapshots(self, name: str) -> dict[str, str]:  # noqa: ARG002 -- see `Database`
        return {}

    async def snapshots_under_way(self, name: str) -> int:  # noqa: ARG002 -- see `Database`
        return 0

    # ---- replicas: a folder has none ----

    async def cluster(self) -> JsonObject:
        return {"status": "disabled"}

    async def collection_cluster(self, name: str) -> JsonObject:
        raise _refuse_replicas(name)

    async def all_replicas_answer(self, name: str) -> bool:
        raise _refuse_replicas(name)

    async def change_replicas(self, name: str, operation: JsonObject) -> None:  # noqa: ARG002 -- see `Database`
        raise _refuse_replicas(name)

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
        fields = models.PayloadSelectorExclude(exclude=list(without)) if payload and without else payload
        with self._translated_errors(writes=False):
            wanted = vectors if isinstance(vectors, bool) else list(vectors)
            records = await self._client().retrieve(name, _ids(ids), with_payload=fields, with_vectors=wanted)
        points = map(_parse_record, records)
        return {point.id: point for point in points}

    async def upsert(
        self, name: str, points: Sequence[PointData], *, insert_only: bool = False, where: JsonObject | None = None
    ) -> None:
        if not points:
            return
        update_filter = wire.INSERT_ONLY if insert_only else where
        with self._translated_errors(writes=True):
            structs = [
                models.PointStruct(
                    id=wire.id_json(point.id), vector=_client_vectors(point), payload=_through_json(point.payload)
                )
                for point in points
            ]
            await self._client().upsert(name, structs, update_filter=_filter(update_filter))

    async def update_vectors(self, name: str, points: Sequence[PointData]) -> None:
        if not points:
            return
        with self._translated_errors(writes=True):
            changed = [
                models.PointVectors(id=wire.id_json(point.id), vector=_client_vectors(point)) for point in points
            ]
            await self._client().update_vectors(name, changed)

    async def delete_vectors(self, name: str, ids: Sequence[PointId], vectors: Sequence[str]) -> None:
        if not ids or not vectors:
            return
        with self._translated_errors(writes=True):
            await self._client().delete_vectors(name, list(vectors), models.PointIdsList(points=_ids(ids)))

    async def change_payloads(self, name: str, changes: Sequence[PayloadChange]) -> None:
        for change in changes:
            one = models.PointIdsList(points=_ids([change.id]))
            if not wire.puts_null(change):
                with self._translated_errors(writes=True):
                    await self._client().set_payload(name, _through_json(wire.payload_patch(change)), one)
                continue
            stored = await self.points(name, [change.id], payload=True)
            before = stored[change.id].payload if stored else {}
            with self._translated_errors(writes=True):
                await self._client().overwrite_payload(name, _through_json(wire.changed(before, change)), one)

    async def delete_points(self, name: str, ids: Sequence[PointId]) -> None:
        if not ids:
            return
        with self._translated_errors(writes=True):
            await self._client().delete(name, models.PointIdsList(points=_ids(ids)))

    async def scroll(
        self,
        name: str,
        where: JsonObject | None = None,
        *,
        payload: bool | Sequence[str] = False,
        limit: int | None = None,
    ) -> list[StoredPoint]:
        found: list[StoredPoint] = []
        wanted = payload if isinstance(payload, bool) else list(payload)
        offset: Any = None
        while True:
            with self._translated_errors(writes=False):
                records, offset = await self._client().scroll(
                    name, _filter(where), limit=SCROLL_PAGE, offset=offset, with_payload=wanted, with_vectors=False
                )
            found += map(_parse_record, records)
            if offset is None or (limit is not None and len(found) >= limit):
                return found[:limit]

    async def search(
        self, name: str, query: VectorData, *, using: str = UNNAMED, where: JsonObject | None = None, limit: int
    ) -> list[PointId]:
        with self._translated_errors(writes=False):
            found = await self._client().query_points(
                name,
                _client_vector(query),
                using=using or None,
                query_filter=_filter(where),
                limit=limit,
                with_payload=False,
            )
        return [wire.parse_id(point.id if isinstance(point.id, int) else str(point.id)) for point in found.points]

    async def id_pages(self, name: str, size: int) -> AsyncIterator[list[PointId]]:
        ids = [point.id for point in await self.scroll(name)]
        for first in range(0, len(ids), size):
            yield ids[first : first + size]

    async def count(self, name: str) -> int:
        with self._translated_errors(writes=False):
            return (await self._client().count(name, exact=True)).count

    async def delete_matching(self, name: str, where: JsonObject) -> None:
        with self._translated_errors(writes=True):
            await self._client().delete(name, models.FilterSelector(filter=models.Filter.model_validate(where)))

    # ---- the folder ----

    async def _change_aliases(self, *actions: models.CreateAliasOperation | models.DeleteAliasOperation) -> None:
        with self._translated_errors(writes=True):
            await self._client().update_collection_aliases(actions)

    def _client(self) -> AsyncQdrantClient:
        if self._open is None:
            self._open = AsyncQdrantClient(path=self.endpoint)
        return self._open

    @contextmanager
    def _translated_errors(self, *, writes: bool) -> Iterator[None]:
        try:
            yield
        except errors.LOCAL_ERRORS as error:
            # Without its cause, which would quote content.
            raise errors.from_local(error, self.endpoint, writes=writes) from None

    async def _get_collection(self, name: str) -> JsonObject:
        found = await self.collection(name)
        if found is None:
            message = f"Not found: Collection `{name}` doesn't exist!"
            raise NotFound(Reason.REQUEST_REJECTED, message, status=404)
        return found

    async def _store_options(self, name: str, config: JsonObject, schema: JsonObject) -> None:
        with self._translated_errors(writes=True):
            await self._client().update_collection(name, metadata=_options_metadata(config, schema))


def _refuse_replicas(name: str) -> Rejected:
    return Rejected(Reason.REQUEST_REJECTED, f"collection {name!r} is in a folder: it has no replicas", status=400)


def _refuse_shard_keys() -> Rejected:
    """Like a server that is not distributed."""
    return Rejected(Reason.REQUEST_REJECTED, "Bad request: Distributed mode disabled", status=400)


def _options_metadata(config: JsonObject, payload_schema: JsonObject) -> JsonObject:
    """The options as a member of the metadata."""
    options = {key: value for key, value in config.items() if key != "metadata"}
    indexes = {
        path: {key: value for key, value in index.items() if key != "points"} for path, index in payload_schema.items()
    }
    return {REMEMBERED: {"config": options, "payload_schema": indexes}}


def _vectors_config(vectors: JsonObject) -> models.VectorParams | dict[str, models.VectorParams]:
    if is_flat(vectors):
        return models.VectorParams.model_validate(vectors)
    return {name: models.VectorParams.model_validate(params) for name, params in vectors.items()}


def _sparse_config(sparse: JsonObject) -> dict[str, models.SparseVectorParams] | None:
    return {name: models.SparseVectorParams.model_validate(params) for name, params in sparse.items()} or None


def _as_stored(sparse: JsonObject) -> JsonObject:
    """The options that a sparse vector was added with, in the form of a GET."""
    shown = {key: value for key, value in sparse.items() if key != "datatype"}
    return shown | ({"index": {"datatype": sparse["datatype"]}} if "datatype" in sparse else {})


def _create_alias_action(alias: str, collection: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=collection))


def _delete_alias_action(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def _through_json(payload: JsonObject) -> JsonObject:
    """As a server would receive it. Raises Rejected for what JSON cannot hold."""
    arrived: JsonObject = orjson.loads(wire.dumps(payload))
    return arrived


def _ids(ids: Sequence[PointId]) -> list[int | str]:
    return [wire.id_json(point_id) for point_id in ids]


def _filter(where: JsonObject | None) -> models.Filter | None:
    return None if where is None else models.Filter.model_validate(where)


def _client_vectors(point: PointData) -> dict[str, Any]:
    return {name: _client_vector(vector) for name, vector in point.vectors.items()}


def _client_vector(vector: VectorData) -> Any:
    if isinstance(vector, Sparse):
        return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
    return vector.tolist()


def _parse_record(record: models.Record) -> StoredPoint:
    return wire.parse_point(record.model_dump(mode="json"))

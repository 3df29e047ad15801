"""`vectorops export`: from a Qdrant that exists to the manifests that declare it. Reads, and writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.pointset import MAX_POINTS
from vectorops.api.reasons import Reason
from vectorops.errors import Rejected, Terminal
from vectorops.ledger.collection import ledger_collections, ledgers_of
from vectorops.local.export_manifests import (
    ExportedManifest,
    NotExportable,
    collection_manifest,
    connection_manifest,
    file_manifest,
    point_set_manifest,
    resource_names,
    shard_key_refusal,
)
from vectorops.local.export_yaml import to_yaml
from vectorops.local.session import read_only
from vectorops.points.schema import PointSchema, point_schema
from vectorops.qdrant.connect import Credentials, connect, require_supported
from vectorops.qdrant.database import Database
from vectorops.qdrant.observe import Observed, observe
from vectorops.qdrant.visibility import hidden_points
from vectorops.reconcilers.dependencies import UNMANAGED, holds_ledgers
from vectorops.sources.installed import require_installed

LEDGERS: Final = "VectorOps keeps its ledgers in it"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    collections: Sequence[str] = ()
    """Names in Qdrant; empty means all."""
    points: bool = False
    """Also the points?"""
    folder: Path | None = None
    """Of the manifests, and of the Parquet files with the points that no manifest can hold; None: there is none."""
    namespace: str | None = None
    """Of the manifests; None leaves it out."""
    connection: str = "qdrant"
    """Name of the QdrantConnection."""


@dataclass(slots=True)
class Exported:
    """What was found."""

    manifests: list[ExportedManifest] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    """What was left out and changes nothing by that; one line each."""
    refused: list[str] = field(default_factory=list)
    """What exists and is not declared by the manifests; one line each."""

    def add(self, exported: ExportedManifest) -> None:
        self.manifests.append(exported)
        self.notices += exported.notices

    def yaml(self) -> str:
        """The manifests. The same database gives the same text."""
        return to_yaml((one.comment, one.manifest) for one in self.manifests)


async def export(options: ExportOptions) -> Exported:
    """Reads what there is.

    Raises NotExportable if no connection can have this name, namespace or URL; what `Database` raises; Terminal
    UnsupportedVersion.
    """
    found = Exported()
    found.add(
        connection_manifest(options.connection, options.url, options.namespace, has_key=options.api_key is not None)
    )
    async with _opened(options) as database:
        there = sorted(await database.collection_names())
        aliases = await database.aliases()
        names = resource_names(there)
        ledgers = await ledger_collections(database)
        for name in sorted(set(options.collections)) or there:
            if name in names:
                await _export_collection(database, options, name, names, ledgers, found)
            else:
                leads = f"it is an alias of {aliases[name]!r}" if name in aliases else "there is none"
                found.refused.append(f"collection {name!r}: {leads}")
    return found


@asynccontextmanager
async def _opened(options: ExportOptions) -> AsyncIterator[Database]:
    spec = QdrantConnectionSpec(url=options.url, prefer_grpc=False)
    opened = connect(spec, Credentials(api_key=options.api_key))
    try:
        require_supported(await opened.check())
        yield read_only(opened)
    finally:
        await opened.close()


async def _export_collection(
    database: Database,
    options: ExportOptions,
    name: str,
    names: Mapping[str, str],
    ledgers: Sequence[str],
    found: Exported,
) -> None:
    try:
        observed = await observe(database, name)
    except Terminal as error:
        if isinstance(error, Rejected):
            raise
        words = LEDGERS if error.reason is Reason.OWNED_BY_ANOTHER else error.message
        found.notices.append(f"collection {name!r}: left out: {words}")
        return
    if await holds_ledgers(database, observed):
        found.notices.append(f"collection {name!r}: left out: {LEDGERS}")
        return
    if not observed.exists:
        found.notices.append(f"collection {name!r}: left out: it was deleted meanwhile")
        return
    if observed.mark is not None and not observed.mark.released:
        found.notices.append(f"collection {name!r}: left out: {observed.mark.owner} declares it")
        return
    # A collection that its user manages carries no mark; the ledgers of its sets name it.
    for ledger in ledgers:
        for key in await ledgers_of(database, ledger, name, ""):
            if key.incarnation == UNMANAGED:
                words = f"{key.point_set} of installation {key.installation!r} keeps points in it, so it is declared"
                found.notices.append(f"collection {name!r}: left out: {words}")
                return
    try:
        found.add(
            collection_manifest(
                observed, names[name], options.connection, options.namespace, version=database.info.version
            )
        )
    except NotExportable as error:
        found.refused.append(str(error))
        return
    if options.points:
        await _export_points(database, options, observed, names[name], found)


async def _export_points(
    database: Database, options: ExportOptions, observed: Observed, resource: str, found: Exported
) -> None:
    collection = observed.name
    described = await database.collection(collection)
    if described is None:
        return
    if hidden_points(described):
        words = "Qdrant hides some of its points until it has optimized them, so none is exported; try again later"
        found.refused.append(f"collection {collection!r}: {words}")
        return
    schema = point_schema(observed)
    sets: dict[str, str | None] = {resource: None}
    if observed.is_sharded_by_key:
        found.refused += filter(None, (shard_key_refusal(collection, key) for key in observed.shard_keys))
        keys = [key for key in observed.shard_keys if isinstance(key, str)]
        made = resource_names(f"{resource}-{key}" for key in keys)
        sets = {made[f"{resource}-{key}"]: key for key in sorted(keys)}
    for name, key in sets.items():
        reader = database.with_shard_key(collection, key) if key is not None else database
        try:
            await _export_set(reader, options, (collection, resource), schema, name, key, found)
        except Rejected as error:
            found.refused.append(f"collection {collection!r}: its points cannot be read: {error.message}")
        except NotExportable as error:
            found.refused.append(f"{error}; its points are not exported")


async def _export_set(
    reader: Database,
    options: ExportOptions,
    collection: tuple[str, str],
    schema: PointSchema,
    name: str,
    key: str | None,
    found: Exported,
) -> None:
    """collection: its name in Qdrant, and its resource's. name: of the set. key: shard key."""
    in_qdrant, namespace = collection[0], options.namespace
    ids = [point.id for point in await reader.scroll(in_qdrant, limit=MAX_POINTS + 1)]
    try:
        points = (await reader.points(in_qdrant, ids, payload=True, vectors=True)).values()
        if points:
            found.add(point_set_manifest(list(points), schema, name, collection, namespace, shard_key=key))
        return
    except NotExportable as error:
        if options.folder is None:
            raise NotExportable(f"{error} (a file would hold them: --output FILE)") from None
    require_installed()
    # Only now, because it needs the libraries of the extra `sources`.
    from vectorops.local.export_parquet import find_ids, mapping_of, write_parquet

    kinds = await find_ids(reader, in_qdrant)
    path = options.folder / f"{name}.parquet"
    await write_parquet(reader, in_qdrant, schema, kinds, path, f"collection {in_qdrant!r}")
    found.add(file_manifest(path.name, mapping_of(schema, kinds), name, collection, namespace, key))

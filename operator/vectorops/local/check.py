"""`vectorops check`: the checks of collections, run on what their names lead to in Qdrant now. Nothing is written."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vectorops.api.checks import ChecksStatus
from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.kinds import CONNECTION_KINDS
from vectorops.api.meta import QDRANT_COLLECTION, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, VectorOpsError
from vectorops.local.manifests import Manifests
from vectorops.local.runner import Runner
from vectorops.local.session import Options, open_session
from vectorops.qdrant.database import Database
from vectorops.qdrant.observe import Observed, read_collection
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.checking import run_checks
from vectorops.reconcilers.dependencies import require_access
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.reconcilers.spec import RawSpec, parse
from vectorops.reconciliation import reconciling


@dataclass(frozen=True, slots=True)
class CheckReport:
    """How the checks of one collection came out. `-o json` prints these."""

    namespace: str
    name: str
    checks: ChecksStatus | None
    """None if they could not be run."""
    problem: str | None = None
    """Why, with the reason before it."""

    @property
    def passed(self) -> bool:
        return self.checks is not None and self.checks.result == "Passed"


def checked_collections(manifests: Manifests) -> list[Resource]:
    """The QdrantCollections of the files that declare checks."""
    found = [one for ref, one in manifests.resources.items() if ref.kind == QDRANT_COLLECTION]
    return [one for one in found if one.spec.get("checks")]


async def run_declared_checks(manifests: Manifests, options: Options, *, old: str | None) -> list[CheckReport]:
    """The checks of each collection that declares some. old: another collection, or an alias, to compare with."""
    until = asyncio.get_running_loop().time() + options.timeout_seconds
    async with open_session(manifests, options, read_only=True) as opened:
        await Runner(opened.cluster, Driver(opened.context, RECONCILERS)).run(until, kinds=CONNECTION_KINDS)
        reports = []
        for collection in checked_collections(manifests):
            meta = collection.meta
            try:
                with reconciling(str(collection.ref)):
                    status = await check_collection(opened.context, collection, old)
                reports.append(CheckReport(meta.namespace, meta.name, status))
            except VectorOpsError as error:
                words = f"{error.reason.value}: {error.message}"
                reports.append(CheckReport(meta.namespace, meta.name, None, words))
        return reports


async def check_collection(context: Context, collection: Resource, old: str | None) -> ChecksStatus:
    """The checks of one collection. old: see `run_declared_checks`. Raises what `run_checks` raises, and
    `require_access`.
    """
    spec = parse(QdrantCollectionSpec, collection)
    assert spec.checks is not None, "only those that declare some"
    database = (await require_access(context, collection)).database
    new = await read_served(database, RawSpec(collection).collection_name)
    before = await read_served(database, old) if old is not None else None
    if before is not None and before.name == new.name:
        words = f"--old: {old!r} is the collection that is checked, {new.name!r}; name another one"
        raise Terminal(Reason.INVALID_SPEC, words)
    return await run_checks(context, collection, spec.checks, database, new=new, old=before)


async def read_served(database: Database, name: str) -> Observed:
    """The physical collection that readers reach by a name or an alias. Raises Terminal CollectionNotFound."""
    physical = (await database.aliases()).get(name, name)
    found = await read_collection(database, physical)
    if not found.exists:
        raise Terminal(Reason.COLLECTION_NOT_FOUND, f"there is no collection and no alias {name!r} in Qdrant")
    return found

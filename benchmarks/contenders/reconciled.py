"""VectorOps: one reconciliation of a PointSet, as the operator carries it out, without an API server.

Each call is a new process, so nothing is remembered but what Kubernetes and Qdrant keep: the status, here a file. TASK
also has: manifest (connection, collection and set).
"""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import yaml
from clock import TASK, clock

# Imports are no part of what is measured.
import vectorops.formats.parquet
import vectorops.reconcilers.sourced  # noqa: F401
from vectorops.api.meta import ObjectMeta, Ref, Resource
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.garbage import search_seldom
from vectorops.local.cluster import LocalCluster
from vectorops.points.verification import Verification
from vectorops.qdrant.connect import connect
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.sources.source_settings import SourceSettings

NAMESPACE = "benchmark"
FOLDER = Path(TASK["folder"])


async def main() -> None:
    """Reconciles what the set needs, and then the set."""
    kept = FOLDER / f"{TASK['manifest']}.status.json"
    statuses = json.loads(kept.read_text()) if kept.exists() else {}
    resources = [
        Resource(
            each["kind"],
            ObjectMeta(name=each["metadata"]["name"], namespace=NAMESPACE, uid=each["kind"], generation=1),
            each["spec"],
            statuses.get(f"{each['kind']}/{each['metadata']['name']}", {}),
        )
        for each in yaml.safe_load_all((FOLDER / TASK["manifest"]).read_text())
    ]
    cluster, databases = LocalCluster(resources, {}), Databases(connect)
    files = SourceSettings(manifest_folders={each.ref: FOLDER for each in resources})
    context = Context(
        cluster,
        databases,
        Embedders(EmbedderSettings()),
        "benchmark",
        "writer",
        verification=Verification(),
        sources=files,
    )
    driver = Driver(context, RECONCILERS)
    *others, points = [each.ref for each in resources]
    for ref in others:
        await run(driver, ref)
    if not statuses:
        # The first reconciliation writes into the status where the points will be.
        await driver.run(points)
    gc.freeze()
    with clock():
        await run(driver, points)
    now = {f"{ref.kind}/{ref.name}": resource.status for ref in cluster.refs if (resource := cluster.now(ref))}
    kept.write_text(json.dumps(now))
    await databases.close_all()


async def run(driver: Driver, ref: Ref) -> None:
    """Raises SystemExit if it is not Ready then."""
    verdict = await driver.run(ref)
    ready = next((one for one in (verdict.status or {}).get("conditions", ()) if one["type"] == "Ready"), None)
    if ready is None or ready["status"] != "True":
        raise SystemExit(f"{ref}: {ready}")


if __name__ == "__main__":
    search_seldom()
    asyncio.run(main())

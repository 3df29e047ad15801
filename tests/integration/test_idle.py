"""An operator with nothing to do: it looks at everything again and again, and writes nothing, neither to the API server
nor to Qdrant. `benchmarks/idle.py` shows the same for minutes, with the settings that ship, and what it costs.
"""

import asyncio
import re
import time
from pathlib import Path

from integration.conftest import StartOperator, StartQdrant
from integration.world import collection, connection, point, point_set
from servers.kubeapi import KubeApi, Object, TimedOut, is_ready
from servers.models import minilm
from servers.operator import OperatorProcess

COLLECTIONS = 33
BEHIND_ALIASES = 20
"""Of these collections."""
SETS_EACH = 2
IDLE_SECONDS = 20.0
RESYNC_SECONDS = 5.0
RESYNCS = 100


async def test_hundred_resources_that_are_ready_are_looked_at_again_and_nothing_is_written(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator
) -> None:
    """Peers write `lastSyncTime`, or wake themselves with their own status."""
    qdrant = start_qdrant()
    operator = start_operator(flags=[f"--resync-seconds={RESYNC_SECONDS:g}"])
    resources = a_hundred(namespace, connection(namespace, qdrant))
    await asyncio.gather(*map(api.apply, resources))
    await all_ready(api, namespace, len(resources))

    looked_at, versions = looks(operator), await resource_versions(api, namespace)
    written, failed = qdrant.telemetry_writes_by_endpoint(), failures(operator)
    await asyncio.sleep(IDLE_SECONDS)

    assert await resource_versions(api, namespace) == versions
    assert qdrant.telemetry_writes_by_endpoint() == written
    assert failures(operator) == failed
    # It was idle, not dead: each had its turn in at least one whole period that lies within the time.
    assert looks(operator) - looked_at >= len(resources)


async def test_a_hundred_resyncs_of_a_collection_and_its_set_send_no_write_to_qdrant(
    api: KubeApi, namespace: str, start_qdrant: StartQdrant, start_operator: StartOperator, tmp_path: Path
) -> None:
    qdrant = start_qdrant()
    start_operator(flags=["--offline", f"--model-folder={tmp_path}"])
    name, embedder = f"idle-{namespace}", {"sentenceTransformers": {"model": minilm(tmp_path)}}
    for resource in (
        connection(namespace, qdrant),
        collection(
            namespace,
            name,
            vectors=[{"name": "text", "size": 3, "distance": "Dot"}, {"name": "words", "embedder": embedder}],
            payloadIndexes=[{"field": "author", "schema": {"type": "keyword", "is_tenant": True}}],
            aliases=[f"alias-{namespace}"],
            hnswConfig={"m": 24},
            quantizationConfig={"scalar": {"type": "int8"}},
        ),
        point_set(namespace, "notes", name, [point(1, text=[1, 0, 0], payload={"author": "a", "score": 0.1})]),
    ):
        await api.apply(resource)
    await api.wait_for("PointSet", namespace, "notes", is_ready)
    await api.wait_for("QdrantCollection", namespace, name, is_ready)
    written = qdrant.telemetry_writes_by_endpoint()

    for resync in range(RESYNCS):
        await asyncio.gather(
            looked_at_again(api, "QdrantCollection", namespace, name, f"{resync}"),
            looked_at_again(api, "PointSet", namespace, "notes", f"{resync}"),
        )

    assert qdrant.telemetry_writes_by_endpoint() == written


def a_hundred(namespace: str, its_connection: Object) -> list[Object]:
    """One connection, collections on it, and small sets in each."""
    layouts = ["Aliased"] * BEHIND_ALIASES + ["Direct"] * (COLLECTIONS - BEHIND_ALIASES)
    collections = [collection(namespace, f"c{n}", aliases=[f"a{n}"], layout=layout) for n, layout in enumerate(layouts)]
    sets = [
        point_set(namespace, f"c{n}-{k}", f"c{n}", [point(10 * k + i, i, k, 1, payload={"n": n}) for i in range(3)])
        for n in range(COLLECTIONS)
        for k in range(SETS_EACH)
    ]
    return [its_connection, *collections, *sets]


async def all_ready(api: KubeApi, namespace: str, count: int) -> None:
    """Wait until all resources of the namespace are Ready."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = await everything(api, namespace)
        late = [f"{one['kind']} {one['metadata']['name']}" for one in found if not is_ready(one)]
        if len(found) == count and not late:
            return
        await asyncio.sleep(0.5)
    raise TimedOut(f"not ready after 60 s: {', '.join(late)}")


async def everything(api: KubeApi, namespace: str) -> list[Object]:
    """All resources of ours in a namespace."""
    kinds = ("QdrantConnection", "QdrantCollection", "PointSet")
    return [found for kind in kinds for found in await api.list(kind, namespace)]


async def resource_versions(api: KubeApi, namespace: str) -> dict[tuple[str, str], str]:
    """What any write, even one that changes nothing that we look at, would move."""
    return {
        (found["kind"], found["metadata"]["name"]): found["metadata"]["resourceVersion"]
        for found in await everything(api, namespace)
    }


async def looked_at_again(api: KubeApi, kind: str, namespace: str, name: str, token: str) -> None:
    """Ask for a look, and wait for the answer."""
    await api.annotate(kind, namespace, name, {"vectorops.dev/reconcile": token})
    await api.wait_for(
        kind, namespace, name, lambda found: is_ready(found) and found["status"].get("lastHandledReconcileAt") == token
    )


def looks(operator: OperatorProcess) -> float:
    """How many reconciliations have ended."""
    return _sum_of(operator, r"vectorops_reconcile_total\{.*\}")


def failures(operator: OperatorProcess) -> float:
    """How many of them failed."""
    return _sum_of(operator, r"vectorops_reconcile_errors_total\{.*\}")


def _sum_of(operator: OperatorProcess, series: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{series} (\S+)$", operator.metrics(), re.MULTILINE))

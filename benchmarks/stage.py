"""What the benchmarks that run the operator have in common: its servers, and what they read off it.

The servers are those of the integration tests, each fresh in a temporary folder. See README.md for how to run them.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.operator import OperatorProcess
from servers.qdrant import QdrantServer

CRDS = Path(__file__).parents[1] / "crds"
KINDS = ("QdrantConnection", "QdrantCollection", "PointSet")


@dataclass(frozen=True)
class Stage:
    """An API server, a Qdrant and an operator, all for one benchmark. folder: for what else it needs."""

    folder: Path
    kube: KubeServer
    api: KubeApi
    qdrant: QdrantServer
    operator: OperatorProcess
    namespace: str

    def resource(self, kind: str, name: str, **spec: object) -> Object:
        """A resource as its YAML would say."""
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "vectorops.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

    def connection(self) -> Object:
        """The connection `main`."""
        return self.resource("QdrantConnection", "main", url=self.qdrant.url, grpcPort=self.qdrant.grpc_port)

    async def all(self) -> list[Object]:
        """All resources of ours, as they are now."""
        return [found for kind in KINDS for found in await self.api.list(kind, self.namespace)]

    async def resource_versions(self) -> dict[tuple[str, str], str]:
        """What every write to a resource moves."""
        found = await self.all()
        return {(one["kind"], one["metadata"]["name"]): one["metadata"]["resourceVersion"] for one in found}

    async def apply_all(self, resources: Iterable[Object], *, at_once: int = 16) -> None:
        """As fast as the API server takes them."""
        limit = asyncio.Semaphore(at_once)

        async def apply(resource: Object) -> None:
            async with limit:
                await self.api.apply(resource)

        await asyncio.gather(*map(apply, resources))

    async def until_ready(self, count: int) -> float:
        """Waits for so many resources, all Ready; returns when that was (`time.perf_counter`)."""

        async def ready() -> bool:
            # Asked first, because listing hundreds of resources takes work from those who make them.
            if sum_of(self.operator, "vectorops_resources", 'ready="True"') < count:
                return False
            found = await self.all()
            return len(found) == count and all(map(is_ready, found))

        await until(ready)
        return time.perf_counter()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Looks twice a second."""
    while not await holds():  # noqa: ASYNC110 - what it waits for is in another process
        await asyncio.sleep(0.5)


@asynccontextmanager
async def raised(*flags: str) -> AsyncIterator[Stage]:
    """A stage whose operator runs with these flags; all is put down and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="vectorops-benchmark-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        crds = [yaml.safe_load(file.read_text()) for file in sorted(CRDS.glob("*.yaml"))]
        kube = KubeServer(folder / "kube", crds)
        stack.callback(kube.stop)
        kube.start()
        qdrant = QdrantServer(folder / "qdrant")
        stack.callback(qdrant.kill)
        qdrant.start()
        async with kube.api() as api:
            namespace = await api.create_namespace("benchmark")
            operator = OperatorProcess(
                folder / "operator",
                kubeconfig=kube.kubeconfig(),
                installation="benchmark",
                namespaces=[namespace],
                flags=flags,
            )
            stack.callback(operator.kill)
            operator.start()
            yield Stage(folder, kube, api, qdrant, operator, namespace)


def sum_of(operator: OperatorProcess, metric: str, labels: str = "") -> float:
    """The sum over the series of a metric. labels: what they must contain, such as `lane="resync"`."""
    series = re.findall(rf"^{metric}(\{{.*\}})? (\S+)$", operator.metrics(), re.MULTILINE)
    return sum(float(value) for names, value in series if labels in names)


@dataclass(frozen=True)
class Use:
    """What a process has used. resident_bytes: memory now."""

    cpu_seconds: float
    resident_bytes: float

    @property
    def resident_mib(self) -> float:
        return self.resident_bytes / 2**20


def measured(operator: OperatorProcess) -> Use:
    """What the operator used until now, as it tells Prometheus."""
    return Use(
        cpu_seconds=sum_of(operator, "process_cpu_seconds_total"),
        resident_bytes=sum_of(operator, "process_resident_memory_bytes"),
    )

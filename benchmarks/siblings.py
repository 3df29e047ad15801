"""What it costs that one of many PointSets of a collection is deleted: requests, looks, and the operator's CPU time.

PYTHONPATH=tests python benchmarks/siblings.py --counts 10,100,500

Each figure is of one deletion, the mean of several, with so many siblings left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields

import typer
from stage import Stage, measured, raised, sum_of

DELETIONS = 5
SETTLE_SECONDS = 3.0
"""After which those who were woken by a deletion have been looked at."""


@dataclass(frozen=True)
class Cost:
    """What was counted, up to now or for one deletion. CPU time is the operator's own."""

    qdrant_requests: float
    kubernetes_requests: float
    looks: float
    cpu_seconds: float

    @classmethod
    def now(cls, stage: Stage) -> Cost:
        return cls(
            sum_of(stage.operator, "vectorops_qdrant_requests_total"),
            sum_of(stage.operator, "vectorops_kubernetes_requests_total"),
            sum_of(stage.operator, "vectorops_reconcile_total"),
            measured(stage.operator).cpu_seconds,
        )

    def since(self, before: Cost, times: int) -> Cost:
        return Cost(*((getattr(self, field.name) - getattr(before, field.name)) / times for field in fields(self)))


async def measure(counts: list[int], points: int) -> None:
    """Prints a line for each count."""
    # A connection looks at its server once a minute, and the deletions of one count take less.
    async with raised("--resync-seconds=3600") as stage:
        await stage.apply_all([stage.connection(), collection(stage)])
        made = 0
        for count in sorted(counts):
            more = range(made, count + DELETIONS)
            await stage.apply_all(point_set(stage, n, points) for n in more)
            await stage.until_ready(2 + count + DELETIONS)
            await asyncio.sleep(SETTLE_SECONDS)
            before = Cost.now(stage)
            for n in range(count, count + DELETIONS):
                await stage.api.delete("PointSet", stage.namespace, f"set-{n}")
                await stage.api.wait_gone("PointSet", stage.namespace, f"set-{n}")
                await asyncio.sleep(SETTLE_SECONDS)
            cost = Cost.now(stage).since(before, DELETIONS)
            print(
                f"{count} siblings of {points} points: {cost.qdrant_requests:.1f} requests to Qdrant, "
                f"{cost.kubernetes_requests:.1f} to Kubernetes, {cost.looks:.1f} looks, {cost.cpu_seconds:.2f} CPU-s"
            )
            made = count


def collection(stage: Stage) -> dict[str, object]:
    """The one that all sets fill."""
    return stage.resource("QdrantCollection", "shared", connectionRef={"name": "main"}, vector={"size": 3})


def point_set(stage: Stage, number: int, points: int) -> dict[str, object]:
    """A set with ids of its own."""
    declared = [{"id": number * points + k, "vector": {"values": [number, k, 1]}} for k in range(points)]
    return stage.resource("PointSet", f"set-{number}", collectionRef={"name": "shared"}, points=declared)


def main(counts: str = "10,100,500", points: int = 10) -> None:
    """Delete one PointSet among ever more siblings."""
    asyncio.run(measure([int(count) for count in counts.split(",")], points))


if __name__ == "__main__":
    typer.run(main)

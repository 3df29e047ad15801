"""How much memory an operator takes to start where there are many large PointSets.

PYTHONPATH=tests python benchmarks/large_sets.py --count 100

Each set has nearly all that etcd takes. With `--synced` the operator writes their points beforehand, so that what is
measured is a restart of an operator whose sets are Ready; else they are suspended: each is read whole all the same, and
compared with nothing.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import typer
from stage import Stage, measured, raised, sum_of, until


async def measure(count: int, points: int, size: int, synced: bool, flags: list[str]) -> None:
    """Prints the figures."""
    async with raised(*flags) as stage:
        await stage.apply_all([stage.connection(), collection(stage, size)])
        await stage.until_ready(2)
        if not synced:
            stage.operator.stop()
        for n in range(count):
            # Not applied: merging so many numbers takes the API server longer than storing them.
            await stage.api.create(large(stage, n, points, size, synced))
        if synced:
            await stage.until_ready(2 + count)
            stage.operator.stop()
        await asyncio.to_thread(stage.operator.start)
        begun = highest_mib(stage)
        await until_looked_at(stage, 2 + count)
        await asyncio.sleep(5)
        use = measured(stage.operator)
        print(
            f"{count} sets of {points} points of {size} components: at most {begun:.0f} MiB when it was ready, at most "
            f"{highest_mib(stage):.0f} MiB until all had been looked at, {use.resident_mib:.0f} MiB then; "
            f"{use.cpu_seconds:.1f} CPU-s"
        )


def collection(stage: Stage, size: int) -> dict[str, object]:
    """The one that all sets fill."""
    return stage.resource("QdrantCollection", "large", connectionRef={"name": "main"}, vector={"size": size})


def large(stage: Stage, number: int, points: int, size: int, synced: bool) -> dict[str, object]:
    """A set with ids of its own, and components as long as those of real models."""
    declared = [
        {
            "id": number * points + k,
            "vector": {"values": [((number * 31 + k * 17 + i) % 9973 + 1) / 9973 for i in range(size)]},
        }
        for k in range(points)
    ]
    spec = {"collectionRef": {"name": "large"}, "points": declared, "suspend": not synced}
    return stage.resource("PointSet", f"large-{number}", **spec)


async def until_looked_at(stage: Stage, count: int) -> None:
    """Waits for so many reconciliations since the start."""

    async def looked_at() -> bool:
        return sum_of(stage.operator, "vectorops_reconcile_total") >= count

    await until(looked_at)


def highest_mib(stage: Stage) -> float:
    """The most memory that the operator's process has had."""
    status = Path(f"/proc/{stage.operator.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) / 1024


def main(
    count: int = 100, points: int = 75, size: int = 768, synced: bool = False, flag: list[str] | None = None
) -> None:
    """Start an operator where there are large sets. `--flag=--workers=1` hands a flag on to it."""
    asyncio.run(measure(count, points, size, synced, flag or []))


if __name__ == "__main__":
    typer.run(main)

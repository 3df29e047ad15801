"""What an operator costs that has nothing to do, and whether it writes anything.

PYTHONPATH=tests python benchmarks/idle.py

100 resources are made Ready; then the operator, with the settings that ship, is watched for three minutes. Exits with 1
if a resourceVersion moved or Qdrant answered a write. With `--resync-seconds 30` all resources are also compared again,
some five times.
"""

from __future__ import annotations

import asyncio
import sys

import typer
from stage import Stage, measured, raised, sum_of


async def measure(minutes: float, collections: int, sets_each: int, resync_seconds: float) -> bool:
    """Prints the figures; returns whether it was idle indeed."""
    async with raised(f"--resync-seconds={resync_seconds:g}") as stage:
        bare = measured(stage.operator)
        await stage.apply_all(resources(stage, collections, sets_each))
        count = 1 + collections * (1 + sets_each)
        await stage.until_ready(count)
        # What the last of them woke has been looked at by then.
        await asyncio.sleep(2)

        before, versions = measured(stage.operator), await stage.resource_versions()
        written, looks = stage.qdrant.telemetry_writes(), sum_of(stage.operator, "vectorops_reconcile_total")
        await asyncio.sleep(minutes * 60)
        after, now = measured(stage.operator), await stage.resource_versions()

        moved = [key for key in versions if now.get(key) != versions[key]]
        writes = stage.qdrant.telemetry_writes() - written
        looked = sum_of(stage.operator, "vectorops_reconcile_total") - looks
        used = after.cpu_seconds - before.cpu_seconds
        print(f"{count} resources, idle for {minutes:g} minutes, {looked:.0f} reconciliations meanwhile")
        print(f"resourceVersions that moved: {len(moved)}; writes that Qdrant answered: {writes}")
        print(f"operator: {used:.2f} CPU-s ({used / minutes / 60:.2%} of a core)")
        print(
            f"operator: {bare.resident_mib:.0f} MiB resident without resources, {before.resident_mib:.0f} MiB when "
            f"all were Ready, {after.resident_mib:.0f} MiB at the end"
        )
        return not moved and not writes


def resources(stage: Stage, collections: int, sets_each: int) -> list[dict[str, object]]:
    """One connection, collections on it, small sets in each."""
    made = [stage.connection()]
    for n in range(collections):
        made.append(stage.resource("QdrantCollection", f"c{n}", connectionRef={"name": "main"}, vector={"size": 3}))
        for k in range(sets_each):
            points = [{"id": 10 * k + i, "vector": {"values": [i, k, 1]}, "payload": {"n": n}} for i in range(3)]
            made.append(stage.resource("PointSet", f"c{n}-{k}", collectionRef={"name": f"c{n}"}, points=points))
    return made


def main(minutes: float = 3.0, collections: int = 33, sets_each: int = 2, resync_seconds: float = 600.0) -> None:
    """Watch an idle operator."""
    sys.exit(not asyncio.run(measure(minutes, collections, sets_each, resync_seconds)))


if __name__ == "__main__":
    typer.run(main)

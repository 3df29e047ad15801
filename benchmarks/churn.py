"""Whether memory grows while resources come and go.

PYTHONPATH=tests python benchmarks/churn.py

20 PointSets are made and deleted again and again; the resident memory of the operator is printed as it goes. The first
rounds warm up; what counts is the growth from the first third to the end.
"""

from __future__ import annotations

import asyncio
import time

import typer
from stage import Stage, measured, raised


async def measure(minutes: float, sets: int, points: int) -> None:
    """Prints memory and CPU over the rounds."""
    async with raised() as stage:
        await stage.apply_all(
            [
                stage.connection(),
                stage.resource("QdrantCollection", "zoo", connectionRef={"name": "main"}, vector={"size": 64}),
            ]
        )
        await stage.until_ready(2)
        begin, rounds, seen = time.perf_counter(), 0, []
        while (passed := time.perf_counter() - begin) < minutes * 60:
            await one_round(stage, sets, points)
            rounds += 1
            seen.append((passed, measured(stage.operator).resident_mib))
        first = next((resident for passed, resident in seen if passed >= minutes * 20), seen[-1][1])
        for passed, resident in seen[:: max(1, len(seen) // 12)]:
            print(f"  {passed:5.0f} s  {resident:6.1f} MiB")
        last = seen[-1][1]
        print(
            f"{rounds} rounds of {sets} sets: {seen[0][1]:.1f} MiB after the first, {first:.1f} MiB after a third of "
            f"the time, {last:.1f} MiB at the end; {(last - first) * 1024 / (rounds * sets * 2 / 3):.2f} KiB a set; "
            f"{measured(stage.operator).cpu_seconds:.0f} CPU-s in all"
        )


async def one_round(stage: Stage, sets: int, points: int) -> None:
    """Makes all sets, waits until they are Ready, deletes them, waits until they are gone."""
    await stage.apply_all(point_set(stage, n, points) for n in range(sets))
    await stage.until_ready(2 + sets)
    await asyncio.gather(*(stage.api.delete("PointSet", stage.namespace, f"set-{n}") for n in range(sets)))
    await stage.until_ready(2)


def point_set(stage: Stage, number: int, points: int) -> dict[str, object]:
    """A set with ids of its own."""
    declared = [
        {"id": number * points + n, "vector": {"values": [n / 7.0] * 64}, "payload": {"n": n}} for n in range(points)
    ]
    return stage.resource("PointSet", f"set-{number}", collectionRef={"name": "zoo"}, points=declared)


def main(minutes: float = 3.0, sets: int = 20, points: int = 20) -> None:
    """Watch the memory of an operator whose resources come and go."""
    asyncio.run(measure(minutes, sets, points))


if __name__ == "__main__":
    typer.run(main)

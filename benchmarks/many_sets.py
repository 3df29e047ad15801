"""How long many small PointSets take that are applied at once, and how soon a new one is picked up among them.

    PYTHONPATH=tests python benchmarks/many_sets.py [--sets 300] [--points 100] [--tries 20]

First the same points by the plain client, a set after another. Then the time from `apply` to Ready of a new set, while
the operator has nothing else; all sets at once; and, when all are Ready, that of a new set again.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import numpy as np
import typer
from qdrant_client import QdrantClient, models
from stage import Stage, measured, raised

from servers.kubeapi import Object, is_ready

SIZE = 16


def vectors_of(number: int, points: int) -> list[list[float]]:
    """Of one set."""
    found: list[list[float]] = np.random.default_rng(number).uniform(-1, 1, (points, SIZE)).round(4).tolist()
    return found


def point_set(stage: Stage, name: str, number: int, points: int, collections: int) -> Object:
    """Number: of the set; no two have points of the same ids."""
    declared = [
        {"id": number * points + n, "vector": {"values": vector}, "payload": {"set": number, "n": n}}
        for n, vector in enumerate(vectors_of(number, points))
    ]
    return stage.resource("PointSet", name, collectionRef={"name": f"c{number % collections}"}, points=declared)


def bare_loop(stage: Stage, sets: int, points: int) -> float:
    """Seconds of the client alone, one upsert for each set."""
    client = QdrantClient(
        url=stage.qdrant.url, grpc_port=stage.qdrant.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    client.create_collection("bare", models.VectorParams(size=SIZE, distance=models.Distance.COSINE))
    begin = time.perf_counter()
    for number in range(sets):
        declared = [
            models.PointStruct(id=number * points + n, vector=vector, payload={"set": number, "n": n})
            for n, vector in enumerate(vectors_of(number, points))
        ]
        client.upsert("bare", declared, wait=True)
    seconds = time.perf_counter() - begin
    client.close()
    return seconds


async def picked_up(stage: Stage, first: int, points: int, collections: int, tries: int) -> list[float]:
    """Seconds from `apply` to Ready of one new set after another. first: the number of the first of them."""
    seconds = []
    for number in range(first, first + tries):
        declared = point_set(stage, f"new-{number}", number, points, collections)
        begin = time.perf_counter()
        await stage.api.apply(declared)
        await stage.api.wait_for("PointSet", stage.namespace, f"new-{number}", is_ready)
        seconds.append(time.perf_counter() - begin)
    return seconds


async def measure(sets: int, points: int, collections: int, tries: int) -> None:
    """Prints the figures."""
    async with raised() as stage:
        bare = bare_loop(stage, sets, points)
        made = [
            stage.resource("QdrantCollection", f"c{n}", connectionRef={"name": "main"}, vector={"size": SIZE})
            for n in range(collections)
        ]
        await stage.apply_all([stage.connection(), *made])
        await stage.until_ready(1 + collections)
        alone = await picked_up(stage, sets, points, collections, tries)

        before, begin = measured(stage.operator), time.perf_counter()
        await stage.apply_all(point_set(stage, f"set-{n}", n, points, collections) for n in range(sets))
        applied = time.perf_counter() - begin
        seconds = await stage.until_ready(1 + collections + tries + sets) - begin
        after = measured(stage.operator)
        print(
            f"{sets} sets of {points} points: applied after {applied:.1f} s, all Ready after {seconds:.1f} s, "
            f"{seconds / bare:.2f} times as long as the plain client ({bare:.1f} s); operator: "
            f"{after.cpu_seconds - before.cpu_seconds:.1f} CPU-s, {after.resident_mib:.0f} MiB"
        )
        among = await picked_up(stage, sets + tries, points, collections, tries)
        one, other = (statistics.quantiles(found, n=20)[-1] for found in (alone, among))
        print(
            f"a new set: Ready after {statistics.median(alone):.3f} s (p95 {one:.3f} s) alone, "
            f"{statistics.median(among):.3f} s (p95 {other:.3f} s) among {sets} that are Ready: p95 "
            f"{other / one:.2f} times as long ({tries} tries each)"
        )


def main(sets: int = 300, points: int = 100, collections: int = 10, tries: int = 20) -> None:
    """Measure many small sets."""
    asyncio.run(measure(sets, points, collections, tries))


if __name__ == "__main__":
    typer.run(main)

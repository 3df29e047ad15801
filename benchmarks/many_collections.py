"""How long 300 collections take that are applied at once, against a bare loop of qdrant-client's `create_collection`.

PYTHONPATH=tests python benchmarks/many_collections.py

Each has a fresh Qdrant. Half of the bare loop runs before the operator does its part and half after, because what else
the machine does (creating a collection waits for the disk) changes from minute to minute. Then, with resyncs of all 300
queued, one new collection is applied: how long until it is Ready?
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack

import typer
from qdrant_client import QdrantClient, models
from stage import Stage, measured, raised, sum_of, until

from servers.kubeapi import is_ready
from servers.qdrant import QdrantServer


def bare_loop(server: QdrantServer, numbers: range) -> float:
    """Seconds for the client alone, one after another."""
    client = QdrantClient(url=server.url, check_compatibility=False)
    begin = time.perf_counter()
    for n in numbers:
        client.create_collection(f"c{n}", vectors_config=models.VectorParams(size=384, distance=models.Distance.COSINE))
    seconds = time.perf_counter() - begin
    client.close()
    return seconds


def declared(stage: Stage, name: str) -> dict[str, object]:
    """The same collection as a resource."""
    vector = {"size": 384, "distance": "Cosine"}
    return stage.resource("QdrantCollection", name, connectionRef={"name": "main"}, vector=vector)


async def through_operator(stage: Stage, count: int) -> float:
    """Seconds from the first apply until all are Ready."""
    begin = time.perf_counter()
    await stage.apply_all([stage.connection(), *(declared(stage, f"c{n}") for n in range(count))])
    applied = time.perf_counter() - begin
    seconds = await stage.until_ready(count + 1) - begin
    print(f"  applied after {applied:.1f} s, all Ready after {seconds:.1f} s")
    return seconds


async def behind_resyncs(stage: Stage, count: int, tries: int) -> None:
    """A new collection while the queue is never empty: all others are due each second, more than can be looked at."""
    stage.operator.stop()
    stage.operator.command.append("--resync-seconds=1")
    stage.operator.start()
    seconds, depths = [], []

    def waiting() -> float:
        return sum_of(stage.operator, "vectorops_queue_depth", 'lane="resync"')

    async def queue_is_long() -> bool:
        return waiting() > count / 2

    for attempt in range(tries):
        await until(queue_is_long)
        depths.append(waiting())
        begin = time.perf_counter()
        await stage.api.apply(declared(stage, f"new-{attempt}"))
        await stage.api.wait_for("QdrantCollection", stage.namespace, f"new-{attempt}", is_ready)
        seconds.append(time.perf_counter() - begin)
    print(
        f"one new collection behind {min(depths):.0f} to {max(depths):.0f} waiting resyncs: Ready after "
        f"{statistics.median(seconds):.2f} s (median of {tries}; longest {max(seconds):.2f} s)"
    )


async def measure(count: int, rounds: int, tries: int) -> None:
    """Runs both ways in turn."""
    bare, through = [], []
    for round_number in range(rounds):
        async with raised() as stage, AsyncExitStack() as stack:
            server = QdrantServer(stage.folder / "bare")
            stack.callback(server.kill)
            server.start()
            first = bare_loop(server, range(count // 2))
            before = measured(stage.operator)
            through.append(await through_operator(stage, count))
            used = measured(stage.operator).cpu_seconds - before.cpu_seconds
            print(f"  operator: {used:.1f} CPU-s, {measured(stage.operator).resident_mib:.0f} MiB")
            last = bare_loop(server, range(count // 2, count))
            bare.append(first + last)
            ratio = through[-1] / bare[-1]
            print(f"round {round_number + 1}: bare loop {first:.1f} s + {last:.1f} s, ratio {ratio:.2f}", flush=True)
            if round_number == rounds - 1 and tries:
                await behind_resyncs(stage, count, tries)
    one, other = statistics.median(bare), statistics.median(through)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(through, bare, strict=True))
    print(
        f"{count} collections: bare loop {one:.1f} s, through the operator {other:.1f} s, ratio {ratio:.2f} (medians)"
    )


def main(count: int = 300, rounds: int = 3, tries: int = 5) -> None:
    """Measure many collections at once."""
    asyncio.run(measure(count, rounds, tries))


if __name__ == "__main__":
    typer.run(main)

"""How long nobody works when the leader of two replicas goes: until the other one's first reconciliation has ended.

PYTHONPATH=tests python benchmarks/handover.py

Two operators with the lease that ships (15 s) take turns: the leader is asked to end (SIGTERM), or killed (SIGKILL) and
its Lease has to run out. The one that went is started again and stands by for the next round.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import time

import typer
from stage import Stage, raised, sum_of

from servers.operator import OperatorProcess


async def measure(rounds: int, lease_seconds: int) -> None:
    """Prints the figures."""
    flags = ("--lease-name=operator", "--lease-namespace=default", f"--lease-seconds={lease_seconds}")
    async with raised(*flags) as stage:
        await stage.apply_all([stage.connection()])
        await stage.until_ready(1)
        leader, standby = stage.operator, twin(stage)
        try:
            for number, words in ((signal.SIGTERM, "asked to end"), (signal.SIGKILL, "killed")):
                took = []
                for _ in range(rounds):
                    took.append(await handed_over(leader, standby, number))
                    leader, standby = standby, leader
                    standby.start()
                    # Long enough that it has seen the Lease and renewals are at any point of their interval.
                    await asyncio.sleep(lease_seconds / 6 * 1.3)
                print(
                    f"{words}: {min(took):.1f} to {max(took):.1f} s, median {statistics.median(took):.1f} s "
                    f"({rounds} rounds, lease of {lease_seconds} s)"
                )
        finally:
            standby.kill()
            leader.kill()


def twin(stage: Stage) -> OperatorProcess:
    """Another replica of the same installation, standing by."""
    made = OperatorProcess(
        stage.folder / "twin",
        kubeconfig=stage.kube.kubeconfig(),
        installation="benchmark",
        namespaces=[stage.namespace],
        flags=[flag for flag in stage.operator.command if flag.startswith("--lease")],
    )
    made.start()
    return made


async def handed_over(leader: OperatorProcess, standby: OperatorProcess, number: signal.Signals) -> float:
    """Seconds from the signal to the end of the other's first reconciliation."""
    began = time.perf_counter()
    leader.signal(number)
    while not sum_of(standby, "vectorops_reconcile_total"):  # noqa: ASYNC110 - it is in another process
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began
    leader.wait(within_seconds=30)
    return took


def main(rounds: int = 10, lease_seconds: int = 15) -> None:
    """Measure how long a hand-over takes."""
    asyncio.run(measure(rounds, lease_seconds))


if __name__ == "__main__":
    typer.run(main)

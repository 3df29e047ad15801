"""The operator as its own process, as in a cluster: `vectorops run` with a kubeconfig and flags, ended by signals only.

The fixture `start_operator` makes one and stops it after the test.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx

from servers.forks import SAVE_AND_END, can_fork, fork
from servers.process import Process, Running, free_port


class OperatorProcess(Process):
    """`vectorops run`, started when it says that it is ready: it has listed all resources.

    health_url: `http://127.0.0.1:PORT`, for `/healthz` and `/readyz`. metrics_url: Prometheus text.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kubeconfig: Path,
        installation: str,
        namespaces: Iterable[str],
        flags: Iterable[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Namespaces: those it watches; none means all."""
        folder.mkdir(parents=True, exist_ok=True)
        health_port, metrics_port = free_port(), free_port()
        self.health_url = f"http://127.0.0.1:{health_port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        command = [
            sys.executable,
            "-m",
            "vectorops",
            "run",
            f"--installation={installation}",
            *(f"--namespace={namespace}" for namespace in namespaces),
            f"--health-port={health_port}",
            f"--metrics-port={metrics_port}",
            "--log-format=json",
            *flags,
        ]
        super().__init__(
            f"operator {installation}",
            command,
            log=folder / f"operator-{installation}-{health_port}.log",
            environment={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONUNBUFFERED": "1", **(environment or {})},
            answers=self._is_ready,
        )

    def metrics(self) -> str:
        """What Prometheus would read now."""
        return httpx.get(self.metrics_url, timeout=5, verify=False).raise_for_status().text

    def discard(self) -> None:
        """End it at once because its test is over; coverage keeps what a forked one counted."""
        self.kill()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.health_url}/readyz", timeout=2, verify=False).is_success
        except httpx.HTTPError:
            return False


class ForkedOperator(OperatorProcess):
    """The same, forked from a process that imported the program beforehand, where its variables allow it."""

    def discard(self) -> None:
        if "COVERAGE_RUN" in os.environ and self.running:
            self.signal(signal.SIGCONT)
            self.signal(SAVE_AND_END)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(within_seconds=10)
        self.kill()

    def _run(self) -> Running:
        environment = dict(self.environment or {})
        if not can_fork(environment):
            return super()._run()
        return fork(self.command[3:], environment=environment, stdout=self._log, stderr=self._log)

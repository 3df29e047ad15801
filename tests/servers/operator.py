"""The operator as its own process, as in a cluster: `vectorops run` with a kubeconfig and flags, ended by signals only.

The fixture `start_operator` makes one and stops it after the test.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx

from servers.process import Process, Running, free_port

# A process that has imported the program, and forks whenever one is to run.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", "vectorops.cli", "vectorops.kube.app"])


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
        return httpx.get(self.metrics_url, timeout=5).raise_for_status().text

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.health_url}/readyz", timeout=2).is_success
        except httpx.HTTPError:
            return False


class ForkedOperator(OperatorProcess):
    """The same, forked from a process that imported the program beforehand: importing takes 1.6 s of a core.

    For tests that start hundreds of operators.
    """

    def _run(self) -> Running:
        process = FORKS.Process(target=_be_operator, args=(self.command[3:], dict(self.environment or {}), self._log))
        process.start()
        return Forked(process)


class Forked:
    """A process of `multiprocessing` in the words of `subprocess.Popen`."""

    def __init__(self, process: multiprocessing.context.ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("vectorops", timeout or 0)
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


def _be_operator(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """In the new process: from here on it is what `python -m vectorops` would be."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["vectorops", *arguments]

    from vectorops.cli import main

    main()

"""A program that a test runs: started, stopped, killed or frozen at will, its output kept in a file.

Every server here is one of these. `Process.all` lets `tests/conftest.py` show what the programs said during a test that
failed. Calls block: they take at most a second or two, and a test that must not wait can use `asyncio.to_thread`.
"""

import os
import random
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol


class DidNotStart(Exception):
    """The program ended, or did not answer in time; the message ends with its last output."""


class Running(Protocol):
    """The part of `subprocess.Popen` that is used here."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...


class Process:
    """One program with a fixed command line, run any number of times.

    log: gets standard output and error of all runs, one after another.
    answers: says whether the program is ready; `start` returns when it does.
    """

    all: ClassVar[weakref.WeakSet["Process"]] = weakref.WeakSet()

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        answers: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.cwd = cwd
        self._log = log
        self._answers = answers
        self._marked_at = 0
        self._popen: Running | None = None
        Process.all.add(self)

    def start(self, *, within_seconds: float = 60) -> None:
        """Run the program and wait until it answers."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self._popen = self._run()
        deadline = time.monotonic() + within_seconds
        while not self._answers():
            if self.status is not None or time.monotonic() > deadline:
                self.kill()
                raise DidNotStart(f"{self.name} (status {self.status}) said:\n{self.log_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self, *, within_seconds: float = 30) -> int:
        """Ask the program to end (SIGTERM) and return its status; one that does not listen is killed."""
        if self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self.wait(within_seconds=within_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End the program at once (SIGKILL), as a crash would."""
        if self.running:
            self.signal(signal.SIGKILL)
            self.wait()

    def restart(self) -> None:
        """Stop it if it runs, and run it again."""
        if self.running:
            self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the program (SIGSTOP): connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen program go on."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the running program; none to one that has just ended."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def wait(self, *, within_seconds: float | None = None) -> int:
        """Wait until the program ends, and return its status (minus the signal that ended it)."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._popen.wait(within_seconds)

    @property
    def running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def status(self) -> int | None:
        """How the last run ended; None while it goes on."""
        return self._popen.poll() if self._popen is not None else None

    @property
    def pid(self) -> int:
        """The process id of the last run."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._popen.pid

    def mark_log(self) -> None:
        """Let `log_text` begin here."""
        self._marked_at = self._log.stat().st_size if self._log.exists() else 0

    def log_text(self) -> str:
        """What the program said since the last `mark_log`."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(self._marked_at)
            return log.read().decode(errors="replace")

    def _run(self) -> Running:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.cwd,
            )


CHANCE = random.SystemRandom()
GIVEN: set[int] = set()
"""Ports that this process has given away."""


def wait_until(holds: Callable[[], bool], *, what: str, within_seconds: float = 30) -> None:
    """Wait, blocking, until something outside this process holds."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        if time.monotonic() > deadline:
            raise DidNotStart(f"waited {within_seconds:g} s for {what}")
        time.sleep(0.05)


def free_port() -> int:
    """A port that nothing listens on, and that no other test process is given.

    Taken below the range from which the kernel numbers outgoing connections, so that none of those is given the same
    one before the server binds it. Each process of pytest-xdist has ports of its own, and none is given twice.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        # Not the numbers of `random`, which hypothesis starts over in each test.
        port = CHANCE.randrange(10_000 + worker, 32_000, workers)
        if port in GIVEN:
            continue
        with socket.socket() as candidate:
            try:
                # On every address, as some servers will.
                candidate.bind(("", port))
            except OSError:
                continue
        GIVEN.add(port)
        return port

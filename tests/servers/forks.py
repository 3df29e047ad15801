"""The `vectorops` command in a process forked from one that has imported the program: importing takes 1.6 s of a core,
and 2.5 s with the embedded Qdrant, which is most of what a short run costs.

The forked process is what `python -m vectorops` would be: its arguments, variables, folder and streams are its own.
What a library reads from a variable while it is imported cannot be changed afterwards; `can_fork` says so, and then a
test starts a new interpreter.
"""

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Final

from coverage import Coverage

FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "__main__",
        "vectorops.cli",
        "vectorops.kube.app",
        "vectorops.kube.orphan",
        "vectorops.local.apply",
        "vectorops.local.preview",
        "vectorops.local.command_progress",
        "vectorops.local.schemas",
        "vectorops.local.show",
        "vectorops.qdrant.local",
    ]
)
SAVE_AND_END: Final = signal.SIGUSR1
"""Ends a forked process at once, like SIGKILL, but coverage keeps what it counted."""
UNCOUNTED: Final = "UNCOUNTED"
"""Variable of a forked process whose lines coverage does not count."""
READ_LATE: Final = {"COLUMNS", "KUBECONFIG", "POD_NAME", "PYTHONUNBUFFERED", UNCOUNTED}
"""Variables that nothing reads while it is imported, besides those of VectorOps and those that pytest sets."""


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


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a process with these variables may be forked: all that matter while importing are as they were then."""
    changed = {name for name, _ in environment.items() ^ _preloaded_with().items()}
    return all(name in READ_LATE or name.startswith(("VECTOROPS_", "PYTEST_")) for name in changed)


def fork(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path,
    stdin: Path = Path(os.devnull),
    cwd: Path | None = None,
) -> Forked:
    """Run `vectorops ARGUMENTS`. stdout, stderr: files that the output is appended to."""
    process = FORKS.Process(
        target=_be_vectorops, args=(tuple(arguments), dict(environment), (stdin, stdout, stderr), cwd)
    )
    process.start()
    return Forked(process)


@cache
def _preloaded_with() -> dict[str, str]:
    """The variables under which the program was imported, from now on."""
    forkserver.ensure_running()
    return dict(os.environ)


def _be_vectorops(
    arguments: Sequence[str], environment: Mapping[str, str], streams: tuple[Path, Path, Path], cwd: Path | None
) -> None:
    if UNCOUNTED in environment and (counting := Coverage.current()) is not None:
        counting.stop()
    # os._exit is looked up when the signal comes: coverage saves its data there.
    signal.signal(SAVE_AND_END, lambda *_: os._exit(0))
    stdin, stdout, stderr = streams
    for number, file, mode in ((0, stdin, "rb"), (1, stdout, "ab"), (2, stderr, "ab")):
        with file.open(mode) as opened:
            os.dup2(opened.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the process's own, until it ends
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if cwd is not None:
        os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    # What a child of this process imports as its main module: not pytest.
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__spec__ = importlib.util.find_spec("vectorops.__main__")
    sys.argv = ["vectorops", *arguments]

    from vectorops.cli import main as run

    run()

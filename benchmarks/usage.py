"""What a process and its children use, as the kernel counts it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SAMPLE_SECONDS: Final = 0.05
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """One run of a program, from its start to its end."""

    code: int
    output: str
    seconds: float
    cpu_seconds: float
    """Of the process, and of its children that it waited for."""
    peak_pss_mib: float
    """The largest sum over the process and its children that was seen: shared pages count in parts."""
    peak_own_mib: float
    """The same without pages of files: neither libraries nor mapped data."""


def run_measured(command: Sequence[str], environment: dict[str, str], cwd: Path) -> Usage:
    """Runs a program to its end."""
    output = cwd / "output.txt"
    with output.open("wb") as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=cwd, stdout=out, stderr=subprocess.STDOUT)
        memory = _Memory(process.pid)
        memory.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        memory.join()
    said = output.read_text(errors="replace")
    cpu_seconds = used.ru_utime + used.ru_stime
    return Usage(process.returncode, said, seconds, cpu_seconds, memory.pss_kib / 1024, memory.own_kib / 1024)


def cpu_seconds_of(pid: int) -> float:
    """What a running process has used until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class _Memory(threading.Thread):
    """Looks at the memory of a process and its children until the process is gone."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pss_kib = self.own_kib = 0
        self._pid = pid

    def run(self) -> None:
        while parts := [found for pid in _with_children(self._pid) if (found := _memory_kib(pid))]:
            self.pss_kib = max(self.pss_kib, sum(pss for pss, _ in parts))
            self.own_kib = max(self.own_kib, sum(own for _, own in parts))
            time.sleep(SAMPLE_SECONDS)


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _with_children(int(child))
    except OSError:
        return


def _memory_kib(pid: int) -> tuple[int, int] | None:
    """PSS, and of it what is no file's; None: the process is gone, or a zombie."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return None
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return (sizes["Pss"], sizes["Pss_Anon"] + sizes["Pss_Shmem"]) if sizes else None

"""What is shown while a command works: on a terminal lines that move, elsewhere a line now and then for what takes
long, and for what is wrong while it is tried again. On standard error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Final

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, Task, TaskID, TextColumn
from rich.progress import Progress as TaskTable
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from vectorops import metrics
from vectorops.api.meta import Ref
from vectorops.api.reasons import Reason
from vectorops.local.show import open_console
from vectorops.metrics import SyncsUnderWay
from vectorops.words import counted

BAR_SECONDS: Final = 1.0
"""A sync that has taken so long gets a bar."""
LINE_SECONDS: Final = 10.0
"""Where there is no terminal, a sync has a line each time that it has taken so long."""
SAMPLE_SECONDS: Final = 1.0
"""So often it is looked how far a sync is, for its rate."""


class CommandProgress:
    """How far a command is."""

    def __init__(self) -> None:
        self._settled: set[Ref] = set()
        self._words = "looking"
        self._problems: dict[Ref, str] = {}
        """That were not shown yet."""

    def tell(self, ref: Ref, reason: str, message: str) -> None:
        """Takes an event."""
        self._words = f"{ref}: {reason}: {message}"
        if reason not in (Reason.PROGRESSING, Reason.SUCCEEDED):
            self._problems[ref] = self._words

    def settled(self, ref: Ref) -> None:
        """Takes a resource that cannot get further."""
        self._settled.add(ref)

    def take_problems(self) -> list[str]:
        """What is wrong with resources that are tried again; each once."""
        taken, self._problems = self._problems, {}
        return [words for ref, words in taken.items() if ref not in self._settled]

    def __rich__(self) -> Text:
        embedded = sum(int(one.value) for family in metrics.TEXTS_EMBEDDED.collect() for one in family.samples)
        counts = [f"{len(self._settled)} done"] + ([f"{counted(embedded, 'text')} embedded"] if embedded else [])
        return Text("  ".join([*counts, self._words]))


class SyncTable:
    """How far the syncs are that take long: a bar, a rate and the time left of each, in its present phase.

    shown_after: seconds that a sync takes before it is shown. syncs: replaced by tests.
    """

    def __init__(self, console: Console, shown_after: float, syncs: SyncsUnderWay = metrics.SYNCS) -> None:
        self._syncs = syncs
        self._shown_after = shown_after
        columns = ("{task.description}", "{task.fields[amount]}", "{task.fields[pace]}")
        what, *numbers = (TextColumn(column, markup=False) for column in columns)
        # Never started: it keeps the samples, estimates the rate, and draws the table.
        self._tasks = TaskTable(what, BarColumn(), *numbers, console=console, auto_refresh=False)
        self._shown: dict[tuple[Ref, str], TaskID] = {}

    def look(self) -> None:
        """Looks how far each sync is."""
        syncs = {(sync.point_set, sync.counts.phase): sync for sync in self._syncs.older(self._shown_after)}
        for gone in self._shown.keys() - syncs.keys():
            self._tasks.remove_task(self._shown.pop(gone))
        for key, sync in syncs.items():
            if key not in self._shown:
                ref, phase = key
                self._shown[key] = self._tasks.add_task(f"{ref}: {phase.lower()}", amount="", pace="")
            id, counts = self._shown[key], sync.counts
            self._tasks.update(id, completed=counts.done, total=counts.total)
            task = next(task for task in self._tasks.tasks if task.id == id)
            amount = _amount(counts.phase, counts.done, counts.total)
            self._tasks.update(id, amount=amount, pace=_pace(counts.phase, task))

    def lines(self) -> list[str]:
        """The same without a bar."""
        return [
            f"{task.description} {', '.join(filter(None, (task.fields['amount'], task.fields['pace'])))}"
            for task in self._tasks.tasks
        ]

    def __rich__(self) -> Table:
        self.look()
        return self._tasks.make_tasks_table(self._tasks.tasks)


def _amount(phase: str, done: int, total: int | None) -> str:
    """`120,000 of 290,000 points`."""
    if phase == "Fetching":
        return decimal(done) + (f" of {decimal(total)}" if total is not None else "")
    unit = "row" if phase == "Reading" else "point"
    return f"{done:,} of {counted(total, unit)}" if total is not None else counted(done, unit)


def _pace(phase: str, task: Task) -> str:
    """`24,100/s, 0:00:07 left`; "" while it is not known."""
    if not task.speed:
        return ""
    rate = decimal(int(task.speed)) if phase == "Fetching" else f"{task.speed:,.0f}"
    if task.time_remaining is None or task.finished:
        return f"{rate}/s"
    return f"{rate}/s, {timedelta(seconds=int(task.time_remaining))} left"


@contextmanager
def show_progress() -> Iterator[CommandProgress]:
    """Shows it inside the block."""
    console, progress = open_console(stderr=True), CommandProgress()
    with _moving(console, progress) if console.is_terminal else _telling(console, progress, LINE_SECONDS):
        yield progress


@contextmanager
def _moving(console: Console, progress: CommandProgress) -> Iterator[None]:
    beside = Table.grid(padding=(0, 1))
    beside.add_row(Spinner("dots"), progress)
    with Live(Group(beside, SyncTable(console, BAR_SECONDS)), console=console, refresh_per_second=8, transient=True):
        yield


@contextmanager
def _telling(console: Console, progress: CommandProgress, line_seconds: float) -> Iterator[None]:
    ended, table = Event(), SyncTable(console, line_seconds)

    def tell() -> None:
        samples = 0
        while not ended.wait(min(SAMPLE_SECONDS, line_seconds)):
            table.look()
            samples += 1
            if samples * min(SAMPLE_SECONDS, line_seconds) < line_seconds:
                continue
            if lines := [*table.lines(), *progress.take_problems()]:
                samples = 0
                console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()

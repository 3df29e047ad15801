"""What is shown while a command works."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from rich.console import Console

from vectorops import metrics
from vectorops.api.meta import Ref
from vectorops.local import command_progress
from vectorops.local.command_progress import CommandProgress, SyncTable, show_progress
from vectorops.metrics import SyncsUnderWay
from vectorops.points.pass_progress import PassProgress

DIGITS = Ref("PointSet", "default", "digits")


class World:
    """One sync, and the clock that it is measured by."""

    def __init__(self) -> None:
        self.now = 100.0
        self.counts = PassProgress("Fetching", 0, 9_000_000)
        self.syncs = SyncsUnderWay(lambda: self.now)
        self.out = io.StringIO()
        self.console = Console(file=self.out, width=140)
        self.table = SyncTable(self.console, 10.0, self.syncs)
        self.table._tasks.get_time = lambda: self.now

    @contextmanager
    def syncing(self) -> Iterator[None]:
        with self.syncs.follow(DIGITS, self.counts):
            yield

    def lines(self, seconds: float) -> list[str]:
        """After so long."""
        self.now += seconds
        self.table.look()
        return self.table.lines()


def test_progress_tells_how_many_texts_were_embedded():
    shown = CommandProgress()
    shown.settled(Ref("QdrantCollection", "default", "zoo"))
    metrics.TEXTS_EMBEDDED.labels("openAI").inc(3)
    shown.tell(Ref("PointSet", "default", "faq"), "Progressing", "points [0]")

    words = shown.__rich__().plain

    assert words.startswith("1 done  ")
    assert "texts embedded" in words
    assert words.endswith("PointSet default/faq: Progressing: points [0]")


def test_a_long_sync_is_told_of_in_each_of_its_phases_with_its_rate_and_the_time_left():
    world = World()
    counts = world.counts
    with world.syncing():
        assert world.lines(5) == [], "it may be short"
        counts.done = 1_000_000
        assert world.lines(5) == ["PointSet default/digits: fetching 1.0 MB of 9.0 MB"]
        counts.done = 3_000_000
        assert world.lines(1) == ["PointSet default/digits: fetching 3.0 MB of 9.0 MB, 2.0 MB/s, 0:00:03 left"]

        counts.begin("Reading", None)
        world.lines(1)
        counts.done = 12_000
        world.lines(1)
        counts.done = 36_000
        assert world.lines(1) == ["PointSet default/digits: reading 36,000 rows, 24,000/s"]

        counts.begin("Writing", 290_000)
        counts.done = 10_000
        world.lines(1)
        counts.done = 20_000
        assert world.lines(1) == ["PointSet default/digits: writing 20,000 of 290,000 points, 10,000/s, 0:00:27 left"]
        world.console.print(world.table)
        assert "━" in world.out.getvalue(), "the bar"

    assert world.lines(1) == []


def test_without_a_terminal_a_long_sync_has_a_line_now_and_then(monkeypatch, capfd):
    monkeypatch.setattr(command_progress, "LINE_SECONDS", 0.01)
    told = Event()

    with show_progress(), metrics.SYNCS.follow(DIGITS, PassProgress("Writing", 7, 9)):
        while not told.is_set():
            err = capfd.readouterr().err
            if err:
                told.set()

    assert err.splitlines()[0] == "PointSet default/digits: writing 7 of 9 points"


def test_without_a_terminal_a_problem_that_may_pass_is_told_once(monkeypatch, capfd):
    """Else a job waits for minutes, and nobody knows for what."""
    monkeypatch.setattr(command_progress, "LINE_SECONDS", 0.01)
    faq, err = Ref("PointSet", "default", "faq"), ""

    with show_progress() as shown:
        shown.settled(faq)
        shown.tell(faq, "SourceMissing", "it is at its end")
        shown.tell(DIGITS, "SourceUnavailable", "example.com does not resolve [0]")
        while not err:
            err = capfd.readouterr().err

    assert (err + capfd.readouterr().err).splitlines() == [
        "PointSet default/digits: SourceUnavailable: example.com does not resolve [0]"
    ]


def test_without_a_terminal_nothing_is_told_of_what_is_short(capfd):
    with show_progress() as shown, metrics.SYNCS.follow(DIGITS, PassProgress("Writing", 7, 9)):
        shown.tell(DIGITS, "Progressing", "points are about to be written")

    assert capfd.readouterr().err == ""


def test_on_a_terminal_each_long_sync_has_a_line_below_what_happens(monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(command_progress, "BAR_SECONDS", 0.0)
    for name, value in {"COLUMNS": "120", "TERM": "xterm", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)

    with metrics.SYNCS.follow(DIGITS, PassProgress("Writing", 7, 9)), show_progress():
        pass

    err = capfd.readouterr().err
    assert "looking" in err
    assert "PointSet default/digits: writing" in err
    assert "7 of 9 points" in err

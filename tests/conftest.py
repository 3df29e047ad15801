"""What all tests share: a test that fails shows what the programs that it ran said meanwhile; what coverage counts."""

from collections.abc import Generator, Iterator

import pytest
from coverage import Coverage
from hypothesis import settings

from servers.forks import UNCOUNTED
from servers.process import Process

SHOWN_LINES = 80

# No test asserts a time. Hypothesis would, of each example: the first one may import what the others find.
settings.register_profile("vectorops", deadline=None)
settings.load_profile("vectorops")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Only what is said from here on belongs to this test."""
    for process in Process.all:
        process.mark_log()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the ends of the logs under the report of a failure."""
    report = yield
    if report.failed:
        for process in sorted(Process.all, key=lambda process: process.name):
            if said := process.log_text():
                report.sections.append((f"{process.name} said", "\n".join(said.splitlines()[-SHOWN_LINES:])))
    return report


@pytest.fixture(autouse=True)
def counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Coverage counts no lines of a test that is marked `uncounted`, nor of the operators that it starts."""
    counting = Coverage.current() if request.node.get_closest_marker("uncounted") else None
    if counting is None:
        yield
        return
    monkeypatch.setenv(UNCOUNTED, "1")
    counting.stop()
    yield
    counting.start()

"""What Prometheus makes of an operator: its metrics are scraped twice, and promtool asks the rules what follows if it
goes on like that.

A course of hours is made of two scrapes a few seconds apart. What a counter rose between them, it goes on rising; an
age grows; a time that moved keeps its distance from now, and one that did not stands still. Times are counted from the
beginning of the course, as promtool does. All series get the labels that Prometheus gives to targets in Kubernetes.
"""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client.parser import text_string_to_metric_families

from servers.operator import OperatorProcess
from servers.process import wait_until
from servers.programs import promtool_program

CHART: Final = Path(__file__).parents[2] / "charts" / "vectorops" / "files"
ALERTS: Final = CHART / "alerts.yaml"
DASHBOARD: Final = CHART / "dashboard.json"
NAME: Final = re.compile(r"\b(?:vectorops|process|python)_\w+")

TARGET: Final = {
    "container": "operator",
    "endpoint": "metrics",
    "instance": "10.0.0.1:8081",
    "job": "vectorops-metrics",
    "namespace": "vectorops-system",
    "pod": "vectorops-0",
    "service": "vectorops-metrics",
}
ALERTED: Final = {"job": TARGET["job"], "namespace": TARGET["namespace"]}
"""The labels of a target that alerts keep."""
BEFORE_MINUTES: Final = 5
"""The beginning of a course: all is as in the first scrape."""
APART_SECONDS: Final = 4.0

Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and sorted labels."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the operator exported at one moment. time: Unix time. types: by name of the series."""

    time: float
    values: Mapping[Series, float]
    types: Mapping[str, str]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series that carry these labels, among others perhaps."""
        return sum(
            value for (known, pairs), value in self.values.items() if known == name and labels.items() <= set(pairs)
        )

    def label_names(self) -> dict[str, set[str]]:
        """The labels of each metric."""
        found: dict[str, set[str]] = {}
        for name, labels in self.values:
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found


def scrape(operator: OperatorProcess) -> Scrape:
    """One scrape."""
    now, values, types = time.time(), {}, {}
    for family in text_string_to_metric_families(operator.metrics()):
        for sample in family.samples:
            values[sample.name, tuple(sorted(sample.labels.items()))] = float(sample.value)
            types[sample.name] = family.type
    return Scrape(now, values, types)


def scrape_when(operator: OperatorProcess, so: Callable[[Scrape], object], *, what: str) -> Scrape:
    """The first scrape in which it is so."""
    found: list[Scrape] = []

    def look() -> bool:
        found[:] = [scrape(operator)]
        return bool(so(found[0]))

    wait_until(look, what=what)
    return found[0]


@dataclass(slots=True)
class Course:
    """Two scrapes, and what comes of them. after: None if there is nobody to be scraped any more.

    goes_on: whether counters rise on.
    """

    before: Scrape
    after: Scrape | None
    goes_on: bool = True
    minutes: int = 24 * 60
    _questions: list[dict[str, Any]] = field(default_factory=list)

    def fires(self, alert: str, *, within: str, not_within: str = "", severity: str, **labels: str) -> None:
        """The alert is on after so long, with these labels and no others; and was not on before.

        within, not_within: durations as Prometheus writes them, from the second scrape on.
        """
        name = f'ALERTS{{alertname="{alert}",alertstate="firing"'
        target = {} if alert == "VectorOpsDown" else ALERTED
        told = {**target, **labels, "severity": severity}
        words = ",".join(f"{key}={json.dumps(value)}" for key, value in told.items())
        self._ask(name + "}", within, [{"labels": f"{name},{words}}}", "value": 1}])
        if not_within:
            self._ask(name + "}", not_within, [])
        unknown = labels_in_words(alert) - told.keys()
        assert not unknown, f"{alert} speaks of labels that it has not: {unknown}"

    def silent(self, selector: str = "", *, after: str = "23h") -> None:
        """No alert, or none of those, is on or about to be."""
        self._ask(f"ALERTS{{{selector}}}", after, [])

    def shows(self, expr: str) -> None:
        """The query has a result half an hour later."""
        self._ask(f"absent({expr})", "30m", [])

    def verify(self) -> None:
        """Has promtool answer all that was asked. Raises AssertionError with its words."""
        asked, self._questions = self._questions, []
        assert asked, "nothing was asked"
        test = {"interval": "1m", "input_series": list(self._series()), "promql_expr_test": asked}
        document = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "test.yaml"
            file.write_text(yaml.safe_dump(document, width=10_000))
            answer = subprocess.run(
                [promtool_program(), "test", "rules", str(file)], capture_output=True, text=True, check=False
            )
        assert answer.returncode == 0, answer.stdout + answer.stderr

    def _ask(self, expr: str, later: str, expected: list[dict[str, Any]]) -> None:
        at = f"{BEFORE_MINUTES * 60 + seconds(later)}s"
        self._questions.append({"expr": expr, "eval_time": at, "exp_samples": expected})

    def _series(self) -> Iterable[dict[str, str]]:
        later = self.after.values if self.after else {}
        for series in self.before.values.keys() | later.keys():
            name, labels = series
            clash = TARGET.keys() & dict(labels).keys()
            assert not clash, f"Prometheus would rename labels of {name}: {clash}"
            words = ",".join(f"{key}={json.dumps(value)}" for key, value in {**dict(labels), **TARGET}.items())
            yield {"series": f"{name}{{{words}}}", "values": f"{self._first(series)} {self._then(series)}"}

    def _first(self, series: Series) -> str:
        value = self.before.values.get(series)
        if value is None:
            return f"_x{BEFORE_MINUTES - 1}"
        if is_time(series[0]):
            value += (BEFORE_MINUTES - 1) * 60 - self.before.time
        return f"{value:.6f}+0x{BEFORE_MINUTES - 1}"

    def _then(self, series: Series) -> str:
        if self.after is None or (value := self.after.values.get(series)) is None:
            return "stale"
        name, before = series[0], self.before.values.get(series)
        rise = value - (before if before is not None else 0.0)
        per_second = rise / (self.after.time - self.before.time)
        slope = 0.0
        if is_time(name):
            value += BEFORE_MINUTES * 60 - self.after.time
            slope = 60.0 if before is not None and rise > 0 else 0.0
        elif self.after.types[name] in {"counter", "histogram"}:
            slope = per_second * 60 if self.goes_on else 0.0
        elif name.endswith("_seconds") and 0.9 < per_second < 1.1:
            slope = 60.0
        return f"{value:.6f}+{slope:.6f}x{self.minutes}"


def course(operator: OperatorProcess, *, begun: Callable[[Scrape], object] = lambda _: True, what: str = "") -> Course:
    """What comes of it if all goes on as it does now. begun: what is to be seen first."""
    before = scrape_when(operator, begun, what=what)
    time.sleep(APART_SECONDS)
    return Course(before, scrape(operator))


def is_time(name: str) -> bool:
    """Is it a Unix time?"""
    return name.endswith(("_timestamp_seconds", "_start_time_seconds"))


def seconds(duration: str) -> int:
    """`2h` to 7200."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def alerts() -> dict[str, Mapping[str, Any]]:
    """The alerts that are shipped, by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def labels_in_words(alert: str) -> set[str]:
    """The labels that an alert's words name."""
    words = " ".join(alerts()[alert]["annotations"].values())
    return set(re.findall(r"\$labels\.(\w+)", words))

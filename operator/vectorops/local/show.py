"""What `apply` and `plan` print: the result on standard output, progress on standard error and only for a person at
a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import orjson
from rich.console import Console
from rich.status import Status
from rich.table import Table

from vectorops.api.meta import Ref
from vectorops.local.apply import Report
from vectorops.local.plans import ResourcePlan

WIDE = 100_000
"""Columns of what is no terminal: a program that reads lines must not find them folded."""
SIGNS = {"create": "+", "update": "~", "delete": "-", "hold": "!"}
STYLES = {"create": "green", "update": "yellow", "delete": "red", "hold": "magenta"}


class Progress:
    """The line that moves while a command works."""

    def __init__(self, status: Status | None) -> None:
        self._status = status
        self._settled: set[Ref] = set()

    def tell(self, ref: Ref, reason: str, message: str) -> None:
        self._show(f"{ref}: {reason}: {message}")

    def settled(self, ref: Ref) -> None:
        self._settled.add(ref)

    def _show(self, words: str) -> None:
        if self._status is not None:
            self._status.update(f"{len(self._settled)} done  {words}")


@contextmanager
def progress() -> Iterator[Progress]:
    """On a terminal a moving line, elsewhere nothing."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield Progress(None)
        return
    with console.status("looking") as status:
        yield Progress(status)


def report(report: Report, *, as_json: bool) -> None:
    """How `apply` came out. With as_json, standard output holds the array and nothing else."""
    for ref in report.pruned:
        _note(f"{ref}: pruned")
    for notice in report.notices:
        _note(notice)
    if as_json:
        _print_json([asdict(result) for result in report.results])
    else:
        _print_table(report)
    if report.timed_out:
        _note("time ran out before everything had settled; run the same command again to go on")


def plans(plans: Sequence[ResourcePlan], *, as_json: bool) -> None:
    """What `plan` found out."""
    if as_json:
        _print_json([asdict(plan) for plan in plans])
        return
    console = _console()
    for plan in plans:
        if not (plan.changes or plan.problem or plan.remarks):
            continue
        console.print(f"{plan.kind} {plan.namespace}/{plan.name}", style="bold", soft_wrap=True)
        for change in plan.changes:
            sign, style = SIGNS[change.action], STYLES[change.action]
            first, *more = change.description.splitlines()
            console.print(f"  {sign} {first}", style=style, soft_wrap=True)
            for line in more:
                console.print(f"    {line}", style=style, soft_wrap=True)
        for remark in plan.remarks:
            console.print(f"    {remark}", soft_wrap=True)
        if plan.problem:
            console.print(f"  x {plan.problem}", style="bold red", soft_wrap=True)
    changed, failed = sum(bool(plan.changes) for plan in plans), sum(bool(plan.problem) for plan in plans)
    console.print(
        f"{len(plans)} resources: {changed} to change, {failed} with a problem, "
        f"{sum(not plan.changes and not plan.problem for plan in plans)} as declared"
    )


def _print_table(report: Report) -> None:
    namespaces = {result.namespace for result in report.results}
    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = ["KIND", "NAMESPACE", "NAME", "READY", "REASON", "MESSAGE"]
    several = len(namespaces) > 1
    for title in titles:
        if title != "NAMESPACE" or several:
            table.add_column(title, overflow="fold", no_wrap=title not in {"NAME", "MESSAGE"})
    for result in report.results:
        where = [result.namespace] if several else []
        ready = "True" if result.ready else "False"
        style = None if result.ready else "red"
        table.add_row(result.kind, *where, result.name, ready, result.reason, result.message, style=style)
    _console().print(table)


def _print_json(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _note(words: str) -> None:
    _console(stderr=True).print(words, soft_wrap=True)


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Messages may hold what looks like markup: vectors[0].
    return Console(stderr=stderr, width=None if stream.isatty() else WIDE, markup=False, highlight=False, emoji=False)

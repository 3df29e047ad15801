"""What the commands about resources print: the result on standard output, notes on standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from vectorops.api.checks import Measured
from vectorops.api.collection import VectorStatus
from vectorops.api.meta import JsonObject, Ref
from vectorops.ledger.inspection import Finding, InspectedLedger, Severity
from vectorops.local.apply import Report
from vectorops.local.check import CheckReport
from vectorops.local.ledgers import InspectedLedgers
from vectorops.local.plans import ResourcePlan
from vectorops.local.schemas import CollectionSchema, UnresolvedVector
from vectorops.words import counted

WIDE = 100_000
"""Columns of what is no terminal: a program that reads lines must not find them folded."""
SIGNS = {"create": "+", "update": "~", "delete": "-", "adopt": "=", "hold": "!"}
STYLES = {"create": "green", "update": "yellow", "delete": "red", "adopt": "cyan", "hold": "magenta"}
GAP = "  "
"""Between two columns."""
LEAST_ROOM = 30
"""Columns that a sentence needs beside the others."""
REVISION_SHOWN = 12
"""Characters of a commit or digest in a table; JSON has them all."""


def report(report: Report, *, as_json: bool) -> None:
    """How `apply` came out. With as_json, standard output holds the array and nothing else."""
    for ref in report.pruned:
        _note(f"{ref}: pruned")
    for notice in report.notices:
        _note(notice)
    if as_json:
        _print_json([asdict(result) for result in report.results])
    else:
        several = len({result.namespace for result in report.results}) > 1
        namespace = ["NAMESPACE"] if several else []
        rows = []
        for result in report.results:
            where = [result.namespace] if several else []
            ready = "True" if result.ready else "False"
            cells = [result.kind, *where, result.name, ready, result.reason, result.message]
            rows.append(Row(cells, "" if result.ready else "red"))
        _print_rows(["KIND", *namespace, "NAME", "READY", "REASON", "MESSAGE"], rows)
    if report.timed_out:
        _note("time ran out before everything had settled; run the same command again to go on")


def plans(plans: Sequence[ResourcePlan], *, as_json: bool) -> None:
    """What `plan` found out."""
    if as_json:
        _print_json([asdict(plan) for plan in plans])
        return
    console = open_console()
    for plan in plans:
        if not (plan.changes or plan.problem or plan.remarks):
            continue
        console.print(str(Ref(plan.kind, plan.namespace, plan.name)), style="bold", soft_wrap=True)
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
        f"{counted(len(plans), 'resource')}: {changed} to change, {failed} with a problem, "
        f"{sum(not plan.changes and not plan.problem for plan in plans)} as declared"
    )


def print_schemas(schemas: Sequence[CollectionSchema], *, as_json: bool) -> None:
    """What `schema` found out."""
    if as_json:
        _print_json(
            [
                {
                    "namespace": schema.namespace,
                    "name": schema.name,
                    "vectors": [vector.dump() for vector in schema.vectors],
                    "problem": "; ".join(problem.words for problem in schema.problems) or None,
                }
                for schema in schemas
            ]
        )
        return
    several = len({schema.namespace for schema in schemas}) > 1
    rows = []
    for schema in schemas:
        where = f"{schema.namespace}/{schema.name}" if several else schema.name
        for one in schema.found:
            if isinstance(one, UnresolvedVector):
                rows.append(Row([where, one.vector, *[""] * 6, one.words], "red"))
            else:
                rows.append(Row([where, *_vector_cells(one)]))
    titles = ["COLLECTION", "NAME", "KIND", "SIZE", "DISTANCE", "DATATYPE", "MODEL", "REVISION", "FROM"]
    _print_rows(titles, rows)


def print_checks(reports: Sequence[CheckReport], *, as_json: bool) -> None:
    """What `check` found out."""
    if as_json:
        _print_json(
            [
                {
                    "namespace": report.namespace,
                    "name": report.name,
                    "checks": report.checks.dump() if report.checks is not None else None,
                    "problem": report.problem,
                }
                for report in reports
            ]
        )
        return
    several = len({report.namespace for report in reports}) > 1
    rows = []
    for report in reports:
        where = f"{report.namespace}/{report.name}" if several else report.name
        style = "" if report.passed else "red"
        if report.checks is None:
            rows.append(Row([where, *[""] * 5, report.problem or ""], style))
            continue
        *before, new = report.checks.measured
        rows += [Row([where, *_measured_cells(measured), "to compare with"]) for measured in before]
        result = "; ".join([report.checks.result, *report.checks.failures])
        rows.append(Row([where, *_measured_cells(new), result], style))
    _print_rows(["NAME", "COLLECTION", "RECALL", "MRR", "OVERLAP", "MEDIAN MS", "RESULT"], rows)


def _measured_cells(measured: Measured) -> list[str]:
    values = (measured.recall, measured.mrr, measured.overlap, measured.latency_ms)
    return [measured.collection, *("" if value is None else f"{value:g}" for value in values)]


def _vector_cells(vector: VectorStatus) -> list[str]:
    embedder = vector.embedder
    size = str(vector.size) if vector.size is not None else ""
    revision = (embedder.revision or "") if embedder else ""
    return [
        vector.name,
        vector.kind,
        size,
        vector.distance or "",
        vector.datatype or "",
        embedder.model if embedder else "",
        revision.rpartition(":")[2][:REVISION_SHOWN],
        _by_source(vector.sources),
    ]


def _by_source(sources: Mapping[str, str]) -> str:
    """`kind, size: 1_Pooling/config.json; distance: declared`: each source once."""
    facts: dict[str, list[str]] = {}
    for fact, source in sources.items():
        facts.setdefault(source, []).append(fact)
    return "; ".join(f"{', '.join(found)}: {source}" for source, found in facts.items())


def print_ledgers(inspection: InspectedLedgers, *, in_detail: bool, as_json: bool) -> None:
    """What `ledger show` found out. in_detail: also the parts of each."""
    if as_json:
        _print_json([_ledger_fields(ledger, in_detail=in_detail) for ledger in inspection.ledgers])
    else:
        titles = ["OWNER", "COLLECTION", "INCARNATION", "FORMAT", "PARTS", "POINTS", "OPEN", "BYTES", "SOURCE"]
        rows = []
        for ledger in inspection.ledgers:
            counts = [len(ledger.parts), ledger.points, ledger.open_windows, ledger.packed_bytes]
            form = str(ledger.format) if ledger.format is not None else "?"
            names = [ledger.owner, ledger.collection, ledger.incarnation, form]
            # Of the revision the part that `status.source.revision` has, too.
            source = ledger.revision.rpartition("-")[2]
            is_damaged = any(one.severity is Severity.PROBLEM for one in ledger.findings)
            rows.append(Row([*names, *(f"{count:,}" for count in counts), source], "red" if is_damaged else ""))
        _print_rows(titles, rows)
        for ledger in inspection.ledgers if in_detail else ():
            print_parts(ledger)
    for finding in inspection.findings:
        _note(_finding_words(finding))


def print_parts(ledger: InspectedLedger) -> None:
    """What all parts of a ledger have in common, and a table of them."""
    facts = {
        "ledger of": f"{ledger.owner} in {ledger.ledger_collection!r}",
        "generation": ledger.generation,
        "vectors": ", ".join(repr(name) for name in ledger.vectors),
        "shard key": ledger.shard_key,
        "deletion policy": ledger.deletion_policy,
        "revision": ledger.revision,
        "points when a pass last ended": ledger.owned,
        "lost once": "yes" if ledger.rebuilt else "",
    }
    console = open_console()
    console.print()
    for name, value in facts.items():
        if value not in (None, ""):
            console.print(f"{name}: {value}", soft_wrap=True)
    rows = [
        Row(
            [
                f"{part.number:,}",
                f"{part.points:,}",
                f"{part.deleting:,}",
                f"{part.through:,}",
                f"{part.packed_bytes:,}",
                f"{part.window:,} points" if part.window is not None else "none",
            ]
        )
        for part in ledger.parts
    ]
    _print_rows(["PART", "POINTS", "DELETING", "WINDOWS", "BYTES", "OPEN WINDOW"], rows)


def _ledger_fields(ledger: InspectedLedger, *, in_detail: bool) -> JsonObject:
    plain = ("ledger_collection", "owner", "collection", "incarnation", "shard_key", "format", "generation")
    more = ("points", "open_windows", "packed_bytes", "revision", "owned", "vectors", "deletion_policy", "rebuilt")
    fields: JsonObject = {name: getattr(ledger, name) for name in (*plain, *more)}
    of_part = ("number", "points", "deleting", "through", "window", "packed_bytes")
    parts = [{name: getattr(part, name) for name in of_part} for part in ledger.parts]
    return {**fields, "parts": parts if in_detail else len(parts)}


def print_findings(inspection: InspectedLedgers, *, as_json: bool) -> None:
    """What `ledger check` found out."""
    found = inspection.findings
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    console = open_console()
    for severity, style in ((Severity.PROBLEM, "red"), (Severity.NOTICE, "yellow")):
        for one in found:
            if one.severity is severity:
                console.print(_finding_words(one), style=style, soft_wrap=True)
    problems = sum(one.severity is Severity.PROBLEM for one in found)
    console.print(
        f"{counted(len(inspection.ledgers), 'ledger')} with "
        f"{counted(sum(one.points for one in inspection.ledgers), 'point')}: {counted(problems, 'problem')}, "
        f"{counted(len(found) - problems, 'notice')}"
    )


def _finding_words(finding: Finding) -> str:
    where = f" in collection {finding.collection!r}" if finding.collection else ""
    return f"{finding.severity} {finding.kind}: {finding.owner or 'an unknown set'}{where}: {finding.message}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table. style: as Rich names it."""

    cells: Sequence[str]
    style: str = ""


def _print_rows(titles: Sequence[str], rows: Sequence[Row]) -> None:
    """A table in which nothing is cut. The last column holds sentences: it is not padded, and on a terminal it is
    wrapped; below the row, if there is little room beside it.
    """
    console = open_console()
    every = [Row(titles, "bold"), *rows]
    widths = [max(cell_len(row.cells[column]) for row in every) for column in range(len(titles) - 1)]
    beside = sum(widths) + len(GAP) * len(widths)
    under = console.width - beside < LEAST_ROOM
    indent = " " * (4 if under else beside)
    for row in every:
        *cells, sentence = (" ".join(cell.split()) for cell in row.cells)
        padded = GAP.join(cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
        wrapped = Text(sentence).wrap(console, console.width - len(indent)) if console.is_terminal else [Text(sentence)]
        lines = [line.plain for line in wrapped] or [""]
        first = [] if under and row is not every[0] else lines[:1]
        for line in (GAP.join([padded, *first]), *(indent + line for line in lines[len(first) :])):
            console.print(line.rstrip(), style=row.style or None, soft_wrap=True)


def _print_json(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def _note(words: str) -> None:
    open_console(stderr=True).print(words, soft_wrap=True)


def open_console(*, stderr: bool = False) -> Console:
    """For words that are printed as they are, and for a program each in one line."""
    stream = sys.stderr if stderr else sys.stdout
    # Messages may hold what looks like markup: vectors[0].
    return Console(stderr=stderr, width=None if stream.isatty() else WIDE, markup=False, highlight=False, emoji=False)

"""What was measured, as tables in Markdown and as plots."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import httpx
from plot import draw_bars

from servers.qdrant import QdrantServer
from vectorops import __version__

LOAD: Final = "initial load"
SAME: Final = "nothing changed: same revision"
TOUCHED: Final = "new revision, same bytes"
REWRITTEN: Final = "rewritten by another tool, same rows"
VECTORS: Final = "1 % of vectors changed"
PAYLOADS: Final = "1 % of payloads changed"
DELETED: Final = "1 % deleted"
INLINE: Final = "ten inline points, nothing changed"
PHASES: Final = (LOAD, SAME, TOUCHED, REWRITTEN, VECTORS, PAYLOADS, DELETED, INLINE)

BEGIN: Final = "<!-- made by `make bench` -->"
END: Final = "<!-- end of what `make bench` makes -->"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one phase in one round."""

    seconds: float
    """From the look at the file to the last acknowledgement: without the start of the process."""
    whole_seconds: float
    """Of the process."""
    cpu_seconds: float
    """Of the client, without its start."""
    server_cpu_seconds: float
    """Of Qdrant, until it rests."""
    peak_pss_mib: float
    peak_own_mib: float


Results = dict[str, dict[str, list[Figures]]]
"""By contender, by phase, by round."""


def medians(phases: Mapping[str, list[Figures]]) -> dict[str, Figures]:
    """By phase, each figure by itself."""
    return {
        phase: Figures(
            *(statistics.median(getattr(one, name) for one in rounds) for name in Figures.__dataclass_fields__)
        )
        for phase in PHASES
        if (rounds := phases.get(phase))
    }


def show_tables(results: Results, failures: Mapping[str, str], ours: str, count: int) -> str:
    """The loads of all; then, of those that remember, all phases. ours: whose speed the others are compared with."""
    return "\n".join([*_loads(results, failures, ours, count), *_all_phases(results), ""])


def _loads(results: Results, failures: Mapping[str, str], ours: str, count: int) -> Iterator[str]:
    names = ("points/s", "seconds (least to most)", "VectorOps is faster by", *USED)
    yield _row(LOAD, *names)
    yield _row(*["--"] * (len(names) + 1))
    for name, phases in results.items():
        if found := medians(phases).get(LOAD):
            seconds = [one.seconds for one in phases[LOAD]]
            own = medians(results.get(ours, {})).get(LOAD)
            faster = f"{found.seconds / own.seconds:.2f}" if own else ""
            spread = f"{found.seconds:.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
            yield _row(name, f"{count / found.seconds:,.0f}", spread, faster, *_used(found))
    for name in failures:
        yield _row(f"{name}: failed", *[""] * len(names))


def _all_phases(results: Results) -> Iterator[str]:
    for name, phases in results.items():
        found = medians(phases)
        if len(found) > 1 and LOAD in found:
            names = ("seconds", "of the initial load", "seconds of the whole process", *USED)
            yield ""
            yield _row(name, *names)
            yield _row(*["--"] * (len(names) + 1))
            for phase, one in found.items():
                part = f"{one.seconds / found[LOAD].seconds:.1%}"
                yield _row(phase, f"{one.seconds:.2f}", part, f"{one.whole_seconds:.2f}", *_used(one))


USED: Final = ("client CPU-s", "Qdrant CPU-s", "peak PSS, MiB", "of it no files, MiB")


def _used(one: Figures) -> tuple[str, str, str, str]:
    cpu = (f"{one.cpu_seconds:.2f}", f"{one.server_cpu_seconds:.2f}")
    return *cpu, f"{one.peak_pss_mib:.0f}", f"{one.peak_own_mib:.0f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def describe_versions(server: QdrantServer) -> str:
    """What ran where, in one sentence."""
    qdrant = httpx.get(server.url, timeout=30).json()["version"]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("qdrant-client", "grpcio", "pyarrow"))
    processor = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    return (
        f"VectorOps {__version__}, Qdrant {qdrant}, {libraries}, Python {platform.python_version()}, on "
        f"{os.cpu_count()} cores ({processor}), client and server on the same ones."
    )


def save_report(docs: Path, results: Results, ours: str, told: str, count: int) -> None:
    """Puts what is told into the page, and the plots beside it."""
    plots = docs / "benchmarks"
    plots.mkdir(exist_ok=True)
    found = {name: medians(phases) for name, phases in results.items()}
    rates = {name: count / phases[LOAD].seconds for name, phases in found.items() if LOAD in phases}
    (plots / "initial-load.svg").write_text(draw_bars("Initial load, points a second", rates, "{:,.0f}", ours))
    pictures = "![Points a second of each contender](benchmarks/initial-load.svg)\n"
    if LOAD in (own := found.get(ours, {})):
        parts = {phase: one.seconds / own[LOAD].seconds * 100 for phase, one in own.items() if phase != INLINE}
        (plots / "changes.svg").write_text(draw_bars(f"{ours}, % of its initial load", parts, "{:.1f} %"))
        pictures += "\n![Time of each phase against the initial load](benchmarks/changes.svg)\n"
    page = docs / "benchmarks.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{pictures}\n{told}\n{END}{rest.partition(END)[2]}")

"""The commands that the documentation gives to its readers, for the tests that run them.

A block is what stands between ```sh and ```, known by its page and the heading above it and, where more than one stand
below that heading, by its number from the top. A test claims a block by `documented("docs/install.md", "Installing")`
and runs what it gets, with `run` or in its own way. tests/unit/docs/test_commands.py reads pages and tests, and fails
where a block is claimed by no test or by two, and where a claim has lost its block.

What a test cannot have as it is written (a registry) is replaced: REPLACED says what, and why. What no test can run is
no ```sh block: NOT_RUN lists it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("*.md", "docs/**/*.md", "examples/**/*.md", "charts/*/*.md", "gitops/**/*.md")

REPLACED: Final[Mapping[str, str]] = {
    "registry.example.com/vectorops": "Tests have no registry: the image that the nodes of the cluster hold.",
    "0.1.0": "The tag of that image.",
    "https://qdrant.qdrant.svc:6333": "Where the Qdrant of the end-to-end tests is.",
    "http://qdrant:6333": "Where the Qdrant of the integration tests is.",
    "INSTALLATION/NAMESPACE/NAME": "What a reader puts there.",
    "collections/NAME": "The same.",
    "3f9c1a5b7d20": "The hash of a plan, which only its status can tell.",
    "0f6a1c5e-7c1d-4f0e-9a55-0c6e6b7d2f31": "The installation that the status names.",
}
"""What may be put into another's place in a block before it is run, and why."""

NOT_RUN: Final[Mapping[tuple[str, str], str]] = {
    ("CONTRIBUTING.md", "From clone to green tests"): "CI runs these, or its tests would run themselves.",
    ("README.md", "Try it"): "The same: `make test`.",
    ("examples/blue-green/README.md", "In a cluster that runs the operator"): (
        "Needs a cluster with the model hub; benchmarks/readers.py takes the same steps with models of its own."
    ),
    ("docs/gitops.md", "Health"): "Needs a cluster with Argo CD; a test compares the file with what Argo CD is to run.",
    ("docs/install.md", "The image"): "Needs a registry; the end-to-end tests run an image that was built like this.",
    ("docs/install.md", "On kind"): "Needs kind and Docker; `make e2e` says the same words where they are.",
}
"""Blocks of commands that no test runs, as ```text: page and heading, and why."""


class Block(NamedTuple):
    """One fenced block. number: which of its language below the heading. content: what is between the fences."""

    page: str
    heading: str
    number: int
    language: str
    content: str


class CommandsFailed(AssertionError):
    """A block ended with an error; the message is what it printed."""


def documented(page: str, heading: str, number: int = 1) -> str:
    """The commands of one ```sh block. Call it with literals, or names of literals: a test reads the calls."""
    return _block(page, heading, number, "sh")


def manifest(page: str, heading: str, number: int = 1) -> str:
    """A ```yaml block, for a test that gives it to the commands beside it."""
    return _block(page, heading, number, "yaml")


def _block(page: str, heading: str, number: int, language: str) -> str:
    for block in blocks(page, (ROOT / page).read_text()):
        if (block.heading, block.number, block.language) == (heading, number, language):
            return block.content
    raise LookupError(f"{page} has no ```{language} block number {number} below the heading {heading!r}")


def replaced(text: str, instead: Mapping[str, str]) -> str:
    """A block with other things in the places that REPLACED names."""
    for old, new in instead.items():
        if old not in REPLACED or old not in text:
            raise LookupError(f"{old!r} is not in REPLACED, or not in this block:\n{text}")
        text = text.replace(old, new)
    return text


def run(
    commands: str, folder: Path = ROOT, *, environment: Mapping[str, str] | None = None, timeout_seconds: float = 240
) -> str:
    """What bash prints when it runs them there and stops at the first error. Raises CommandsFailed.

    `python` and `vectorops` are those that run the tests.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=folder,
            env={**os.environ, "PATH": path, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandsFailed(f"no end after {timeout_seconds:g} s of\n{commands}") from error
    if done.returncode != 0:
        raise CommandsFailed(f"status {done.returncode} of\n{commands}\n{done.stdout}")
    return done.stdout


def pages() -> list[str]:
    """All pages for readers, from the root of the repository."""
    found = {file.relative_to(ROOT).as_posix() for pattern in PAGES for file in ROOT.glob(pattern)}
    return sorted(found)


def blocks(page: str, text: str) -> Iterator[Block]:
    """All fenced blocks of a page."""
    heading, counted = "", dict[tuple[str, str], int]()
    lines = iter(text.splitlines())
    for line in lines:
        if title := re.match(r"#+ +(.*?) *$", line):
            heading = title[1]
        elif fence := re.match(r"( *)(```+)(\w*)$", line):
            indent, ticks, language = fence.groups()
            content = []
            for inside in lines:
                if inside.strip() == ticks:
                    break
                content.append(inside.removeprefix(indent))
            else:
                raise ValueError(f"{page}: a block below {heading!r} has no end")
            counted[heading, language] = number = counted.get((heading, language), 0) + 1
            yield Block(page, heading, number, language, "\n".join(content) + "\n")

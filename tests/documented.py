"""The commands that the documentation gives to its readers, for the tests that run them.

A block is what stands between ```sh and ```, known by its page and the heading above it and, where more than one stand
below that heading, by its number from the top. A test claims a block by `documented("docs/install.md", "Installing")`
and runs what it gets, with `run` or in its own way. tests/unit/docs/test_commands.py reads pages and tests, and fails
where a block is claimed by no test or by two, and where a claim has lost its block.

What a test cannot have as it is written (a registry) is replaced: REPLACED says what, and why. What no test can run is no
```sh block: NOT_RUN lists it.
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
    "image.tag=0.1.0": "The tag of that image.",
}
"""What may be put into another's place in a command before it is run, and why."""

NOT_RUN: Final[Mapping[tuple[str, str], str]] = {
    (
        "docs/gitops.md",
        "Health",
    ): "It needs a cluster with Argo CD; a test compares the file with what Argo CD is asked to run.",
}
"""Blocks of commands that no test runs, as ```text: page and heading, and why."""


class Block(NamedTuple):
    """One fenced block. number: the how-manieth of its language below the heading. commands: without the fences."""

    page: str
    heading: str
    number: int
    language: str
    commands: str


class CommandsFailed(AssertionError):
    """A block ended with an error; the message is what it printed."""


def documented(page: str, heading: str, number: int = 1) -> str:
    """The commands of one ```sh block. Call it with literals, or names of literals: a test reads the calls."""
    for block in blocks(page, (ROOT / page).read_text()):
        if (block.heading, block.number, block.language) == (heading, number, "sh"):
            return block.commands
    raise LookupError(f"{page} has no ```sh block number {number} below the heading {heading!r}")


def replaced(commands: str, instead: Mapping[str, str]) -> str:
    """The commands with other things in the places that REPLACED names."""
    for old, new in instead.items():
        if old not in REPLACED or old not in commands:
            raise LookupError(f"{old!r} is not in REPLACED, or not in these commands:\n{commands}")
        commands = commands.replace(old, new)
    return commands


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

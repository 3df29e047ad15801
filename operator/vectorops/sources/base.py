"""What a source is to the rest: a list of files with versions, each of which can be brought to a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal

MAX_FILES: Final = 10_000
"""In one source."""
BLOCK_BYTES: Final = 1 << 20
"""How much is read, hashed and written at a time."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How much patience a source has with its server."""

    file_bytes: int = 64 << 30
    """Of one file that is fetched; a larger one is refused."""
    file_seconds: float = 3600.0
    """Longest time for one file."""
    pauses: tuple[float, ...] = (0.5, 2.0)
    """Seconds to wait before a request that found no server, or whose answer was cut short, is sent again."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as a listing shows it."""

    name: str
    """As people are shown it, without credentials: `s3://bucket/docs/a.parquet`, `https://host/a.csv`,
    `data/a.parquet`, `configmap/handbook:a.jsonl`. Its end tells the format.
    """
    version: str
    """Differs whenever the content does: an ETag, size and date, a resourceVersion. "" if nothing tells."""
    size: int | None = None
    """Bytes; None if nothing tells."""
    rank: int = 0
    """Where rows of two files have one id, the row of the file with the higher rank is the point. In files of one rank
    such rows contradict each other.
    """


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of one file, at hand."""

    path: Path
    digest: str
    """XXH3 of 128 bits over the bytes, in hexadecimal."""
    is_temporary: bool = True
    """May whoever is done with it delete it? False: it is the user's own file."""


class OpenedSource(Protocol):
    """One source, reached with one set of credentials.

    Raises, in all methods: Terminal SourceInvalid (a wrong URL, no credentials), Terminal SourceRefused (a host or a
    folder that is not allowed), Terminal SourceMissing (a named file is not there), Transient SourceUnavailable (the
    server is away, or a listing failed half way), Transient SourceInvalid (credentials are refused: they may be new in
    a moment).
    """

    async def list(self) -> Sequence[SourceFile]:
        """All files, sorted by name. Whole, or an error: what is missing from it will be deleted."""

    async def fetch(self, file: SourceFile, folder: Path) -> Fetched:
        """Brings one file to the folder.

        Raises Transient SourceChanged if it is not, from begin to end, in the version that was listed; Transient
        StagingFull.
        """

    async def close(self) -> None: ...


def check_count(count: int, what: str) -> None:
    """Raises Terminal SourceInvalid if a source has too many files."""
    if count > MAX_FILES:
        raise Terminal(
            Reason.SOURCE_INVALID, f"{what} matches more than {MAX_FILES:,} files: choose fewer, larger ones"
        )

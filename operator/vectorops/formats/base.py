"""What the readers of all formats give: rows, in batches, with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vectorops.api.meta import JsonObject

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["Parquet", "JSONLines", "CSV", "ArrowIPC"]


@dataclass(frozen=True, slots=True)
class ArrowRows:
    """Rows that have one schema."""

    first: int
    """Number of the first row in its file, from 1."""
    batch: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class JsonRows:
    """Rows that are one JSON object each, of any shape."""

    numbers: Sequence[int]
    """Of each row in its file, from 1: the line in JSON Lines."""
    rows: Sequence[JsonObject]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read at all, so that nobody knows its id."""

    number: int
    """In its file, from 1; 0 if it is not known which row it is."""
    reason: str
    """Never content."""


Rows = ArrowRows | JsonRows | BadRow

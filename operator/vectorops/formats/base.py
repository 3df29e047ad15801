"""What the readers of all formats give: rows, in batches, with their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient

if TYPE_CHECKING:
    import pyarrow as pa

FileFormat = Literal["Parquet", "JSONLines", "CSV", "ArrowIPC"]


@dataclass(frozen=True, slots=True)
class ArrowRows:
    """Rows that have one schema."""

    numbers: Sequence[int]
    """Of each row in its file, from 1: in CSV the header is row 1."""
    batch: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class JsonRows:
    """Rows that are one JSON object each, of any shape."""

    numbers: Sequence[int]
    """Of each row in its file, from 1: the line in JSON Lines."""
    rows: Sequence[JsonObject]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read whole."""

    number: int
    """In its file, from 1; 0 if it is not known which row it is."""
    reason: str
    """Never content."""
    row: JsonObject | None = None
    """What of it can be read all the same, so that its id may be known: with NaN, lone surrogates, large integers."""


Rows = ArrowRows | JsonRows | BadRow

ColumnChoice = Callable[[Sequence[str]], Sequence[str]]
"""Which of the columns of a file are to be read, by the names of all."""

MAX_BATCH_ROWS: Final = 4096
MAX_BATCH_BYTES: Final = 8 * 2**20
MAX_ROW_BYTES: Final = 64 * 2**20
"""Of one row as text: Qdrant takes no request of half that size."""


def invalid_file(name: str, reason: str) -> Terminal:
    """The error for a file that cannot be read. reason: what is wrong with it, and what helps."""
    return Terminal(Reason.SOURCE_INVALID, f"{name}: {reason}")


@contextmanager
def mapped_errors(name: str, kind: str) -> Iterator[None]:
    """Makes errors of the disk, of pyarrow and of what unpacks a file ours."""
    import pyarrow as pa

    try:
        yield
    except UnicodeDecodeError:
        raise invalid_file(name, f"is no {kind}: a name in it is no UTF-8") from None
    except OSError as error:
        # pyarrow raises a bare OSError for what it finds in a file, too.
        if error.errno is not None and not isinstance(error, pa.ArrowException):
            raise Transient(Reason.SOURCE_UNAVAILABLE, f"{name}: cannot be read: {error.strerror}") from None
        raise invalid_file(name, f"is damaged, cut short, or no {kind}: {first_words(error)}") from None
    except pa.ArrowException as error:
        raise invalid_file(name, f"is damaged, cut short, or no {kind}: {first_words(error)}") from None


def first_words(error: BaseException) -> str:
    """The beginning of what a library says, on one line."""
    words = " ".join(str(error).split())
    return words if len(words) <= 160 else f"{words[:160]}…"

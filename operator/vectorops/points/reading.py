"""Files of a source to staged points; and what is remembered of them, so that they need not be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson

from vectorops.formats.base import FileFormat
from vectorops.formats.read import format_of, read_rows
from vectorops.points.mapping import Mapper
from vectorops.points.pass_progress import PassProgress
from vectorops.points.staging import Staging
from vectorops.points.staging_folder import StagingSpace
from vectorops.sources.base import Fetched, SourceFile


@dataclass(frozen=True, slots=True)
class RowsRevision:
    """Which rows were made which points: each part is a digest."""

    declaration: str
    """Of all that decides what becomes of a row: mapping, schema, embedders."""
    listing: str
    """Of the names and versions of the files."""
    content: str = ""
    """Of the bytes of the files; "" before they were fetched."""

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """What `str` made, as the ledger keeps it; None if it is no revision."""
        parts = text.split("-") if isinstance(text, str) else []
        return cls(*parts) if len(parts) == 3 else None

    def __str__(self) -> str:
        return f"{self.declaration}-{self.listing}-{self.content}"


def digest_json(value: Any) -> str:
    """16 hexadecimal digits for any JSON."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def digest_of_listing(files: Sequence[SourceFile]) -> str:
    """Differs when a file came, went, or has another version. "" if a version is not known."""
    if not all(file.version for file in files):
        return ""
    return digest_json([[file.name, file.version, file.rank] for file in files])


def digest_of_content(files: Iterable[tuple[SourceFile, Fetched]]) -> str:
    """Differs when a file came, went, or has other bytes."""
    return digest_json([[file.name, fetched.digest, file.rank] for file, fetched in files])


def read_files(
    files: Sequence[tuple[SourceFile, Fetched]],
    mapper: Mapper,
    staging: Staging,
    space: StagingSpace,
    *,
    file_format: FileFormat | None,
    max_unpacked_bytes: int,
    progress: PassProgress,
    require_going_on: Callable[[], None],
) -> None:
    """Stages all rows. Blocking: for a thread of its own.

    file_format: of all files; None: as the end of their names says. require_going_on: raises what ends the reading.
    Raises Terminal SourceInvalid if a file cannot be read to its end or if no row has a column that the mapping names,
    StagingFull, and what `require_going_on` raises.
    """
    progress.begin("Reading", None)
    for file, fetched in files:
        staging.begin(file.name, file.rank)
        rows = read_rows(
            fetched.path,
            file_format or format_of(file.name),
            name=file.name,
            columns=mapper.wanted,
            is_private=fetched.is_temporary,
            max_unpacked_bytes=max_unpacked_bytes,
        )
        for some in rows:
            require_going_on()
            block = mapper.map(some, file=file.name)
            staging.add(block)
            progress.done += len(block) + len(block.failures)
        if fetched.is_temporary:
            size = fetched.path.stat().st_size
            fetched.path.unlink()
            space.give_back(size)
    mapper.check_columns()


def digest_of_declaration(mapping: Any, schema: Mapping[str, Any], identities: Mapping[str, str], *others: Any) -> str:
    """Of what decides what becomes of a row."""
    return digest_json(
        [mapping, sorted((name, str(one)) for name, one in schema.items()), sorted(identities.items()), others]
    )

"""Files to rows, whatever their format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vectorops.formats.base import ColumnChoice, FileFormat, Rows, invalid_file

FORMATS: Final[dict[str, FileFormat]] = {
    ".parquet": "Parquet",
    ".jsonl": "JSONLines",
    ".ndjson": "JSONLines",
    ".csv": "CSV",
    ".arrow": "ArrowIPC",
    ".arrows": "ArrowIPC",
    ".feather": "ArrowIPC",
    ".ipc": "ArrowIPC",
}
"""By the end of a file's name, in lower case."""

PACKED: Final = (".gz", ".zst")
"""What may follow it, for formats of text."""

MAX_UNPACKED_BYTES: Final = 64 * 2**30


def format_of(name: str) -> FileFormat:
    """The format that the end of a file's name says. name: also a URL. Raises Terminal SourceInvalid."""
    path = urlsplit(name).path if "://" in name else name
    end = Path(path.lower()).suffix
    if end in PACKED:
        end = Path(path.lower()).with_suffix("").suffix
        if FORMATS.get(end) in {"Parquet", "ArrowIPC"}:
            raise invalid_file(name, f"{end} files are compressed inside: unpack the file")
    if end not in FORMATS:
        raise invalid_file(
            name, f"the name does not say the format: set mapping.format, or let it end in {', '.join(FORMATS)}"
        )
    return FORMATS[end]


def read_rows(
    path: Path,
    file_format: FileFormat,
    *,
    name: str = "",
    columns: ColumnChoice = lambda names: names,
    is_private: bool = False,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
) -> Iterator[Rows]:
    """The rows of a file, in batches of at most a few thousand rows and a few MiB. Blocking; the memory that it takes
    does not grow with the file.

    name: of the file, for messages; that of the path if "".
    columns: which to read, where the format lets others be left out. A column that cannot be read harms only if it is
        among them.
    is_private: does nobody else write the file? Then it may be mapped into memory. (Whoever shortens a mapped file
        kills the process.)
    max_unpacked_bytes: of JSON Lines and CSV that are compressed with gzip or zstd, which their first bytes tell.
    Raises Terminal SourceInvalid if the file is cut short, or is no file of the format: then the rows given before do
    not count either. Transient SourceUnavailable if the disk fails.
    """
    name = name or path.name
    if file_format in {"Parquet", "ArrowIPC"}:
        from vectorops.formats import arrow_ipc, parquet

        if file_format == "Parquet":
            return parquet.read_parquet(path, name, columns)
        return arrow_ipc.read_arrow_ipc(path, name, columns, is_private=is_private)
    from vectorops.formats import csv_text, json_lines

    if file_format == "CSV":
        return csv_text.read_csv(path, name, columns, max_unpacked_bytes)
    return json_lines.read_json_lines(path, name, max_unpacked_bytes)

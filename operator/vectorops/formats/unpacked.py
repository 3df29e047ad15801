"""The bytes of a file of text, unpacked on the way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from vectorops.formats.base import invalid_file

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES: Final = 2**20

CODECS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""By the first bytes. No text begins so; a name may be wrong, because some servers send files unpacked."""


@contextmanager
def open_unpacked(path: Path, name: str, max_bytes: int) -> Iterator[io.BufferedReader]:
    """The bytes, unpacked if they are compressed. While they are read: raises OSError if what is compressed is damaged
    or cut short, Terminal SourceInvalid if it unpacks to more than max_bytes.
    """
    with path.open("rb") as raw:
        begin = raw.read(4)
        raw.seek(0)
        codec = next((codec for magic, codec in CODECS.items() if begin.startswith(magic)), None)
        if codec is None:
            if not begin and name.lower().endswith((".gz", ".zst")):
                raise invalid_file(name, "is empty, but what is compressed never is: it is cut short")
            yield io.BufferedReader(raw, CHUNK_BYTES)
            return
        # The package zstandard would take a file that is cut short for one that ends there.
        with pa.CompressedInputStream(raw, codec) as unpacked:
            yield io.BufferedReader(_Limited(unpacked, name, max_bytes), CHUNK_BYTES)


class _Limited(io.RawIOBase):
    def __init__(self, stream: Any, name: str, max_bytes: int) -> None:
        self._stream, self._name, self._max_bytes, self._left = stream, name, max_bytes, max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count: int = self._stream.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise invalid_file(
                self._name,
                f"unpacks to more than {self._max_bytes:,} bytes: split it, or raise the operator's limit of unpacked "
                "bytes",
            )
        return count

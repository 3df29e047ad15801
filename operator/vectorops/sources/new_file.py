"""A file that is hashed while it is written, and that is removed again if it does not become whole."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import mkstemp
from types import TracebackType
from typing import Final, Self

import xxhash

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.sources.base import Fetched

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class NewFile:
    """One file in a folder. Leaving the context removes it, unless `finish` was called.

    shown: how messages name it. max_bytes: of its content; None: no limit.
    """

    def __init__(self, folder: Path, shown: str, max_bytes: int | None = None) -> None:
        self._shown = shown
        self._max_bytes = max_bytes
        self._digest = xxhash.xxh3_128()
        try:
            descriptor, path = mkstemp(dir=folder, prefix="fetched-")
        except OSError as error:
            raise self._failed(error) from error
        self._path = Path(path)
        self._stream = open(descriptor, "wb", buffering=0)  # noqa: PTH123, SIM115  # closed in __exit__
        self._is_whole = False
        self.bytes = 0
        """Written so far."""

    def check_size(self, size: int) -> None:
        """Raises Terminal SourceInvalid if a content of that many bytes is too large."""
        if self._max_bytes is not None and size > self._max_bytes:
            words = f"{self._shown}: the file has more bytes than this operator fetches ({self._max_bytes:,})"
            raise Terminal(Reason.SOURCE_INVALID, words)

    def restart(self) -> None:
        """Nothing is written yet."""
        self.bytes = 0
        self._digest.reset()
        self._stream.truncate(0)

    def append(self, block: bytes) -> None:
        """Raises Transient StagingFull; Terminal SourceInvalid if the file becomes too large."""
        self.check_size(self.bytes + len(block))
        # An append that failed may have left a part of its block.
        self._stream.seek(self.bytes)
        rest = memoryview(block)
        try:
            # A disk that becomes full takes a part first.
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            raise self._failed(error) from error
        self._digest.update(block)
        self.bytes += len(block)

    def finish(self) -> Fetched:
        """The file, which stays."""
        self._is_whole = True
        return Fetched(self._path, self._digest.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()
        if not self._is_whole:
            self._path.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> Transient:
        what = "it does not fit into" if error.errno in _FULL else f"it cannot be written to ({error.strerror})"
        return Transient(Reason.STAGING_FULL, f"{self._shown}: {what} the operator's staging folder")

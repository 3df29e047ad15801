"""The folder in which rows of sources wait until they are written: bounded, and empty again afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient

PREFIX: Final = "rows-"
READERS: Final = 2
"""Sources that are read at the same time: each keeps a processor busy."""
RETRY_SECONDS: Final = 60.0


class StagingFolder:
    """Shared by all sets of the process.

    path: made if it is not there; None: in the system's folder for temporary files.
    most_bytes: that all sets may use together.
    is_ours: is the folder this process's alone? Then what an earlier process left in it is deleted.
    """

    def __init__(self, path: Path | None, most_bytes: int, *, is_ours: bool = False) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._used = 0
        self._lock = Lock()
        # Of its own: in the one that all use, a few sources would leave no thread to requests.
        self.readers = ThreadPoolExecutor(READERS, thread_name_prefix="source")
        """Where sources are read."""
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
            for left in path.glob(f"{PREFIX}*") if is_ours else ():
                shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def space(self) -> Iterator[StagingSpace]:
        """Space for the rows of one set, until the end of the block."""
        made = StagingSpace(self, Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._path)))
        try:
            yield made
        finally:
            shutil.rmtree(made.path, ignore_errors=True)
            self.add(-made.used)

    def take(self, size: int, own: int) -> None:
        """Counts bytes that are about to be written. own: how many the same set has already.

        Raises Terminal StagingFull if the set alone needs too much, Transient if others use the rest.
        """
        with self._lock:
            fits = self._used + size <= self._most_bytes
            self._used += size if fits else 0
        if fits:
            return
        limit = f"the staging folder holds at most {self._most_bytes:,} bytes (--staging-bytes)"
        if own + size > self._most_bytes:
            raise Terminal(
                Reason.STAGING_FULL,
                f"{limit}, and the files and new rows of this source need more: raise it, or divide the source into "
                "several sets",
            )
        raise Transient(Reason.STAGING_FULL, f"{limit}, and other sets use it now", retry_after=RETRY_SECONDS)

    def add(self, size: int) -> None:
        """Counts bytes that are used, or, if negative, that no longer are."""
        with self._lock:
            self._used += size


class StagingSpace:
    """The space of one set. May be used from any thread."""

    def __init__(self, folder: StagingFolder, path: Path) -> None:
        self._folder = folder
        self.path = path
        self.used = 0

    def take(self, size: int) -> None:
        """Counts bytes that are about to be written. Raises Terminal or Transient StagingFull."""
        self._folder.take(size, self.used)
        self.used += size

    def give_back(self, size: int) -> None:
        """Counts bytes that were deleted."""
        self._folder.add(-size)
        self.used -= size

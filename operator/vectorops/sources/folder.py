"""Files in a folder of this machine. They are read where they are; nothing is copied.

In the operator a namespace has a folder of its own, and no file outside it is read, wherever links lead: each path is
compared after its links are resolved. At the command line, whoever runs it may read what they can read.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import xxhash

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.sources.base import BLOCK_BYTES, Fetched, SourceFile, check_count
from vectorops.sources.wildcards import States, Wildcards

MAX_ENTRIES: Final = 200_000
"""Of folders that are read to find the files of one pattern."""


class FolderFiles:
    """See `base.OpenedSource`.

    pattern: a path with wildcards (see `wildcards`), relative to the folder. confined: refuse paths that lead out of
    the folder. Raises Terminal SourceRefused for a pattern that does so by itself.
    """

    def __init__(self, pattern: str, folder: Path, *, confined: bool) -> None:
        self._pattern = pattern
        self._folder = folder
        self._confined = confined
        if confined and (pattern.startswith("/") or ".." in pattern.split("/")):
            raise Terminal(
                Reason.SOURCE_REFUSED,
                f"{pattern}: the path must be relative to the folder of the namespace, and must not contain ..",
            )
        if "\0" in pattern:
            raise Terminal(Reason.SOURCE_INVALID, "source.files.path must not contain a NUL character")
        self._wildcards = Wildcards(pattern)
        self._entries = 0
        """Of folders, that the present listing has read."""

    def _list(self) -> Sequence[SourceFile]:
        if self._wildcards.is_literal:
            return [self._look(self._pattern)]
        files: dict[str, SourceFile] = {}
        self._entries = 0
        for name in self._find(self._wildcards.folder, self._wildcards.start):
            files[name] = self._look(name)
            check_count(len(files), self._pattern)
        return [files[name] for name in sorted(files)]

    def _find(self, above: str, states: States) -> Iterator[str]:
        """The names of the matching files. above: the name of a folder, "" or with a slash at the end."""
        try:
            self._resolve(above)
            with os.scandir(self._folder / above) as found:
                inside = list(found)
        except (FileNotFoundError, NotADirectoryError) as error:
            if above != self._wildcards.folder:
                return
            # Of a volume that is not mounted: this must not count as a source without files.
            raise Terminal(Reason.SOURCE_MISSING, f"{self._pattern}: there is no folder {above or '.'}") from error
        except OSError as error:
            raise _unreadable(above, error) from error
        self._entries += len(inside)
        if self._entries > MAX_ENTRIES:
            words = f"{self._pattern}: there are more than {MAX_ENTRIES:,} files to look through; choose a longer path"
            raise Terminal(Reason.SOURCE_INVALID, words)
        for entry in inside:
            name = above + entry.name
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError as error:
                if error.errno == errno.ELOOP:
                    continue
                raise _unreadable(name, error) from error
            leads_nowhere = not is_folder and not is_file and entry.is_symlink()
            # As in shells, ** follows no links, so that a link to a folder above it ends.
            states_below = self._wildcards.step(states, entry.name, deep=not entry.is_symlink())
            if is_folder and states_below:
                yield from self._find(f"{name}/", states_below)
            elif (is_file or leads_nowhere) and self._wildcards.is_match(states_below):
                yield name
            elif leads_nowhere and states_below:
                # To a folder whose files are missed, for all that can be told.
                raise Terminal(Reason.SOURCE_MISSING, f"{name}: the link leads nowhere")

    def _look(self, name: str) -> SourceFile:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise Terminal(Reason.SOURCE_INVALID, f"{name!r}: the name of the file is not UTF-8") from error
        try:
            found = self._resolve(name).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            what = "the link leads nowhere" if (self._folder / name).is_symlink() else "there is no such file"
            raise Terminal(Reason.SOURCE_MISSING, f"{name}: {what}") from error
        except OSError as error:
            raise _unreadable(name, error) from error
        if not stat.S_ISREG(found.st_mode):
            hint = f"; {name.rstrip('/')}/* means the files in it" if stat.S_ISDIR(found.st_mode) else ""
            raise Terminal(Reason.SOURCE_INVALID, f"{name}: this is no file{hint}")
        return SourceFile(name, _file_version(found), found.st_size)

    def _resolve(self, name: str) -> Path:
        """The path without links. Raises OSError; Terminal SourceRefused if it is not below the folder."""
        folder, path = Path(os.path.realpath(self._folder)), Path(os.path.realpath(self._folder / name))
        if self._confined and not path.is_relative_to(folder):
            raise Terminal(
                Reason.SOURCE_REFUSED, f"{name}: a link leads out of the folder of the namespace, which is forbidden"
            )
        return path

    def _fetch(self, file: SourceFile) -> Fetched:
        digest = xxhash.xxh3_128()
        try:
            path = self._resolve(file.name)
            with path.open("rb", buffering=0) as stream:
                _check_version(file, os.fstat(stream.fileno()))
                while block := stream.read(BLOCK_BYTES):
                    digest.update(block)
            _check_version(file, path.stat())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Transient(Reason.SOURCE_CHANGED, f"{file.name}: the file is gone since it was listed") from error
        except OSError as error:
            raise _unreadable(file.name, error) from error
        return Fetched(path, digest.hexdigest(), is_temporary=False)

    async def list(self) -> Sequence[SourceFile]:
        return await asyncio.to_thread(self._list)

    async def fetch(self, file: SourceFile, folder: Path) -> Fetched:  # noqa: ARG002
        return await asyncio.to_thread(self._fetch, file)

    async def close(self) -> None: ...


def _file_version(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def _check_version(file: SourceFile, found: os.stat_result) -> None:
    if _file_version(found) != file.version:
        raise Transient(Reason.SOURCE_CHANGED, f"{file.name}: the file changed while it was read")


def _unreadable(name: str, error: OSError) -> Transient:
    return Transient(Reason.SOURCE_UNAVAILABLE, f"{name}: the file or folder cannot be read ({error.strerror})")

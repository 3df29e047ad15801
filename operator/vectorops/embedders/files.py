"""The files of models: found in the model folder, in the hub's cache, or on the hub, in this order.

Made by `pool`. The providers whose models are files read the small ones here to resolve a schema; `worker` has the
weights fetched when the first text comes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from vectorops.api.reasons import Reason
from vectorops.embedders.base import FOLDER_REVISION, EmbedderSettings
from vectorops.embedders.hub import ANSWER_SECONDS, Cached, Hub, is_offline, read_head
from vectorops.errors import Terminal, Transient

T = TypeVar("T")

WEIGHTS: Final = (".safetensors", ".onnx")
PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Weights that run code when they are read. Never loaded, so they are no part of a folder's revision."""

NOT_READ: Final = (*PICKLED, ".py", ".pyc", ".md", ".h5", ".msgpack", ".ot", ".gguf", ".tflite")
"""What else changes no vector: code is never run, and other weights are never loaded."""

WITHOUT_FILES: Final = frozenset({"Normalize", "Dropout"})
"""Modules of sentence-transformers whose folder is empty, so that no hub keeps it."""


MOST_JSON_BYTES: Final = 4_000_000
"""Of one small file. Its author is a stranger, and it is read in the operator's own process."""

THREADS: Final = 8
"""Calls to the hub, and folders that are hashed, at a time. In threads of their own: a hub that hangs must not take
those by which names of servers are looked up.
"""


class Place(Protocol):
    """Where the files of a snapshot are."""

    async def path(self, name: str) -> Path:
        """A file as a path on this machine."""

    async def head(self, name: str, size: int) -> bytes:
        """The first bytes of a file."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One model at one revision, its small files at hand.

    revision: a commit, or `sha256:...` of the files of a plain folder. names: paths of all its files, with /.
    origin: where it was found, for `sources`: `the model folder`, `the hub's cache` or `the hub`.
    """

    model: str
    revision: str
    origin: str
    names: frozenset[str]
    place: Place

    async def json(self, name: str) -> Any:
        """A JSON file, None if there is none of that name."""
        if name not in self.names:
            return None
        path = await self.place.path(name)
        try:
            content = await asyncio.to_thread(read_head, path, MOST_JSON_BYTES + 1)
        except OSError as error:
            raise _unreadable(self.model, name, error) from error
        if len(content) > MOST_JSON_BYTES:
            raise Terminal(
                Reason.MODEL_REFUSED,
                f"the file {name!r} of the model {self.model} has more than {MOST_JSON_BYTES} bytes: choose another "
                "model",
            )
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Terminal(
                Reason.MODEL_REFUSED,
                f"the file {name!r} of the model {self.model}, in {self.origin}, is no JSON: restore the file",
            ) from error

    async def head(self, name: str, size: int) -> bytes:
        """The first bytes of a file, as many as there are."""
        return await self.place.head(name, size)


class ModelFiles:
    """See the module. Shared by the providers whose models are files."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        self._hub = Hub(answer_seconds=min(ANSWER_SECONDS, settings.timeout_seconds))
        self._threads = ThreadPoolExecutor(THREADS, "models")
        self._digests: dict[tuple[str, int, int], bytes] = {}

    def has_folder(self, model: str) -> bool:
        """Is the model a plain folder, which has no revisions but its own files?"""
        return self._folder(model) is not None

    async def find(self, model: str, revision: str | None) -> Snapshot:
        """revision: branch, tag, commit, or `sha256:...`; None: what is there, the newest commit of the hub.

        Raises Terminal ModelNotFound, ModelGated, ModelRefused, Transient EmbedderUnreachable, EmbedderFailed (no room
        for the files), RateLimited.
        """
        folder = self._folder(model)
        if folder is not None:
            return await self._in_folder(model, folder, revision)
        if revision is not None and revision.startswith(FOLDER_REVISION):
            raise self._moved(model)
        cached = await asyncio.to_thread(self._hub.cached, model, revision)
        there = await asyncio.to_thread(_in_cache, model, cached) if cached is not None else None
        if self._is_offline:
            if there is None:
                raise self._not_there(model, revision)
            return there
        if there is not None and revision is not None and await _is_whole(there):
            return there
        try:
            commit, names = await self._ask(self._hub.look_up, model, revision)
        except Transient:
            # Older than what the hub would say, but a model that can be run.
            if there is not None and any(name.endswith(WEIGHTS) for name in there.names):
                return there
            raise
        return Snapshot(model, commit, "the hub", names, _OnHub(self._hub, self._ask, model, commit))

    async def fetch(self, model: str, revision: str, patterns: Sequence[str]) -> Path:
        """The folder with all files of this revision that match one of the patterns (fnmatch), downloaded if need be.

        revision: of a Snapshot. Raises as `find`; Terminal ModelNotFound, too, if a plain folder's files are no longer
        those of the digest.
        """
        if revision.startswith(FOLDER_REVISION):
            folder = self._folder(model)
            if folder is None:
                raise self._moved(model)
            await self._in_folder(model, folder, revision)
            return folder
        cached = await asyncio.to_thread(self._hub.cached, model, revision)
        if self._is_offline:
            if cached is None:
                raise self._not_there(model, revision)
            return await self._in_thread(partial(self._hub.download, model, revision, patterns, offline=True))
        try:
            return await self._in_thread(partial(self._hub.download, model, revision, patterns, offline=False))
        except Transient:
            if cached is not None and await _is_whole(await asyncio.to_thread(_in_cache, model, cached)):
                return await self._in_thread(partial(self._hub.download, model, revision, patterns, offline=True))
            raise

    @property
    def _is_offline(self) -> bool:
        return self._settings.offline or is_offline()

    def _folder(self, model: str) -> Path | None:
        if self._settings.model_folder is None:
            return None
        folder = self._settings.model_folder / model
        return folder if folder.is_dir() else None

    async def _in_folder(self, model: str, folder: Path, revision: str | None) -> Snapshot:
        try:
            names, digest = await self._in_thread(self._digest, folder)
        except OSError as error:
            raise _unreadable(model, str(error.filename or folder), error) from error
        if not names:
            raise Terminal(Reason.MODEL_NOT_FOUND, f"the folder {folder} is empty: put the files of {model} into it")
        if revision is not None and revision.startswith(FOLDER_REVISION) and revision != digest:
            raise self._moved(model)
        if revision not in (None, digest):
            raise Terminal(
                Reason.MODEL_NOT_FOUND,
                f"the model {model} is a plain folder below --model-folder, which has no revision {revision!r}: remove "
                "`revision`, or put the model into the hub's cache instead",
            )
        return Snapshot(model, digest, "the model folder", names, _Folder(model, folder))

    def _digest(self, folder: Path) -> tuple[frozenset[str], str]:
        """Names of all files, and the revision that follows from the names and content of those that are read."""
        names = frozenset(_names(folder))
        whole = hashlib.sha256()
        for name in sorted(names):
            if not name.lower().endswith(NOT_READ):
                whole.update(name.encode(errors="surrogateescape") + b"\0" + self._digest_of(folder / name))
        return names, FOLDER_REVISION + whole.hexdigest()

    def _digest_of(self, path: Path) -> bytes:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            with path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "sha256").digest()
        return self._digests[key]

    async def _ask(self, call: Callable[..., T], *args: object) -> T:
        """A call to the hub, for as long as one answer may take."""
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._in_thread(call, *args)
        except TimeoutError as error:
            raise Transient(
                Reason.EMBEDDER_UNREACHABLE,
                f"the model hub {self._hub.host} gives no answer within {self._settings.timeout_seconds:g} s; it is "
                "asked again",
            ) from error

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    def _moved(self, model: str) -> Terminal:
        return Terminal(
            Reason.MODEL_NOT_FOUND,
            f"the files of the model {model} below --model-folder are no longer those that its vectors were made "
            "with: restore them, or let the collection be resolved anew and approve the plan",
        )

    def _not_there(self, model: str, revision: str | None) -> Terminal:
        looked = [f"the hub's cache {self._hub.cache}"]
        if self._settings.model_folder is not None:
            looked.insert(0, f"the model folder {self._settings.model_folder}")
        at = f" at {revision}" if revision is not None else ""
        return Terminal(
            Reason.MODEL_NOT_FOUND,
            f"the model {model}{at} is not in {' nor in '.join(looked)}, and the hub may not be asked: put it there, "
            "or run without --offline",
        )


@dataclass(frozen=True, slots=True)
class _Folder:
    model: str
    folder: Path

    async def path(self, name: str) -> Path:
        return self.folder / name

    async def head(self, name: str, size: int) -> bytes:
        try:
            return await asyncio.to_thread(read_head, self.folder / name, size)
        except OSError as error:
            raise _unreadable(self.model, name, error) from error


@dataclass(frozen=True, slots=True)
class _OnHub:
    hub: Hub
    ask: Callable[..., Awaitable[Any]]
    model: str
    commit: str

    async def path(self, name: str) -> Path:
        path: Path = await self.ask(self.hub.file, self.model, self.commit, name)
        return path

    async def head(self, name: str, size: int) -> bytes:
        head: bytes = await self.ask(self.hub.head, self.model, self.commit, name, size)
        return head


def _in_cache(model: str, cached: Cached) -> Snapshot:
    names = frozenset(_names(cached.folder))
    return Snapshot(model, cached.commit, "the hub's cache", names, _Folder(model, cached.folder))


async def _is_whole(cached: Snapshot) -> bool:
    """Does the cache hold a model that can be run, so that the hub need not be asked what else there is?

    The cache does not know: whoever asked for one file put one file there.
    """
    names = cached.names
    if any(name.endswith(".onnx") for name in names) and "tokenizer.json" in names:
        return True
    folders = {name.rpartition("/")[0] for name in names if name.endswith(WEIGHTS)}
    if not folders or any(name.endswith(PICKLED) and name.rpartition("/")[0] not in folders for name in names):
        return False
    modules = await cached.json("modules.json")
    if not isinstance(modules, list):
        # Without it, the hub may have one all the same.
        return False
    needed = [
        str(module.get("path", ""))
        for module in modules
        if isinstance(module, dict) and str(module.get("type", "")).rpartition(".")[2] not in WITHOUT_FILES
    ]
    return all(any(name.startswith(f"{path}/") for name in names) for path in needed if path not in ("", "."))


def _names(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, with /, but hidden ones. Links are followed: volumes are mounted so."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            path = Path(place) / name
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _unreadable(model: str, name: str, error: OSError) -> Terminal:
    return Terminal(
        Reason.MODEL_NOT_FOUND,
        f"{name!r} of the model {model} cannot be read: {error.strerror or type(error).__name__}",
    )

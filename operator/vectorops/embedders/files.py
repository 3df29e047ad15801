"""The files of models: found in the model folder, in the hub's cache, or on the hub, in this order.

Small files are read to resolve a schema. Weights are downloaded when the first text is embedded.
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
from vectorops.embedders.hub import ANSWER_SECONDS, CachedModel, Hub, is_offline, read_head
from vectorops.errors import Terminal, Transient

T = TypeVar("T")

WEIGHTS: Final = (".safetensors", ".onnx")
PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Weights that run code when they are read. They are never loaded, and are no part of a folder's revision."""

NOT_READ: Final = (*PICKLED, ".py", ".pyc", ".md", ".h5", ".msgpack", ".ot", ".gguf", ".tflite")
"""Files that change no vector: code is never run, and other weights are never loaded."""

WITHOUT_FILES: Final = frozenset({"Normalize", "Dropout"})
"""Modules of sentence-transformers whose folder is empty, so that hubs do not store it."""

MOST_JSON_BYTES: Final = 4_000_000
"""Of one small file. Its author is not trusted, and it is read in the operator's own process."""

THREADS: Final = 8
"""Simultaneous calls to the hub and hashings of folders. They have their own threads: a hub that hangs must not block
those that resolve host names.
"""


class FileSource(Protocol):
    """Where the files of a snapshot are."""

    async def path(self, name: str) -> Path:
        """A file as a path on this machine."""

    async def head(self, name: str, size: int) -> bytes:
        """The first bytes of a file."""


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """One model at one revision, whose small files can be read."""

    model: str
    revision: str
    """A commit, or `sha256:...` of the files of a plain folder."""
    origin: str
    """For `sources`: `the model folder`, `the hub's cache` or `the hub`."""
    names: frozenset[str]
    """Paths of all its files, with /."""
    source: FileSource

    async def json(self, name: str) -> Any:
        """A JSON file; None if there is no such file. Raises Terminal ModelRefused or ModelNotFound."""
        if name not in self.names:
            return None
        path = await self.source.path(name)
        try:
            content = await asyncio.to_thread(read_head, path, MOST_JSON_BYTES + 1)
        except OSError as error:
            raise _cannot_read(self.model, name, error) from error
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
                f"the file {name!r} of the model {self.model}, in {self.origin}, is not JSON: restore the file",
            ) from error

    async def head(self, name: str, size: int) -> bytes:
        """The first bytes of a file, as many as there are."""
        return await self.source.head(name, size)


class ModelFiles:
    """Finds and downloads the files of models."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        self._hub = Hub(answer_seconds=min(ANSWER_SECONDS, settings.timeout_seconds))
        self._threads = ThreadPoolExecutor(THREADS, "models")
        self._digests: dict[tuple[str, int, int], bytes] = {}

    def has_folder(self, model: str) -> bool:
        """Is the model a plain folder, whose only revision is its files?"""
        return self._folder(model) is not None

    async def find(self, model: str, revision: str | None) -> ModelSnapshot:
        """Finds a model. revision: branch, tag, commit, or `sha256:...`; None: what there is, or the hub's newest
        commit.

        Raises Terminal ModelNotFound, ModelGated, ModelRefused, Transient EmbedderUnreachable, EmbedderFailed (no room
        for the files), RateLimited.
        """
        folder = self._folder(model)
        if folder is not None:
            return await self._read_folder(model, folder, revision)
        if revision is not None and revision.startswith(FOLDER_REVISION):
            raise self._files_changed(model)
        cached = await asyncio.to_thread(self._hub.cached, model, revision)
        there = await asyncio.to_thread(_snapshot_of_cache, model, cached) if cached is not None else None
        if self._is_offline:
            if there is None:
                raise self._not_found(model, revision)
            return there
        if there is not None and revision is not None and await _is_complete(there):
            return there
        try:
            commit, names = await self._ask(self._hub.look_up, model, revision)
        except Transient:
            # Perhaps older than on the hub, but it can be run.
            if there is not None and any(name.endswith(WEIGHTS) for name in there.names):
                return there
            raise
        return ModelSnapshot(model, commit, "the hub", names, _OnHub(self._hub, self._ask, model, commit))

    async def fetch(self, model: str, revision: str, patterns: Sequence[str]) -> Path:
        """The folder with all files of this revision that match one of the patterns (fnmatch), downloaded if need be.

        revision: of a ModelSnapshot. Raises like `find`, and Terminal ModelNotFound if the files of a plain folder no
        longer have this digest.
        """
        if revision.startswith(FOLDER_REVISION):
            folder = self._folder(model)
            if folder is None:
                raise self._files_changed(model)
            await self._read_folder(model, folder, revision)
            return folder
        cached = await asyncio.to_thread(self._hub.cached, model, revision)
        if self._is_offline:
            if cached is None:
                raise self._not_found(model, revision)
            return await self._in_thread(partial(self._hub.download, model, revision, patterns, offline=True))
        try:
            return await self._in_thread(partial(self._hub.download, model, revision, patterns, offline=False))
        except Transient:
            if cached is not None and await _is_complete(await asyncio.to_thread(_snapshot_of_cache, model, cached)):
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

    async def _read_folder(self, model: str, folder: Path, revision: str | None) -> ModelSnapshot:
        try:
            names, digest = await self._in_thread(self._hash_folder, folder)
        except OSError as error:
            raise _cannot_read(model, str(error.filename or folder), error) from error
        if not names:
            raise Terminal(Reason.MODEL_NOT_FOUND, f"the folder {folder} is empty: put the files of {model} into it")
        if revision is not None and revision.startswith(FOLDER_REVISION) and revision != digest:
            raise self._files_changed(model)
        if revision not in (None, digest):
            raise Terminal(
                Reason.MODEL_NOT_FOUND,
                f"the model {model} is a plain folder below --model-folder and has no revision {revision!r}: remove "
                "`revision`, or put the model into the hub's cache instead",
            )
        return ModelSnapshot(model, digest, "the model folder", names, _Folder(model, folder))

    def _hash_folder(self, folder: Path) -> tuple[frozenset[str], str]:
        """Names of all files, and a hash of the names and contents of those that are read."""
        names = frozenset(_list_files(folder))
        whole = hashlib.sha256()
        for name in sorted(names):
            if name.lower().endswith(NOT_READ):
                continue
            path = folder / name
            stat = path.stat()
            key = (str(path), stat.st_size, stat.st_mtime_ns)
            if key not in self._digests:
                with path.open("rb") as file:
                    self._digests[key] = hashlib.file_digest(file, "sha256").digest()
            whole.update(name.encode(errors="surrogateescape") + b"\0" + self._digests[key])
        return names, FOLDER_REVISION + whole.hexdigest()

    async def _ask(self, call: Callable[..., T], *args: object) -> T:
        """Calls the hub, with the timeout for one answer."""
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._in_thread(call, *args)
        except TimeoutError as error:
            raise Transient(
                Reason.EMBEDDER_UNREACHABLE,
                f"the model hub {self._hub.host} does not answer within {self._settings.timeout_seconds:g} s; retrying",
            ) from error

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    def _files_changed(self, model: str) -> Terminal:
        return Terminal(
            Reason.MODEL_NOT_FOUND,
            f"the files of the model {model} below --model-folder are not those that made the stored vectors: restore "
            "them, or wait until the collection is resolved again, and approve its plan",
        )

    def _not_found(self, model: str, revision: str | None) -> Terminal:
        looked = [f"the hub's cache {self._hub.cache}"]
        if self._settings.model_folder is not None:
            looked.insert(0, f"the model folder {self._settings.model_folder}")
        at = f" at {revision}" if revision is not None else ""
        return Terminal(
            Reason.MODEL_NOT_FOUND,
            f"the model {model}{at} is not in {' nor in '.join(looked)}, and --offline forbids downloads: put it "
            "there, or run without --offline",
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
            raise _cannot_read(self.model, name, error) from error


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


def _snapshot_of_cache(model: str, cached: CachedModel) -> ModelSnapshot:
    names = frozenset(_list_files(cached.folder))
    return ModelSnapshot(model, cached.commit, "the hub's cache", names, _Folder(model, cached.folder))


async def _is_complete(cached: ModelSnapshot) -> bool:
    """Does the cache hold a model that can be run, so that the hub is not needed?

    The cache does not record that: it holds whatever single files were ever downloaded.
    """
    names = cached.names
    if any(name.endswith(".onnx") for name in names) and "tokenizer.json" in names:
        return True
    folders = {name.rpartition("/")[0] for name in names if name.endswith(WEIGHTS)}
    if not folders or any(name.endswith(PICKLED) and name.rpartition("/")[0] not in folders for name in names):
        return False
    modules = await cached.json("modules.json")
    if not isinstance(modules, list):
        # The hub may have one that the cache lacks.
        return False
    needed = [
        str(module.get("path", ""))
        for module in modules
        if isinstance(module, dict) and str(module.get("type", "")).rpartition(".")[2] not in WITHOUT_FILES
    ]
    return all(any(name.startswith(f"{path}/") for name in names) for path in needed if path not in ("", "."))


def _list_files(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, with /, without hidden ones. Links are followed: mounted volumes have them."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_raise_error):
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


def _raise_error(error: OSError) -> None:
    raise error


def _cannot_read(model: str, name: str, error: OSError) -> Terminal:
    return Terminal(
        Reason.MODEL_NOT_FOUND,
        f"{name!r} of the model {model} cannot be read: {error.strerror or type(error).__name__}",
    )

"""Models that a child process loads in the tests: what they do is told by the texts.

Each text's vector is its length and the process that made it. What was asked for is written into the model's folder.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved
from vectorops.embedders.files import ModelFiles
from vectorops.embedders.models import Load, Loading
from vectorops.embedders.worker import LocalEmbedder
from vectorops.vectors import VectorData

DIE = "die"
CRASH = "crash"
BAD = "bad"
NAN = "nan"
SLOW = "slow"
PRINT = "print"


class Obedient:
    """Does what the texts say. Texts that are longer than 100 characters are cut."""

    def __init__(self, loading: Loading) -> None:
        self.asked = Path(loading.folder) / "asked"

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        with self.asked.open("a") as file:
            file.writelines(f"{text}\n" for text in texts)
        return [self._vector(text) for text in texts]

    def embed_queries(self, texts: Sequence[str], prompt: str) -> Iterable[VectorData]:
        return self.embed([prompt + text for text in texts])

    def is_cut(self, texts: Sequence[str]) -> Iterable[bool]:
        return [len(text) > 100 for text in texts]

    def _vector(self, text: str) -> VectorData:
        match text.split(maxsplit=1)[0]:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "bad":
                raise TypeError(text)
            case "nan":
                return np.array([np.nan, 0], np.float32)
            case "slow":
                time.sleep(600)
            case "print":
                print("to stdout", flush=True)  # noqa: T201
                os.write(2, b"to stderr\n")
        return np.array([len(text), os.getpid()], np.float32)


class Unreliable(Obedient):
    """Cannot read anything."""

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        raise RuntimeError("CUDA error: device-side assert triggered")


def unloadable(loading: Loading) -> Any:
    Path(loading.folder, "loaded").touch()
    raise OSError(f"cannot open {loading.folder}/config.json or /usr/lib/python/site-packages/library/code.py")


def unloadable_once(loading: Loading) -> Any:
    tried = Path(loading.folder, "tried")
    if not tried.exists():
        tried.touch()
        raise ValueError("not yet")
    return Obedient(loading)


def killed_at_once(loading: Loading) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


class Folder(ModelFiles):
    """The files of every model are in one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(EmbedderSettings())
        self.folder = folder
        self.fetched: list[tuple[str, str]] = []

    async def fetch(self, model: str, revision: str, patterns: Sequence[str]) -> Path:
        self.fetched.append((model, revision))
        return self.folder


@asynccontextmanager
async def opened(folder: Path, load: Load = Obedient, **changes: Any) -> AsyncIterator[LocalEmbedder]:
    resolved = replace(Resolved({}, "sentenceTransformers", "m", "dense", 2), **changes)
    embedder = LocalEmbedder(resolved, Folder(folder), EmbedderSettings(), load=load)
    try:
        yield embedder
    finally:
        await embedder.close()


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def process_of(embedded: EmbeddedTexts) -> int:
    """The process that made the first vector."""
    vector = embedded.vectors[0]
    assert isinstance(vector, np.ndarray)
    return int(vector[1])


async def parent(folder: Path) -> None:
    """What a program with a local model does, in a process of its own."""
    async with opened(folder) as embedder:
        (folder / "child").write_text(str(process_of(await embedder.embed([PRINT]))))
        if (folder / "stay").exists():
            await embedder.embed([SLOW])


if __name__ == "__main__":
    asyncio.run(parent(Path(sys.argv[1])))

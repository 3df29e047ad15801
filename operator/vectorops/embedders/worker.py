"""The parent of a local model: one child process for each model, loaded for its first text.

A process pool of the standard library does not report how its process ended, and cannot end one that is at work.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from vectorops.api.reasons import Reason
from vectorops.embedders import models
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved, Unusable
from vectorops.embedders.files import ModelFiles
from vectorops.errors import Terminal, Transient, VectorOpsError
from vectorops.vectors import Sparse, VectorData

PATTERNS: Final = (
    "*.json",
    "*.safetensors",
    # Vocabularies, in the forms that tokenizers have.
    "*.txt",
    "*.model",
    "*.spm",
    "*.bpe",
    "*.tiktoken",
    # Chat templates, which some models put around a text, and the metadata of Stanford's ColBERT.
    "*.jinja",
    "*.metadata",
)
"""The files that a model of sentence-transformers is loaded from: no pickles, no code."""

LIBRARIES: Final = {
    "sentenceTransformers": ("sentence_transformers", "sentence-transformers"),
    "fastEmbed": ("fastembed", "fastembed"),
}
"""By provider: the library's package, and the extra that installs it."""

CHUNK: Final = 512
"""Texts that are sent to the child at once: callers take turns, and only these vectors are in memory twice."""

DEATHS: Final = 3
"""After so many in a row, or with the same texts, the child is started again at the next resync only."""

END_SECONDS: Final = 10.0

ANSWER_SECONDS: Final = 600.0
"""Longest wait for loading the model, and for each chunk: the caller occupies one of the operator's workers."""


class LocalEmbedder:
    """A `base.TextEmbedder` whose callers share one child and take turns.

    repository: the name of the repository, if not the model's. patterns: of the files that are needed.
    """

    def __init__(
        self,
        resolved: Resolved,
        files: ModelFiles,
        settings: EmbedderSettings,
        *,
        repository: str | None = None,
        patterns: Sequence[str] = PATTERNS,
        load: models.Load = models.load,
    ) -> None:
        self._resolved = resolved
        self._files = files
        self._settings = settings
        self._repository = repository or resolved.model
        self._patterns = patterns
        self._load = load
        self._child: Child | None = None
        self._starting = asyncio.Lock()
        # Its queue makes callers take turns, one chunk at a time.
        self._thread = ThreadPoolExecutor(1, "embedder", initializer=_block_interrupts)
        self._deaths = 0
        # By the hash of a chunk: other chunks may succeed in between.
        self._deaths_over: Counter[int] = Counter()
        self._is_closed = False

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        return await self._embed(texts, None)

    async def embed_queries(self, texts: Sequence[str], resolved: Resolved) -> EmbeddedTexts:
        return await self._embed(texts, resolved.query_prompt)

    async def _embed(self, texts: Sequence[str], query_prompt: str | None) -> EmbeddedTexts:
        # The longest first, as the library does within a batch: the peak of memory comes at the beginning.
        unique = sorted(dict.fromkeys(texts), key=len, reverse=True)
        vectors: dict[str, VectorData | Unusable] = {}
        cut: set[str] = set()
        for start in range(0, len(unique), CHUNK):
            chunk = unique[start : start + CHUNK]
            answer = await self._embed_chunk(chunk, query_prompt)
            vectors.update(zip(chunk, map(self._check_schema, answer.vectors), strict=True))
            cut.update(text for text, is_cut in zip(chunk, answer.cut, strict=True) if is_cut)
        self._deaths = 0
        return EmbeddedTexts(tuple(vectors[text] for text in texts), sum(text in cut for text in texts))

    async def close(self) -> None:
        self._is_closed = True
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await self._run_in_thread(child.end)
        self._thread.shutdown(wait=False)

    async def _embed_chunk(self, texts: list[str], query_prompt: str | None) -> models.EmbeddedChunk:
        child = await self._get_child()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._thread, child.ask, texts, query_prompt)
        except ChildDied as died:
            raise self._handle_death(child, died, hash(tuple(texts))) from died
        self._deaths_over.pop(hash(tuple(texts)), None)
        if isinstance(answer, models.ModelFailure):
            if self._child is child:
                self._child = None
                await self._run_in_thread(child.end)
            raise Terminal(answer.reason, f"{self._resolved.words}: {answer.words}")
        return answer

    async def _get_child(self) -> Child:
        async with self._starting:
            if self._is_closed:
                raise self._stopped()
            if self._child is None:
                self._child = Child(self._load, await self._loading())
            return self._child

    async def _loading(self) -> models.Loading:
        resolved = self._resolved
        package, extra = LIBRARIES[resolved.provider]
        if importlib.util.find_spec(package) is None:
            raise Terminal(
                Reason.EMBEDDER_NOT_INSTALLED,
                f"the library {extra}, which runs the {resolved.words}, is not installed: the default image does "
                f"not have it; run an image built with it, or install vectorops[{extra}]",
            )
        folder = await self._files.fetch(self._repository, resolved.revision, self._patterns)
        return models.Loading(
            provider=resolved.provider,
            model=resolved.model,
            kind=resolved.kind,
            folder=str(folder),
            document_prompt=resolved.document_prompt,
            dimensions=resolved.dimensions,
            device=self._settings.device,
            threads=self._settings.threads,
        )

    async def _run_in_thread(self, end: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, end)

    def _handle_death(self, child: Child, died: ChildDied, texts: int) -> VectorOpsError:
        if self._is_closed:
            return self._stopped()
        # Only the first caller counts the death: those that waited behind it see the same one.
        if self._child is child:
            self._child = None
            self._deaths += 1
            self._deaths_over[texts] += 1
        words = f"the process that runs the {self._resolved.words} {died.how}"
        todo = "give the operator more memory, or name a smaller model"
        if max(self._deaths, self._deaths_over[texts]) >= DEATHS:
            return Terminal(
                Reason.EMBEDDER_FAILED,
                f"{words}, {DEATHS} times or more; it is started again at the next resync: {todo}",
            )
        return Transient(Reason.EMBEDDER_FAILED, f"{words}; it is started again. If this repeats: {todo}")

    def _stopped(self) -> Transient:
        return Transient(Reason.EMBEDDER_FAILED, f"the {self._resolved.words} is being closed")

    def _check_schema(self, vector: VectorData | Unusable) -> VectorData | Unusable:
        resolved = self._resolved
        match vector:
            case Unusable():
                return vector
            case Sparse():
                fits, found = resolved.kind == "sparse", "a sparse vector"
            case _:
                fits = resolved.kind == KINDS.get(vector.ndim) and vector.shape[-1] == resolved.size
                found = f"a {KINDS.get(vector.ndim, 'strange')} vector of size {vector.shape[-1]}"
        if not fits:
            size = f" of size {resolved.size}" if resolved.size is not None else ""
            raise Terminal(
                Reason.EMBEDDER_MISMATCH,
                f"the {resolved.words} makes {found}, but was resolved to a {resolved.kind} vector{size}: its files "
                "contradict its weights; choose another revision",
            )
        return vector


KINDS: Final = {1: "dense", 2: "multivector"}
"""Kind of a vector by its number of axes."""


class ChildDied(Exception):
    """The child process ended, or does not answer. how: what happened, as the end of a sentence."""

    def __init__(self, exit_code: int | None, *, is_stuck: bool = False) -> None:
        if is_stuck:
            self.how = f"did not answer within {ANSWER_SECONDS:g} s"
        elif exit_code == -signal.SIGKILL:
            self.how = "was killed (SIGKILL), most likely because it needed too much memory"
        elif exit_code is not None and exit_code < 0:
            self.how = f"crashed ({signal.Signals(-exit_code).name})"
        elif exit_code is None:
            self.how = "could not be started"
        else:
            self.how = f"ended by itself (exit status {exit_code})"
        super().__init__(self.how)


class Child:
    """A child process and the pipe to it. All methods but `kill` may block, and must be called from one thread."""

    def __init__(self, load: models.Load, loading: models.Loading) -> None:
        self._load = load
        self._loading = loading
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._failure: models.ModelFailure | None = None
        self._exit_code: int | None = None
        self._is_killed = False

    def ask(self, texts: list[str], query_prompt: str | None = None) -> models.EmbeddedChunk | models.ModelFailure:
        """Embeds texts; starts the process if necessary. After a ModelFailure it is useless. Raises ChildDied.

        query_prompt: of queries; None: the texts are documents.
        """
        try:
            if self._connection is None:
                self._connection = self._start()
                self._failure = self._receive(self._connection)
            if self._failure is not None:
                return self._failure
            self._connection.send((texts, query_prompt))
            answer: models.EmbeddedChunk | models.ModelFailure = self._receive(self._connection)
        except (EOFError, OSError) as error:
            self.end()
            raise ChildDied(self._exit_code, is_stuck=isinstance(error, TimeoutError)) from error
        if isinstance(answer, models.ModelFailure):
            self._failure = answer
        return answer

    def _receive(self, connection: Connection) -> Any:
        if not connection.poll(ANSWER_SECONDS):
            self.kill()
            raise TimeoutError
        return connection.recv()

    def kill(self) -> None:
        """Ends the process at once. May be called from any thread."""
        self._is_killed = True
        process = self._process
        if process is not None:
            # Its own thread may be closing it.
            with contextlib.suppress(ValueError):
                process.kill()

    def end(self) -> None:
        """Returns when the process has ended and its memory is free."""
        if self._connection is not None:
            self._connection.close()
        process, self._process = self._process, None
        if process is None:
            return
        # It ends by itself when the pipe is closed, unless it is at work.
        process.join(END_SECONDS if not self._is_killed else None)
        if process.exitcode is None:
            process.kill()
            process.join()
        self._exit_code = process.exitcode
        process.close()

    def _start(self) -> Connection:
        # Spawned, never forked: the operator has threads, and gRPC's do not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=models.serve, args=(theirs, self._load, self._loading), name="embedder", daemon=True
        )
        process.start()
        # Not before: a process that was not started can be neither killed nor joined.
        self._process = process
        # Otherwise the pipe would not be closed when the child ends.
        theirs.close()
        if self._is_killed:
            process.kill()
        return ours


def _block_interrupts() -> None:
    """^C reaches all processes of a terminal, but the parent decides when the child ends.

    The child inherits the blocked signals of the thread that starts it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

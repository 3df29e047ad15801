"""The parent's side of a local model: one child process for each, loaded when its first text comes.

Opened by the providers whose models run here (`sentence_transformers`, `fast_embed`). A process pool of the standard
library would do, but for two things: it does not tell how its process ended, and gives no way to end one that works.
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
    # Templates of chats, which some models put around a text, and what Stanford's ColBERT says of itself.
    "*.jinja",
    "*.metadata",
)
"""The files that a model of sentence-transformers is loaded from: no pickles, no code."""

LIBRARIES: Final = {
    "sentenceTransformers": ("sentence_transformers", "sentence-transformers"),
    "fastEmbed": ("fastembed", "fastembed"),
}
"""By provider: the package that the library is, and the extra that brings it."""

CHUNK: Final = 512
"""Texts that are handed over at a time: callers take turns after so many, and no more vectors are in two places."""

DEATHS: Final = 3
"""After so many in a row, or over the same texts, starting once more is left to the resync."""

END_SECONDS: Final = 10.0

ANSWER_SECONDS: Final = 600.0
"""Longest wait for the model to be loaded, and for each chunk: whoever waits holds one of the operator's workers."""


class LocalEmbedder:
    """See `base.Embedder`. Any number of callers share the child and take turns.

    repository: where the files are, if not at the model's name. patterns: of the files that are needed.
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
        # Its queue is the turns: whoever comes first is served first, one chunk at a time.
        self._thread = ThreadPoolExecutor(1, "embedder", initializer=_leave_interrupts_to_others)
        self._deaths = 0
        # By the hash of a chunk: others' texts, and other vectors of the same points, go well in between.
        self._deaths_over: Counter[int] = Counter()
        self._is_closed = False

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        # The longest first, as the library does within a batch: memory is at its most at the beginning.
        unique = sorted(dict.fromkeys(texts), key=len, reverse=True)
        vectors: dict[str, VectorData | Unusable] = {}
        cut: set[str] = set()
        for start in range(0, len(unique), CHUNK):
            chunk = unique[start : start + CHUNK]
            answer = await self._answer(chunk)
            vectors.update(zip(chunk, map(self._checked, answer.vectors), strict=True))
            cut.update(text for text, is_cut in zip(chunk, answer.cut, strict=True) if is_cut)
        self._deaths = 0
        return EmbeddedTexts(tuple(vectors[text] for text in texts), sum(text in cut for text in texts))

    async def close(self) -> None:
        self._is_closed = True
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await self._in_turn(child.end)
        self._thread.shutdown(wait=False)

    async def _answer(self, texts: list[str]) -> models.Answer:
        child = await self._running()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._thread, child.ask, texts)
        except ChildDied as died:
            raise self._dead(child, died, hash(tuple(texts))) from died
        self._deaths_over.pop(hash(tuple(texts)), None)
        if isinstance(answer, models.Failure):
            await self._let_go(child)
            raise Terminal(answer.reason, f"{self._resolved.words}: {answer.words}")
        return answer

    async def _running(self) -> Child:
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
                f"the library {extra}, which runs the {resolved.words}, is not installed: the default image is "
                f"without it; run an image built with it, or install vectorops[{extra}]",
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

    async def _let_go(self, child: Child) -> None:
        if self._child is child:
            self._child = None
            await self._in_turn(child.end)

    async def _in_turn(self, end: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, end)

    def _dead(self, child: Child, died: ChildDied, texts: int) -> VectorOpsError:
        if self._is_closed:
            return self._stopped()
        # Those who waited behind the first to see it have seen the same death.
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
        return Transient(Reason.EMBEDDER_FAILED, f"{words}; it is started again. If it goes on: {todo}")

    def _stopped(self) -> Transient:
        return Transient(Reason.EMBEDDER_FAILED, f"the {self._resolved.words} is being put away")

    def _checked(self, vector: VectorData | Unusable) -> VectorData | Unusable:
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
                f"the {resolved.words} gives {found}, and was resolved to a {resolved.kind} vector{size}: its files "
                "contradict its weights; choose another revision",
            )
        return vector


KINDS: Final = {1: "dense", 2: "multivector"}
"""Kind of a vector by its number of axes."""


class ChildDied(Exception):
    """how: what happened to it, as the end of a sentence."""

    def __init__(self, exit_code: int | None, *, is_stuck: bool = False) -> None:
        if is_stuck:
            self.how = f"gave no answer within {ANSWER_SECONDS:g} s"
        elif exit_code == -signal.SIGKILL:
            self.how = "was killed (SIGKILL), most likely for want of memory"
        elif exit_code is not None and exit_code < 0:
            self.how = f"crashed ({signal.Signals(-exit_code).name})"
        elif exit_code is None:
            self.how = "could not be started"
        else:
            self.how = f"ended by itself (exit status {exit_code})"
        super().__init__(self.how)


class Child:
    """A child process and the pipe to it. All but `kill` is called from one thread, and may block."""

    def __init__(self, load: models.Load, loading: models.Loading) -> None:
        self._load = load
        self._loading = loading
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._failure: models.Failure | None = None
        self._exit_code: int | None = None
        self._is_killed = False

    def ask(self, texts: list[str]) -> models.Answer | models.Failure:
        """Starts it if need be. Once there was a Failure, it is of no more use. Raises ChildDied."""
        try:
            if self._connection is None:
                self._connection = self._begin()
                self._failure = self._received(self._connection)
            if self._failure is not None:
                return self._failure
            self._connection.send(texts)
            answer: models.Answer | models.Failure = self._received(self._connection)
        except (EOFError, OSError) as error:
            self.end()
            raise ChildDied(self._exit_code, is_stuck=isinstance(error, TimeoutError)) from error
        if isinstance(answer, models.Failure):
            self._failure = answer
        return answer

    def _received(self, connection: Connection) -> Any:
        if not connection.poll(ANSWER_SECONDS):
            self.kill()
            raise TimeoutError
        return connection.recv()

    def kill(self) -> None:
        """At once, whatever it does. From any thread."""
        self._is_killed = True
        process = self._process
        if process is not None:
            # It may be put away by its own thread this very moment.
            with contextlib.suppress(ValueError):
                process.kill()

    def end(self) -> None:
        """When this returns, it is gone with its memory."""
        if self._connection is not None:
            self._connection.close()
        process, self._process = self._process, None
        if process is None:
            return
        # It ends by itself when the pipe does, unless it has something to do.
        process.join(END_SECONDS if not self._is_killed else None)
        if process.exitcode is None:
            process.kill()
            process.join()
        self._exit_code = process.exitcode
        process.close()

    def _begin(self) -> Connection:
        # Spawned, never forked: the operator has threads, and gRPC's do not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=models.serve, args=(theirs, self._load, self._loading), name="embedder", daemon=True
        )
        process.start()
        # Not before: what was never started can be neither killed nor waited for.
        self._process = process
        # Else the pipe would not end with the child.
        theirs.close()
        if self._is_killed:
            process.kill()
        return ours


def _leave_interrupts_to_others() -> None:
    """^C reaches all processes of a terminal; what becomes of the child is for the parent to say.

    A child inherits what the thread that starts it does not want to hear.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

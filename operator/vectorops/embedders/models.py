"""The child's side of a local model: loads it, and turns texts into vectors until the pipe to its parent ends.

Runs in a process that `worker` starts for each opened model, so that a model that takes too much memory, or crashes,
takes that process and not the operator. Only here are torch, sentence_transformers and fastembed imported to be run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from vectorops.api.reasons import Reason
from vectorops.embedders.base import Unusable
from vectorops.vectors import Sparse, VectorData, VectorKind

ENVIRONMENT: Final = {
    # The parent has fetched all files, by the rules of its settings: nothing here asks a hub.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # No process is forked from here, which is all that the library warns of.
    "TOKENIZERS_PARALLELISM": "true",
}

FIRST_TO_KILL: Final = "1000"
"""The kernel's score for the process that is killed first when memory runs out (proc(5), oom_score_adj)."""

BATCH: Final = 32
"""Texts at a time. Measured with all-MiniLM-L6-v2 on two busy cores: 32 and 64 are alike, 128 is slower."""

BATCH_CHARACTERS: Final[dict[VectorKind, int]] = {
    "dense": 32_768,
    "multivector": 32_768,
    # A masked language model gives a number for each word of its vocabulary at each token.
    "sparse": 8_192,
}
"""Long texts come fewer at a time: what a model needs grows with the tokens of a batch."""

CHARACTERS_PER_TOKEN: Final = 4

MARKS: Final = 4
"""Tokens, at most, that a model puts around a text."""

PROBE: Final = "a"
"""A text that every model can read. One that cannot is broken, and no text is to blame."""

WORDS_LENGTH: Final = 240

_FOLDERS: Final = re.compile(r"(?<![\w/:.])/(?:[^\s/'\"]+/)+")


@dataclass(frozen=True, slots=True)
class Loading:
    """What is to be loaded. folder: the model's files. The rest is as in `Resolved` and `EmbedderSettings`."""

    provider: str
    model: str
    kind: VectorKind
    folder: str
    document_prompt: str
    dimensions: int | None
    device: str | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """vectors: one for each text, in the same order. cut: was this text longer than the model reads?"""

    vectors: tuple[VectorData | Unusable, ...]
    cut: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """The model cannot be loaded or run. words: the library's, in one line, without paths of ours and without texts."""

    reason: Reason
    words: str


class Model(Protocol):
    """A loaded model."""

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        """Vectors of documents, in the same order. The document prompt is added here."""

    def is_cut(self, texts: Sequence[str]) -> Iterable[bool]:
        """Is the text longer than the model reads? For each."""


Load = Callable[[Loading], Model]


def serve(connection: Connection, load: Load, loading: Loading) -> None:
    """The whole life of the child. Sends None once the model is loaded, else a Failure; then an Answer, or a Failure,
    for each list of texts.
    """
    _stand_alone()
    try:
        model = load(loading)
    except Exception as error:  # noqa: BLE001  # Whatever a library raises is for a person to read.
        connection.send(failure(error, loading))
        return
    connection.send(None)
    while True:
        try:
            texts = connection.recv()
        except EOFError:
            return
        connection.send(answer(model, texts, loading))


def answer(model: Model, texts: Sequence[str], loading: Loading) -> Answer | Failure:
    """The vectors of texts. A text that the model cannot read harms no other."""
    try:
        return Answer(tuple(map(_checked, model.embed(texts))), tuple(model.is_cut(texts)))
    except Exception:  # noqa: BLE001  # As above; the probe tells whose fault it is.
        try:
            list(model.embed([PROBE]))
        except Exception as error:  # noqa: BLE001
            return failure(error, loading)
    return Answer(tuple(_apart(model, texts)), (False,) * len(texts))


def load(loading: Loading) -> Model:
    """The model, ready to run. Raises whatever its library raises."""
    return LOADERS[loading.provider](loading)


def failure(error: Exception, loading: Loading) -> Failure:
    """What an exception of a library means to a person."""
    words = str(error)
    if "trust_remote_code" in words:
        return Failure(Reason.MODEL_REFUSED, "it needs code of its own, which is never run; choose another model")
    if isinstance(error, PickledWeights) or (isinstance(error, OSError) and "safetensors" in words):
        return Failure(
            Reason.MODEL_REFUSED,
            "it has no safetensors weights, and pickled ones are never loaded; convert it, or choose another revision",
        )
    if isinstance(error, NoVocabulary):
        return Failure(Reason.MODEL_NOT_FOUND, "the vocabulary of its tokenizer is missing; restore its files")
    words = _FOLDERS.sub("", words.replace(loading.folder, loading.model))
    words = " ".join(words.split())
    if len(words) > WORDS_LENGTH:
        words = words[:WORDS_LENGTH] + "..."
    return Failure(Reason.EMBEDDER_FAILED, f"{type(error).__name__}: {words}" if words else type(error).__name__)


class PickledWeights(Exception):
    """Weights that run code when they are read."""


class NoVocabulary(Exception):
    """The tokenizer's files are missing. transformers makes one that takes every word for the same unknown one."""


def batch_size(texts: Sequence[str], kind: VectorKind, limit: int | None) -> int:
    """How many of these texts go through a model at a time. limit: tokens that the model reads of one text."""
    longest = max(map(len, texts), default=0)
    if limit is not None:
        longest = min(longest, limit * CHARACTERS_PER_TOKEN)
    return max(1, min(BATCH, BATCH_CHARACTERS[kind] // max(1, longest)))


class SentenceTransformersModel:
    """A model of the sentence-transformers library: dense, sparse or multi-vector."""

    def __init__(self, loading: Loading) -> None:
        import sentence_transformers as library
        import torch

        # `use_safetensors` binds transformers alone; the library's own modules would fall back to pickles.
        torch.load = _refuse
        if loading.threads is not None:
            torch.set_num_threads(loading.threads)
        options: dict[str, Any] = {
            "device": loading.device,
            "trust_remote_code": False,
            "local_files_only": True,
            "model_kwargs": {"use_safetensors": True},
        }
        if loading.kind == "dense":
            self._model: Any = library.SentenceTransformer(loading.folder, truncate_dim=loading.dimensions, **options)
        elif loading.kind == "sparse":
            self._model = library.SparseEncoder(loading.folder, **options)
        else:
            self._model = library.MultiVectorEncoder(loading.folder, **options)
        self._kind = loading.kind
        self._prompt = loading.document_prompt
        self._tokenizer, self._limit = _tokenizer(self._model)

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        size = batch_size(texts, self._kind, self._limit)
        # With "", and not None: then the library takes none of its own prompts. What has routes takes the document's.
        options = {"prompt": self._prompt, "batch_size": size, "show_progress_bar": False}
        if self._kind == "sparse":
            rows = self._model.encode_document(list(texts), convert_to_sparse_tensor=True, save_to_cpu=True, **options)
            return _sparse_rows(rows)
        rows = self._model.encode_document(list(texts), convert_to_numpy=True, **options)
        return [np.asarray(row, np.float32) for row in rows]

    def is_cut(self, texts: Sequence[str]) -> Iterable[bool]:
        return _is_cut(texts, self._prompt, self._limit, self._tokens)

    def _tokens(self, texts: list[str]) -> Iterable[int]:
        ids = self._tokenizer(texts, truncation=False, padding=False, return_attention_mask=False)["input_ids"]
        return map(len, ids)


class FastEmbedModel:
    """A model of the fastembed library: dense, sparse or late interaction."""

    def __init__(self, loading: Loading) -> None:
        from fastembed import LateInteractionTextEmbedding, SparseTextEmbedding, TextEmbedding

        classes: dict[VectorKind, Any] = {
            "dense": TextEmbedding,
            "sparse": SparseTextEmbedding,
            "multivector": LateInteractionTextEmbedding,
        }
        options: dict[str, Any] = {"threads": loading.threads, "local_files_only": True}
        if loading.device is not None:
            options["cuda"] = loading.device.startswith("cuda")
        self._model = classes[loading.kind](loading.model, specific_model_path=loading.folder, **options)
        self._kind = loading.kind
        self._prompt = loading.document_prompt
        # BM25 and its like have no tokenizer of this kind, and read a text to its end.
        self._tokenizer: Any = getattr(self._model.model, "tokenizer", None)
        truncation = getattr(self._tokenizer, "truncation", None)
        self._limit: int | None = truncation["max_length"] if truncation else None

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        size = batch_size(texts, self._kind, self._limit)
        for found in self._model.passage_embed([self._prompt + text for text in texts], batch_size=size):
            if self._kind == "sparse":
                yield _sparse(np.asarray(found.indices), np.asarray(found.values))
            else:
                yield np.asarray(found, np.float32)

    def is_cut(self, texts: Sequence[str]) -> Iterable[bool]:
        return _is_cut(texts, self._prompt, self._limit, self._tokens)

    def _tokens(self, texts: list[str]) -> Iterable[int]:
        for found in self._tokenizer.encode_batch(texts):
            # The first part is what the model reads.
            yield sum(sum(part.attention_mask) for part in (found, *found.overflowing))


LOADERS: Final[dict[str, Load]] = {"sentenceTransformers": SentenceTransformersModel, "fastEmbed": FastEmbedModel}


def _stand_alone() -> None:
    from tqdm import tqdm

    os.environ.update(ENVIRONMENT)
    # Bars are drawn under a lock for many processes, by default: a semaphore, left behind when this one is killed.
    tqdm.set_lock(threading.RLock())
    # The parent's output is its log, line by line; no library writes between the lines, and no text gets there.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    with contextlib.suppress(OSError):  # Linux only, and a container may forbid it.
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_KILL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed closes no pipe while this process computes; its end is seen all the same."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(0)


def _is_cut(
    texts: Sequence[str], prompt: str, limit: int | None, tokens: Callable[[list[str]], Iterable[int]]
) -> Iterable[bool]:
    """limit: tokens that the model reads; None: all. tokens: how many each of some texts has.

    Only what may be too long is cut into tokens once more: one stands for a byte at least, but for a few that mark the
    begin and the end.
    """
    if limit is None:
        return [False] * len(texts)
    whole = [prompt + text for text in texts]
    possible = [text for text in whole if len(text.encode()) > limit - MARKS]
    counts = dict(zip(possible, tokens(possible), strict=True)) if possible else {}
    return [counts.get(text, 0) > limit for text in whole]


def _apart(model: Model, texts: Sequence[str]) -> list[VectorData | Unusable]:
    """The vectors of texts of which one at least is bad, or which are too many at a time."""
    if not texts:
        return []
    try:
        return [_checked(vector) for vector in model.embed(texts)]
    except Exception as error:  # noqa: BLE001  # As in `answer`.
        if len(texts) == 1:
            return [Unusable(f"the model cannot read it ({type(error).__name__})")]
    middle = len(texts) // 2
    return _apart(model, texts[:middle]) + _apart(model, texts[middle:])


def _checked(vector: VectorData) -> VectorData | Unusable:
    values = vector.values if isinstance(vector, Sparse) else vector
    if not np.isfinite(values).all():
        return Unusable("the model gives numbers for it that are not finite")
    if not isinstance(vector, Sparse) and not len(vector):
        return Unusable("the model finds nothing in it")
    return vector


def _sparse(indices: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> Sparse:
    order = np.argsort(indices)
    return Sparse(indices[order].astype(np.uint32), values[order].astype(np.float32))


def _sparse_rows(rows: Any) -> list[VectorData]:
    """rows: a sparse tensor of shape (texts, vocabulary)."""
    rows = rows.coalesce()
    texts, terms = rows.indices().numpy()
    values = rows.values().float().numpy()
    bounds = np.searchsorted(texts, np.arange(rows.shape[0] + 1))
    return [_sparse(terms[start:end], values[start:end]) for start, end in pairwise(bounds)]


def _tokenizer(model: Any) -> tuple[Any, int | None]:
    """What cuts documents into tokens, and how many of them the model reads; None if all."""
    first = model[0]
    routes = getattr(first, "sub_modules", None)
    if routes is not None:
        first = routes["document" if "document" in routes else next(iter(routes))][0]
    special = getattr(first.tokenizer, "all_special_ids", None)
    if special is not None and len(first.tokenizer) <= len(special):
        raise NoVocabulary
    limits = [getattr(first, "document_length", None), getattr(first, "max_seq_length", None)]
    limit = min((limit for limit in limits if limit is not None), default=float("inf"))
    # Tokenizers without a limit of their own say 10^30.
    return (first.tokenizer, int(limit)) if limit < 10**9 else (None, None)


def _refuse(*_: Any, **__: Any) -> Any:
    raise PickledWeights

"""The child process of a local model: loads it, and embeds texts until the pipe to its parent is closed.

Each opened model has its own process, so that a model that needs too much memory, or crashes, ends that process and not
the operator. Only this module imports torch, sentence_transformers and fastembed to run models.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from vectorops.api.reasons import Reason
from vectorops.embedders.base import Unusable
from vectorops.vectors import Sparse, VectorData, VectorKind

ENVIRONMENT: Final = {
    # The parent has downloaded all files as its settings allow; this process sends no request to a hub.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The library warns of forks, and this process forks none.
    "TOKENIZERS_PARALLELISM": "true",
}

FIRST_TO_KILL: Final = "1000"
"""oom_score_adj (proc(5)) of the process that the kernel kills first when memory runs out."""

BATCH: Final = 32
"""Most texts in a batch. With all-MiniLM-L6-v2 on two busy cores, 32 and 64 are equally fast, and 128 is slower."""

BATCH_CHARACTERS: Final[dict[VectorKind, int]] = {
    "dense": 32_768,
    "multivector": 32_768,
    # A masked language model makes a number for each word of its vocabulary at each token.
    "sparse": 8_192,
}
"""Most characters in a batch: the memory that a model needs grows with the tokens of a batch."""

CHARACTERS_PER_TOKEN: Final = 4

SPECIAL_TOKENS: Final = 4
"""Most tokens that a model puts around a text."""

PROBE: Final = "a"
"""A text that every model can read. If a model cannot, the model is broken and not the text."""

WORDS_LENGTH: Final = 240

_FOLDERS: Final = re.compile(r"(?<![\w/:.])/(?:[^\s/'\"]+/)+")


@dataclass(frozen=True, slots=True)
class Loading:
    """Which model to load, and how; see `Resolved` and `EmbedderSettings`."""

    provider: str
    model: str
    kind: VectorKind
    folder: str
    """Holds the model's files."""
    document_prompt: str
    dimensions: int | None
    device: str | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """The answer to a list of texts."""

    vectors: tuple[VectorData | Unusable, ...]
    """One for each text, in the same order."""
    cut: tuple[bool, ...]
    """Was the text longer than the model reads?"""


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """The model cannot be loaded or run."""

    reason: Reason
    words: str
    """The library's message, in one line, without paths of this machine and without texts."""


class LoadedModel(Protocol):
    """A loaded model."""

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        """Vectors of documents, in the same order. The model adds the document prompt."""

    def embed_queries(self, texts: Sequence[str], prompt: str) -> Iterable[VectorData]:
        """Vectors of queries, in the same order. prompt: to be put before each."""

    def is_cut(self, texts: Sequence[str]) -> Iterable[bool]:
        """For each text: is it longer than the model reads?"""


Load = Callable[[Loading], LoadedModel]
EmbedTexts = Callable[[Sequence[str]], Iterable[VectorData]]
"""Vectors of texts, in the same order."""


def serve(connection: Connection, load: Load, loading: Loading) -> None:
    """Runs the child. Sends None once the model is loaded, or a ModelFailure. Then, for each list of texts with its
    query prompt (see `embed_chunk`), an EmbeddedChunk or a ModelFailure.
    """
    _isolate_process()
    try:
        model = load(loading)
    except Exception as error:  # noqa: BLE001  # Whatever a library raises is for a person to read.
        connection.send(describe_failure(error, loading))
        return
    connection.send(None)
    while True:
        try:
            texts, query_prompt = connection.recv()
        except EOFError:
            return
        connection.send(embed_chunk(model, texts, loading, query_prompt))


def embed_chunk(
    model: LoadedModel, texts: Sequence[str], loading: Loading, query_prompt: str | None = None
) -> EmbeddedChunk | ModelFailure:
    """Embeds texts. A text that the model cannot read does not fail the others. query_prompt: of queries; None: the
    texts are documents.
    """
    embed: EmbedTexts = model.embed if query_prompt is None else partial(model.embed_queries, prompt=query_prompt)
    try:
        vectors = tuple(map(_check_finite, embed(texts)))
        cut = model.is_cut(texts) if query_prompt is None else (False,) * len(texts)
        return EmbeddedChunk(vectors, tuple(cut))
    except Exception:  # noqa: BLE001  # As above; the probe tells whose fault it is.
        try:
            list(model.embed([PROBE]))
        except Exception as error:  # noqa: BLE001
            return describe_failure(error, loading)
    return EmbeddedChunk(tuple(_embed_halves(embed, texts)), (False,) * len(texts))


def load(loading: Loading) -> LoadedModel:
    """The model, ready to run. Raises whatever its library raises."""
    return LOADERS[loading.provider](loading)


def describe_failure(error: Exception, loading: Loading) -> ModelFailure:
    """The message for an exception of a library."""
    words = str(error)
    if "trust_remote_code" in words:
        return ModelFailure(Reason.MODEL_REFUSED, "it needs its own code, which is never run; choose another model")
    if isinstance(error, PickledWeights) or (isinstance(error, OSError) and "safetensors" in words):
        return ModelFailure(
            Reason.MODEL_REFUSED,
            "it has no safetensors weights, and pickled ones are never loaded; convert it, or choose another revision",
        )
    if isinstance(error, NoVocabulary):
        return ModelFailure(Reason.MODEL_NOT_FOUND, "the vocabulary of its tokenizer is missing; restore its files")
    words = _FOLDERS.sub("", words.replace(loading.folder, loading.model))
    words = " ".join(words.split())
    if len(words) > WORDS_LENGTH:
        words = words[:WORDS_LENGTH] + "..."
    return ModelFailure(Reason.EMBEDDER_FAILED, f"{type(error).__name__}: {words}" if words else type(error).__name__)


class PickledWeights(Exception):
    """Weights that run code when they are read."""


class NoVocabulary(Exception):
    """The tokenizer's files are missing. transformers then makes one that maps every word to the same unknown token."""


def batch_size(texts: Sequence[str], kind: VectorKind, limit: int | None) -> int:
    """How many of these texts a batch holds. limit: most tokens of a text that the model reads."""
    longest = max(map(len, texts), default=0)
    if limit is not None:
        longest = min(longest, limit * CHARACTERS_PER_TOKEN)
    return max(1, min(BATCH, BATCH_CHARACTERS[kind] // max(1, longest)))


class SentenceTransformersModel:
    """A model of the sentence-transformers library: dense, sparse or multi-vector."""

    def __init__(self, loading: Loading) -> None:
        import sentence_transformers as library
        import torch

        # Only transformers obeys `use_safetensors`; the library's own modules would fall back to pickles.
        torch.load = _refuse_pickles
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
        self._tokenizer, self._limit = _find_tokenizer(self._model)

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        # A router takes the route for documents.
        return self._encode(self._model.encode_document, texts, self._prompt)

    def embed_queries(self, texts: Sequence[str], prompt: str) -> Iterable[VectorData]:
        return self._encode(self._model.encode_query, texts, prompt)

    def _encode(self, encode: Callable[..., Any], texts: Sequence[str], prompt: str) -> Iterable[VectorData]:
        size = batch_size(texts, self._kind, self._limit)
        # "" instead of None keeps the library from adding its own prompts.
        options = {"prompt": prompt, "batch_size": size, "show_progress_bar": False}
        if self._kind == "sparse":
            rows = encode(list(texts), convert_to_sparse_tensor=True, save_to_cpu=True, **options)
            # A sparse tensor of shape (texts, vocabulary).
            rows = rows.coalesce()
            members, terms = rows.indices().numpy()
            values = rows.values().float().numpy()
            bounds = np.searchsorted(members, np.arange(rows.shape[0] + 1))
            return [_sorted_sparse(terms[start:end], values[start:end]) for start, end in pairwise(bounds)]
        rows = encode(list(texts), convert_to_numpy=True, **options)
        return [np.asarray(row, np.float32) for row in rows]

    def is_cut(self, texts: Sequence[str]) -> Iterable[bool]:
        return _is_cut(texts, self._prompt, self._limit, self._count_tokens)

    def _count_tokens(self, texts: list[str]) -> Iterable[int]:
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
        # BM25 and similar models have no such tokenizer, and read the whole text.
        self._tokenizer: Any = getattr(self._model.model, "tokenizer", None)
        truncation = getattr(self._tokenizer, "truncation", None)
        self._limit: int | None = truncation["max_length"] if truncation else None

    def embed(self, texts: Sequence[str]) -> Iterable[VectorData]:
        return self._convert(self._model.passage_embed, [self._prompt + text for text in texts])

    def embed_queries(self, texts: Sequence[str], prompt: str) -> Iterable[VectorData]:
        return self._convert(self._model.query_embed, [prompt + text for text in texts])

    def _convert(self, embed: Callable[..., Any], texts: list[str]) -> Iterable[VectorData]:
        for found in embed(texts, batch_size=batch_size(texts, self._kind, self._limit)):
            if self._kind == "sparse":
                yield _sorted_sparse(np.asarray(found.indices), np.asarray(found.values))
            else:
                yield np.asarray(found, np.float32)

    def is_cut(self, texts: Sequence[str]) -> Iterable[bool]:
        return _is_cut(texts, self._prompt, self._limit, self._count_tokens)

    def _count_tokens(self, texts: list[str]) -> Iterable[int]:
        for found in self._tokenizer.encode_batch(texts):
            # The model reads the first part only.
            yield sum(sum(part.attention_mask) for part in (found, *found.overflowing))


LOADERS: Final[dict[str, Load]] = {"sentenceTransformers": SentenceTransformersModel, "fastEmbed": FastEmbedModel}


def _isolate_process() -> None:
    from tqdm import tqdm

    os.environ.update(ENVIRONMENT)
    # The default lock for progress bars is a semaphore between processes, which would remain when this one is killed.
    tqdm.set_lock(threading.RLock())
    # The parent's output is its log: no library may write between the lines, or write a text.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    with contextlib.suppress(OSError):  # Linux only, and a container may forbid it.
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_KILL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the parent was killed, even while it computes and does not read the pipe."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(0)


def _is_cut(
    texts: Sequence[str], prompt: str, limit: int | None, tokens: Callable[[list[str]], Iterable[int]]
) -> Iterable[bool]:
    """For each text: is it longer than the model reads? limit: most tokens; None: no limit. tokens: counts tokens.

    Only texts that may be too long are tokenized again: each token stands for at least one byte, except for a few at
    the beginning and the end.
    """
    if limit is None:
        return [False] * len(texts)
    whole = [prompt + text for text in texts]
    possible = [text for text in whole if len(text.encode()) > limit - SPECIAL_TOKENS]
    counts = dict(zip(possible, tokens(possible), strict=True)) if possible else {}
    return [counts.get(text, 0) > limit for text in whole]


def _embed_halves(embed: EmbedTexts, texts: Sequence[str]) -> list[VectorData | Unusable]:
    """Embeds texts of which at least one is bad, or which are too many for one batch."""
    if not texts:
        return []
    try:
        return [_check_finite(vector) for vector in embed(texts)]
    except Exception as error:  # noqa: BLE001  # As in `embed_chunk`.
        if len(texts) == 1:
            return [Unusable(f"the model cannot read it ({type(error).__name__})")]
    middle = len(texts) // 2
    return _embed_halves(embed, texts[:middle]) + _embed_halves(embed, texts[middle:])


def _check_finite(vector: VectorData) -> VectorData | Unusable:
    values = vector.values if isinstance(vector, Sparse) else vector
    if not np.isfinite(values).all():
        return Unusable("the model makes numbers that are not finite from it")
    if not isinstance(vector, Sparse) and not len(vector):
        return Unusable("the model finds nothing in it")
    return vector


def _sorted_sparse(indices: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> Sparse:
    order = np.argsort(indices)
    return Sparse(indices[order].astype(np.uint32), values[order].astype(np.float32))


def _find_tokenizer(model: Any) -> tuple[Any, int | None]:
    """The tokenizer for documents, and how many tokens the model reads; None: no limit."""
    first = model[0]
    routes = getattr(first, "sub_modules", None)
    if routes is not None:
        first = routes["document" if "document" in routes else next(iter(routes))][0]
    special = getattr(first.tokenizer, "all_special_ids", None)
    if special is not None and len(first.tokenizer) <= len(special):
        raise NoVocabulary
    limits = [getattr(first, "document_length", None), getattr(first, "max_seq_length", None)]
    limit = min((limit for limit in limits if limit is not None), default=float("inf"))
    # Tokenizers without a limit have 10^30.
    return (first.tokenizer, int(limit)) if limit < 10**9 else (None, None)


def _refuse_pickles(*_: Any, **__: Any) -> Any:
    raise PickledWeights

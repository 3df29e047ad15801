"""The embedders of this process: resolves declared embedders, and opens and closes models.

Collections that declare the same model and revision share one resolution. A model is opened for its first text, and
closed after some time without texts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from vectorops import metrics
from vectorops.api import embedder as api
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.embedders.base import (
    FOLDER_REVISION,
    EmbeddedTexts,
    EmbedderSettings,
    Provider,
    Resolved,
    TextEmbedder,
    Unusable,
    declared_as,
    digest_of,
)
from vectorops.embedders.fast_embed import FastEmbed
from vectorops.embedders.files import ModelFiles
from vectorops.embedders.open_ai import OpenAI
from vectorops.embedders.sentence_transformers import SentenceTransformers
from vectorops.errors import Terminal, VectorOpsError

FLOATING: Final = "revision"
"""The field that a declaration may omit; the lock then keeps the revision that was found first."""

RESOLVED_SECONDS: Final = 600.0
"""How long collections share a resolution. Afterwards their locks keep it."""

ApiKey = Callable[[], Awaitable[str | None]]

Member = api.SentenceTransformersEmbedder | api.FastEmbedEmbedder | api.OpenAIEmbedder

Key = tuple[str, str]
"""Identity of a resolved model, and a digest of the API key: each key has its own client."""


@dataclass(slots=True)
class _OpenModel:
    embedder: TextEmbedder
    users: int = 0
    """Calls in progress."""
    closing: asyncio.TimerHandle | None = None
    """Closes it when it has been idle for long enough."""


class Embedders:
    """All embedders of this process.

    api_key: for hosted embedders whose Secret cannot be read; only the command line sets it.
    """

    def __init__(self, settings: EmbedderSettings, *, api_key: str | None = None) -> None:
        files = ModelFiles(settings)
        self.api_key = api_key
        self._settings = settings
        self._providers: dict[str, Provider] = {
            "sentenceTransformers": SentenceTransformers(files, settings),
            "fastEmbed": FastEmbed(files, settings),
            "openAI": OpenAI(settings),
        }
        self._resolved: dict[str, asyncio.Task[Resolved]] = {}
        self._open: dict[Key, _OpenModel] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def resolve(
        self,
        declared: api.Embedder,
        *,
        locked: Resolved | None = None,
        pinned: str | None = None,
        api_key: ApiKey | None = None,
    ) -> Resolved:
        """Resolves a declared embedder, from its lock if that was made for the same declaration.

        A revision that is not declared stays the locked one. pinned: the revision to use instead if there is no lock.
        api_key: reads the key; called only if a request is needed. Raises Terminal or Transient, see `base.Provider`,
        and what `api_key` raises.
        """
        provider, spec = _declared_member(declared)
        stated = declared_as(provider, spec.dump())
        is_known = locked is not None and locked.declared == stated
        if locked is not None and is_known and not locked.revision.startswith(FOLDER_REVISION):
            # A commit or a hosted model cannot have changed.
            return locked
        if locked is not None:
            before = locked.declared.get(provider, {})
            is_same_model = before and all(before.get(key) == stated[provider].get(key) for key in ("model", FLOATING))
            pinned = locked.revision if is_same_model else None
        try:
            self._check_allowed(spec.model)
            key = await api_key() if api_key is not None else None
            found = await self._resolve_once(provider, spec, stated, pinned=pinned, api_key=key)
        except VectorOpsError:
            if locked is not None and is_known:
                # A missing folder does not change the schema of the collection. Only embedding needs it.
                return locked
            raise
        return replace(found, declared=stated)

    async def embed(self, resolved: Resolved, texts: Sequence[str], *, api_key: str | None = None) -> EmbeddedTexts:
        """The vectors of documents. See `base.TextEmbedder.embed`."""
        async with self._opened(resolved, api_key) as embedder:
            embedded = await embedder.embed(texts)
        metrics.TEXTS_EMBEDDED.labels(resolved.provider).inc(len(texts))
        metrics.TEXTS_TRUNCATED.labels(resolved.provider).inc(embedded.truncated)
        failed = sum(isinstance(vector, Unusable) for vector in embedded.vectors)
        metrics.TEXTS_FAILED.labels(resolved.provider).inc(failed)
        return embedded

    async def embed_queries(
        self, resolved: Resolved, texts: Sequence[str], *, api_key: str | None = None
    ) -> EmbeddedTexts:
        """The vectors of queries. See `base.TextEmbedder.embed_queries`. The counts of texts are those of documents."""
        async with self._opened(resolved, api_key) as embedder:
            return await embedder.embed_queries(texts, resolved)

    async def close(self) -> None:
        """Closes all models, at the end of the process."""
        for task in self._resolved.values():
            task.cancel()
        for key, opened in list(self._open.items()):
            self._close_model(key, opened)
        await asyncio.gather(*self._resolved.values(), *self._closing, return_exceptions=True)

    @asynccontextmanager
    async def _opened(self, resolved: Resolved, api_key: str | None) -> AsyncIterator[TextEmbedder]:
        """The model, which stays open inside the block."""
        key = (resolved.identity, digest_of(api_key))
        opened = self._open.get(key)
        if opened is None:
            self._check_allowed(resolved.model)
            embedder = self._providers[resolved.provider].open(resolved, api_key=api_key)
            opened = self._open.setdefault(key, _OpenModel(embedder))
        if opened.closing is not None:
            opened.closing.cancel()
            opened.closing = None
        opened.users += 1
        try:
            yield opened.embedder
        finally:
            opened.users -= 1
            if opened.users == 0:
                later = asyncio.get_running_loop().call_later
                opened.closing = later(self._settings.idle_seconds, self._close_model, key, opened)

    async def _resolve_once(
        self, provider: str, spec: Member, stated: JsonObject, *, pinned: str | None, api_key: str | None
    ) -> Resolved:
        """A resolution that a hundred collections share. It is kept only if it cannot change.

        The key is part of what is shared: without it, a tenant could see the result of another tenant's rights.
        """
        key = json.dumps([stated, pinned, digest_of(api_key)], sort_keys=True)
        task = self._resolved.get(key)
        if task is None:
            resolving = self._providers[provider].resolve(spec, pinned=pinned, api_key=api_key)
            task = self._resolved[key] = asyncio.ensure_future(resolving)
            task.add_done_callback(lambda done: self._drop_resolution(key, done))
        # The cancellation of one collection must not cancel the resolution for the others.
        return await asyncio.shield(task)

    def _check_allowed(self, model: str) -> None:
        """By the declared name, whichever repository the provider loads it from. Raises Terminal ModelRefused."""
        allowed = self._settings.allowed_models
        if allowed and not any(fnmatchcase(model, pattern) for pattern in allowed):
            raise Terminal(
                Reason.MODEL_REFUSED,
                f"the model {model} is not allowed by this operator: use an allowed one, or start the operator with "
                f"--allowed-model {model}",
            )

    def _drop_resolution(self, key: str, done: asyncio.Task[Resolved]) -> None:
        failed = done.cancelled() or done.exception() is not None
        if failed or done.result().revision.startswith(FOLDER_REVISION):
            self._resolved.pop(key, None)
        else:
            # Later collections get the newest commit of that time.
            asyncio.get_running_loop().call_later(RESOLVED_SECONDS, self._resolved.pop, key, None)

    def _close_model(self, key: Key, opened: _OpenModel) -> None:
        if self._open.get(key) is not opened:
            # It was closed during the last call.
            return
        del self._open[key]
        if opened.closing is not None:
            opened.closing.cancel()
        task = asyncio.ensure_future(opened.embedder.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _declared_member(declared: api.Embedder) -> tuple[str, Member]:
    """The one member that is set, with its name in YAML."""
    for name, field in type(declared).model_fields.items():
        member = getattr(declared, name)
        if member is not None:
            return field.alias or name, member
    raise AssertionError("the union requires a member")

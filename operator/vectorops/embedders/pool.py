"""The embedders of this process: resolves what collections declare, and keeps open what embeds texts.

Made once by each shell (`kube`, `local`), used by reconcilers. A model and revision is resolved once; what embeds is
opened when its first text comes, and closed when none has come for a while.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
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
    Embedder,
    EmbedderSettings,
    Provider,
    Resolved,
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
"""What a declaration may leave open; the lock then keeps what was found first."""

RESOLVED_SECONDS: Final = 600.0
"""For so long collections share a resolution; their locks keep it."""

ApiKey = Callable[[], Awaitable[str | None]]

Member = api.SentenceTransformersEmbedder | api.FastEmbedEmbedder | api.OpenAIEmbedder

Key = tuple[str, str]
"""Identity of a resolved model, and a digest of the API key: another key is another client."""


@dataclass(slots=True)
class _Open:
    """An opened embedder. users: how many calls are in it. closing: the timer that will close it."""

    embedder: Embedder
    users: int = 0
    closing: asyncio.TimerHandle | None = None


class Embedders:
    """All embedders of this process.

    api_key: for hosted embedders whose Secret is not at hand; only the command line has one.
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
        self._open: dict[Key, _Open] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def resolve(
        self,
        declared: api.Embedder,
        *,
        locked: Resolved | None = None,
        pinned: str | None = None,
        api_key: ApiKey | None = None,
    ) -> Resolved:
        """What a declared embedder looks like, by its lock if there is one that speaks of the same declaration.

        A revision that is left open is the locked one: it does not move by itself. pinned: the same where there is no
        lock.
        api_key: reads the key, and is called only where something is to be asked. Raises Terminal or Transient, see
        `base.Provider`, and what `api_key` raises.
        """
        provider, spec = _member(declared)
        stated = declared_as(provider, spec.dump())
        is_known = locked is not None and locked.declared == stated
        if locked is not None and is_known and not locked.revision.startswith(FOLDER_REVISION):
            # Nothing about a commit or a hosted model can have changed.
            return locked
        if locked is not None:
            pinned = locked.revision if _is_same_model(locked, provider, stated) else None
        try:
            self._check_allowed(spec.model)
            key = await api_key() if api_key is not None else None
            found = await self._once(provider, spec, stated, pinned=pinned, api_key=key)
        except VectorOpsError:
            if locked is not None and is_known:
                # A folder that is away says nothing new of a model: who embeds will miss it, the collection does not.
                return locked
            raise
        return replace(found, declared=stated)

    async def embed(self, resolved: Resolved, texts: Sequence[str], *, api_key: str | None = None) -> EmbeddedTexts:
        """The vectors of documents. See `base.Embedder.embed`."""
        key = (resolved.identity, digest_of(api_key))
        opened = self._open.get(key)
        if opened is None:
            self._check_allowed(resolved.model)
            embedder = self._providers[resolved.provider].open(resolved, api_key=api_key)
            opened = self._open.setdefault(key, _Open(embedder))
        if opened.closing is not None:
            opened.closing.cancel()
            opened.closing = None
        opened.users += 1
        try:
            embedded = await opened.embedder.embed(texts)
        finally:
            opened.users -= 1
            if opened.users == 0:
                later = asyncio.get_running_loop().call_later
                opened.closing = later(self._settings.idle_seconds, self._let_go, key, opened)
        metrics.TEXTS_EMBEDDED.labels(resolved.provider).inc(len(texts))
        metrics.TEXTS_TRUNCATED.labels(resolved.provider).inc(embedded.truncated)
        failed = sum(isinstance(vector, Unusable) for vector in embedded.vectors)
        metrics.TEXTS_FAILED.labels(resolved.provider).inc(failed)
        return embedded

    async def close(self) -> None:
        """At the end of the process."""
        for task in self._resolved.values():
            task.cancel()
        for key, opened in list(self._open.items()):
            self._let_go(key, opened)
        await asyncio.gather(*self._resolved.values(), *self._closing, return_exceptions=True)

    async def _once(
        self, provider: str, spec: Member, stated: JsonObject, *, pinned: str | None, api_key: str | None
    ) -> Resolved:
        """A resolution that a hundred collections share. Only what cannot change is kept."""
        # Who has no right to ask must not share the answer to one who has.
        key = json.dumps([stated, pinned, digest_of(api_key)], sort_keys=True)
        task = self._resolved.get(key)
        if task is None:
            resolving = self._providers[provider].resolve(spec, pinned=pinned, api_key=api_key)
            task = self._resolved[key] = asyncio.ensure_future(resolving)
            task.add_done_callback(lambda done: self._forget(key, done))
        # One collection that goes away must not take the others' resolution with it.
        return await asyncio.shield(task)

    def _check_allowed(self, model: str) -> None:
        """By the name that is declared, whatever repository a provider has it from. Raises Terminal ModelRefused."""
        allowed = self._settings.allowed_models
        if allowed and not any(fnmatchcase(model, pattern) for pattern in allowed):
            raise Terminal(
                Reason.MODEL_REFUSED,
                f"the model {model} is none of those that this operator may use: name one that is, or start it with "
                f"--allowed-model {model}",
            )

    def _forget(self, key: str, done: asyncio.Task[Resolved]) -> None:
        failed = done.cancelled() or done.exception() is not None
        if failed or done.result().revision.startswith(FOLDER_REVISION):
            self._resolved.pop(key, None)
        else:
            # The next collection wants the commit that is newest then.
            asyncio.get_running_loop().call_later(RESOLVED_SECONDS, self._resolved.pop, key, None)

    def _let_go(self, key: Key, opened: _Open) -> None:
        if self._open.get(key) is not opened:
            # Closed already, while somebody was still in it.
            return
        del self._open[key]
        if opened.closing is not None:
            opened.closing.cancel()
        task = asyncio.ensure_future(opened.embedder.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _member(declared: api.Embedder) -> tuple[str, Member]:
    """The one member that is set, with its name in YAML."""
    for name, field in type(declared).model_fields.items():
        member = getattr(declared, name)
        if member is not None:
            return field.alias or name, member
    raise AssertionError("the union requires a member")


def _is_same_model(locked: Resolved, provider: str, stated: JsonObject) -> bool:
    """Does the lock speak of this model at this declared revision, whatever else changed?"""
    before = locked.declared.get(provider, {})
    return bool(before) and all(before.get(key) == stated[provider].get(key) for key in ("model", FLOATING))

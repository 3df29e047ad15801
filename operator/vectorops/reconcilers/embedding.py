"""Embedders as reconcilers use them: which one each vector has, by the lock in the mark, and with which key.

The collection's reconciler asks `resolved`, the point set's embeds with `Embedding`; `vectorops plan` and `schema` ask
the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.embedder import Embedder
from vectorops.api.meta import Resource
from vectorops.api.reasons import Reason
from vectorops.collections.locks import locks_of
from vectorops.embedders.base import EmbeddedTexts, Resolved
from vectorops.embedders.open_ai import normalized_url
from vectorops.errors import Transient, VectorOpsError, Waiting
from vectorops.qdrant.database import UNNAMED
from vectorops.qdrant.marks import Mark
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.secrets import SecretReader
from vectorops.reconcilers.spec import parse


async def resolved(
    context: Context, collection: Resource, spec: QdrantCollectionSpec, mark: Mark | None
) -> dict[str, Resolved]:
    """The embedder of each vector that declares one, by the vector's name. mark: of the collection as it is, if any.

    A collection that its user manages carries no lock; there, a revision that is left open stays the one that status
    shows. Raises Terminal or Transient; the message names the vector.
    """
    locks = locks_of(mark)
    pins = _pins(collection, spec) if spec.is_users else {}
    found = {}
    for name, embedder in declared(spec).items():
        try:
            key = partial(_api_key, context, collection, embedder)
            found[name] = await context.embedders.resolve(
                embedder, locked=locks.get(name), pinned=pins.get(name), api_key=key
            )
        except VectorOpsError as error:
            raise error.at(spec_place(name)) from error
    return found


@dataclass(frozen=True, slots=True)
class Embedding:
    """What makes vectors of the texts of one collection's points.

    locked: the embedder of each vector that has one, by the vector's name.
    """

    context: Context
    collection: Resource
    locked: Mapping[str, Resolved]

    @property
    def identities(self) -> dict[str, str]:
        """By the vector's name; goes into the fingerprint of a text."""
        return {name: resolved.identity for name, resolved in self.locked.items()}

    async def embed(self, vector: str, texts: Sequence[str]) -> EmbeddedTexts:
        """The vectors of texts. Raises what `embedders.base.Embedder.embed` raises; the message names the vector."""
        return await self._embed_by(self.context.embedders.embed, vector, texts)

    async def embed_queries(self, vector: str, texts: Sequence[str]) -> EmbeddedTexts:
        """The vectors of texts that are searched for. Raises what `embed` raises."""
        return await self._embed_by(self.context.embedders.embed_queries, vector, texts)

    async def _embed_by(
        self, embed: Callable[..., Awaitable[EmbeddedTexts]], vector: str, texts: Sequence[str]
    ) -> EmbeddedTexts:
        locked = self.locked[vector]
        try:
            key = await self._api_key(vector, locked)
            return await embed(locked, texts, api_key=key)
        except VectorOpsError as error:
            raise error.at(spec_place(vector)) from error

    async def _api_key(self, vector: str, locked: Resolved) -> str | None:
        if locked.provider != "openAI":
            return None
        embedder = declared(parse(QdrantCollectionSpec, self.collection)).get(vector)
        if embedder is None or embedder.open_ai is None or normalized_url(embedder.open_ai) != locked.base_url:
            # The declared key is meant for another server than the locked one.
            words = (
                f"the change of its embedder is held back; approve the plan of {self.collection.ref}, or take it back"
            )
            raise Waiting(Reason.COLLECTION_NOT_READY, words, on=self.collection.ref)
        return await _api_key(self.context, self.collection, embedder)


def _pins(collection: Resource, spec: QdrantCollectionSpec) -> dict[str, str]:
    """The revisions that were shown last of models whose revision is left open, by the vector's name."""
    shown = {
        vector["name"]: vector["embedder"]
        for vector in (collection.status.get("schema") or {}).get("vectors", ())
        if vector.get("embedder", {}).get("revision")
    }
    pins = {}
    for name, embedder in declared(spec).items():
        ((provider, member),) = embedder.dump().items()
        known = shown.get(name)
        if known and "revision" not in member and (known["provider"], known["model"]) == (provider, member["model"]):
            pins[name] = known["revision"]
    return pins


def declared(spec: QdrantCollectionSpec) -> dict[str, Embedder]:
    """The embedders of a spec, by the vector's name."""
    found = {UNNAMED: spec.vector.embedder} if spec.vector is not None else {}
    found |= {vector.name: vector.embedder for vector in (*(spec.vectors or ()), *(spec.sparse_vectors or ()))}
    return {name: embedder for name, embedder in found.items() if embedder is not None}


def spec_place(vector: str) -> str:
    """How messages name a vector."""
    return f"vector {vector!r}" if vector != UNNAMED else "the vector"


async def _api_key(context: Context, collection: Resource, embedder: Embedder) -> str | None:
    if embedder.open_ai is None:
        return None
    ref = embedder.open_ai.api_key_secret_ref
    if ref is None:
        return context.embedders.api_key
    try:
        return await SecretReader(context.cluster, collection).read_api_key("embedder.openAI.apiKeySecretRef", ref)
    except Transient as error:
        if error.reason is not Reason.SECRET_NOT_FOUND or context.embedders.api_key is None:
            raise
        return context.embedders.api_key

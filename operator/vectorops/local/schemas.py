"""`vectorops schema`: what the vectors of collections look like, resolved from the manifests alone.

Each vector is resolved by itself, by the functions that the reconciler uses for all: one unknown model must not hide
what is known of the others. No database is opened, so no lock is known either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from vectorops.api.collection import NamedVector, QdrantCollectionSpec, SparseVector, VectorStatus
from vectorops.api.meta import QDRANT_COLLECTION, Resource
from vectorops.collections.resolve import resolve_collection, schema_status
from vectorops.errors import VectorOpsError
from vectorops.local.manifests import Manifests
from vectorops.local.session import Options, session
from vectorops.qdrant.database import UNNAMED
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.embedding import resolved
from vectorops.reconcilers.placement import Placement
from vectorops.reconcilers.spec import parse


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one vector could not be resolved. vector: its name. words: reason and message."""

    vector: str
    words: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The vectors of one collection. found: one for each, in the order of the manifest."""

    namespace: str
    name: str
    found: tuple[VectorStatus | Problem, ...]

    @property
    def vectors(self) -> list[VectorStatus]:
        return [one for one in self.found if isinstance(one, VectorStatus)]

    @property
    def problems(self) -> list[Problem]:
        return [one for one in self.found if isinstance(one, Problem)]


async def schemas(manifests: Manifests, options: Options) -> list[Schema]:
    """What each QdrantCollection of the files resolves to."""
    async with session(manifests, options, read_only=True) as opened:
        collections = [one for ref, one in manifests.resources.items() if ref.kind == QDRANT_COLLECTION]
        return await asyncio.gather(*(_schema(opened.context, collection) for collection in collections))


async def _schema(context: Context, collection: Resource) -> Schema:
    spec = parse(QdrantCollectionSpec, collection)
    found = await asyncio.gather(*(_vector(context, collection, name, part) for name, part in _parts(spec)))
    return Schema(collection.meta.namespace, collection.meta.name, tuple(found))


async def _vector(
    context: Context, collection: Resource, name: str, part: QdrantCollectionSpec
) -> VectorStatus | Problem:
    try:
        embedders = await resolved(context, collection, part, None)
        schema = schema_status(resolve_collection(part, Placement.of(collection).filled, embedders))
    except VectorOpsError as error:
        return Problem(name, f"{error.reason.value}: {error.message}")
    return next(vector for vector in schema.vectors if vector.name == name)


def _parts(spec: QdrantCollectionSpec) -> Iterator[tuple[str, QdrantCollectionSpec]]:
    """One spec for each vector, with the vector's name. The others keep their places, for messages to name the right
    one, and nothing that could be wrong with them.
    """
    dense, sparse = spec.vectors or [], spec.sparse_vectors or []
    unnamed = [UNNAMED] if spec.vector is not None else []
    for name in [*unnamed, *(vector.name for vector in dense), *(vector.name for vector in sparse)]:
        alone = {
            "vector": spec.vector if name == UNNAMED else None,
            "vectors": [one if one.name == name else NamedVector(name=one.name, size=1) for one in dense] or None,
            "sparse_vectors": [one if one.name == name else SparseVector(name=one.name) for one in sparse] or None,
        }
        rest = dict.fromkeys(("payload_indexes", "aliases", "params", "shard_keys", "metadata"))
        yield name, spec.model_copy(update=alone | rest)

"""`vectorops schema`: the vectors of collections, resolved from the manifests alone.

Each vector is resolved separately, with the reconciler's functions, so that an unknown model does not hide the other
vectors. No database is opened, so no lock is known.
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
from vectorops.local.session import Options, open_session
from vectorops.qdrant.database import UNNAMED
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.embedding import resolved
from vectorops.reconcilers.spec import RawSpec, parse


@dataclass(frozen=True, slots=True)
class UnresolvedVector:
    """A vector that could not be resolved."""

    vector: str
    """Its name."""
    words: str
    """Reason and message."""


@dataclass(frozen=True, slots=True)
class CollectionSchema:
    """The vectors of one collection."""

    namespace: str
    name: str
    found: tuple[VectorStatus | UnresolvedVector, ...]
    """One for each vector, in the order of the manifest."""

    @property
    def vectors(self) -> list[VectorStatus]:
        return [one for one in self.found if isinstance(one, VectorStatus)]

    @property
    def problems(self) -> list[UnresolvedVector]:
        return [one for one in self.found if isinstance(one, UnresolvedVector)]


async def resolve_schemas(manifests: Manifests, options: Options) -> list[CollectionSchema]:
    """The schema of each QdrantCollection in the files."""
    async with open_session(manifests, options, read_only=True) as opened:
        collections = [one for ref, one in manifests.resources.items() if ref.kind == QDRANT_COLLECTION]
        return await asyncio.gather(*(_resolve_schema(opened.context, collection) for collection in collections))


async def _resolve_schema(context: Context, collection: Resource) -> CollectionSchema:
    spec = parse(QdrantCollectionSpec, collection)
    found = await asyncio.gather(
        *(_resolve_vector(context, collection, name, part) for name, part in _specs_of_vectors(spec))
    )
    return CollectionSchema(collection.meta.namespace, collection.meta.name, tuple(found))


async def _resolve_vector(
    context: Context, collection: Resource, name: str, part: QdrantCollectionSpec
) -> VectorStatus | UnresolvedVector:
    try:
        embedders = await resolved(context, collection, part, None)
        schema = schema_status(resolve_collection(part, RawSpec(collection).collection_name, embedders))
    except VectorOpsError as error:
        return UnresolvedVector(name, f"{error.reason.value}: {error.message}")
    return next(vector for vector in schema.vectors if vector.name == name)


def _specs_of_vectors(spec: QdrantCollectionSpec) -> Iterator[tuple[str, QdrantCollectionSpec]]:
    """One spec for each vector, with the vector's name. The other vectors keep their positions, so that messages name
    the right one, but lose everything that could be invalid.
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

"""What a reader of a collection must know, as the content of a ConfigMap: where Qdrant is, which physical collection to
ask, and which model makes the vector of a question.

The content is a contract with programs of others: `FORMAT` changes when a field gets another meaning or goes, and not
when one is added. docs/reader.md describes each field.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from vectorops.api.collection import PhysicalCollection
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.collections.resolve import Desired, schema_status
from vectorops.embedders.base import Resolved
from vectorops.qdrant.observe import Observed

FORMAT: Final = 1
"""Version of the content."""
DOCUMENT: Final = "reader.json"
"""The key that holds everything; the other keys are for environment variables."""


@dataclass(frozen=True, slots=True)
class Served:
    """The collection that readers are to ask."""

    name: str
    """That the resource declares: an alias with `layout: Aliased`, else the collection itself."""
    aliases: Collection[str]
    """Its other names."""
    collection: PhysicalCollection
    observed: Observed
    """The same collection, as it is: what is declared may be true of another one only, which is still being filled."""
    embedders: Mapping[str, Resolved]
    """The models that made what is in it, by the vector's name."""


def reader_content(connection: QdrantConnectionSpec, served: Served) -> dict[str, str]:
    """The data of the ConfigMap, by key. Equal arguments give equal bytes. No key of Qdrant or of a model's server is
    in it.
    """
    observed, physical = served.observed, served.collection.name
    present = Desired(
        observed.name,
        vectors=observed.vectors,
        sparse_vectors=observed.sparse_vectors,
        embedders=served.embedders,
    )
    vectors = [vector.dump() for vector in schema_status(present).vectors]
    for vector in vectors:
        vector.pop("sources", None)
        for of_writers in ("documentPrompt", "documentExtraBody"):
            vector.get("embedder", {}).pop(of_writers, None)
    port = connection.effective_grpc_port
    document: JsonObject = {
        "version": FORMAT,
        "url": connection.url,
        "grpcPort": port,
        "name": served.name,
        "aliases": sorted(served.aliases),
        "collection": physical,
        "incarnation": served.collection.incarnation,
        "vectors": vectors,
    }
    return {
        DOCUMENT: json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        "QDRANT_URL": connection.url,
        "QDRANT_GRPC_PORT": str(port),
        "QDRANT_COLLECTION": served.name,
        "QDRANT_PHYSICAL_COLLECTION": physical,
    }

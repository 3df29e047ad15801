"""What vectors the points of a collection may have, read from what Qdrant says of the collection (never from a
resource: the database decides what it takes). Used to check declared points before they are written, and to compare
stored ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vectorops.api.meta import JsonObject
from vectorops.qdrant.database import UNNAMED


@dataclass(frozen=True, slots=True)
class VectorSchema:
    """size: components, 0 for a sparse vector. distance, datatype: as Qdrant spells them.

    datatype: how the numbers are stored. (That of a sparse vector's index is the index's alone: the weights are
        float32.)
    """

    kind: Literal["dense", "multivector", "sparse"]
    size: int = 0
    distance: str = "Cosine"
    datatype: str = "float32"

    @property
    def stores_exactly(self) -> bool:
        """Are the numbers read back those that were written, bit for bit? Cosine vectors are normalized."""
        return self.datatype == "float32" and (self.kind == "sparse" or self.distance != "Cosine")

    @property
    def is_normalized(self) -> bool:
        """Does a server scale each row to the length 1 before it rounds it to the datatype? uint8 it keeps as it is."""
        return self.kind != "sparse" and self.distance == "Cosine" and self.datatype != "uint8"

    @property
    def comes_back(self) -> bool:
        """Can what is read back be compared with what was written at all? A few bits of each number cannot."""
        return not self.datatype.startswith("turbo")


PointSchema = Mapping[str, VectorSchema]
"""Vectors by name, `UNNAMED` for the unnamed one."""


def schema_of(collection: JsonObject) -> PointSchema:
    """The vectors of a collection. collection: `result` of GET /collections/{name}."""
    params = collection["config"]["params"]
    declared: JsonObject = params.get("vectors") or {}
    # A flat object with a size is the single unnamed vector; anything else maps names to vectors.
    dense = {UNNAMED: declared} if isinstance(declared.get("size"), int) else declared
    found = {name: _dense(vector) for name, vector in dense.items()}
    sparse = {name: VectorSchema("sparse", distance="Dot") for name in params.get("sparse_vectors") or {}}
    return found | sparse


def _dense(vector: Mapping[str, Any]) -> VectorSchema:
    return VectorSchema(
        kind="multivector" if vector.get("multivector_config") else "dense",
        size=vector["size"],
        distance=vector["distance"],
        datatype=vector.get("datatype") or "float32",
    )

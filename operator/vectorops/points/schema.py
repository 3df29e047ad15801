"""What vectors the points of a collection may have: what Qdrant says of the collection, never what a resource declares,
because the database decides what it takes. Declared points are checked against it, and stored ones compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vectorops.qdrant.observe import Observed


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

    def keeps_for(self, other: VectorSchema) -> bool:
        """Does a vector that is read back here, and written there, become what the original would become there?

        For Cosine, the last bit of a component may differ: from float16 to float16, and in a folder.
        """
        if (self.kind, self.size) != (other.kind, other.size):
            return False
        if self.kind == "sparse":
            return True
        if self.distance == "Cosine" and (other.distance, other.is_normalized) != ("Cosine", self.is_normalized):
            # The length of the original is lost.
            return False
        if self.datatype == "float32":
            return True
        # Rounding twice gives what rounding once gives, but not if the length changes in between.
        same = self.is_normalized == other.is_normalized and self.datatype == other.datatype
        return same and self.datatype in {"float16", "uint8"}


PointSchema = Mapping[str, VectorSchema]
"""Vectors by name, `UNNAMED` for the unnamed one."""


def point_schema(observed: Observed) -> PointSchema:
    """The vectors that points of a collection may have."""
    dense = {
        name: VectorSchema(
            kind="multivector" if vector.get("multivector_config") else "dense",
            size=vector["size"],
            distance=vector["distance"],
            datatype=vector["datatype"],
        )
        for name, vector in observed.vectors.items()
    }
    return dense | {name: VectorSchema("sparse", distance="Dot") for name in observed.sparse_vectors}

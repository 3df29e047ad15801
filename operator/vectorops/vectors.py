"""What a vector is in memory, for those who make them (`embedders`) and those who write them (`qdrant`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

VectorKind = Literal["dense", "multivector", "sparse"]
"""dense: one row of numbers. multivector: several rows, compared together. sparse: numbers at few positions."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector. indices: shape (n,), uint32, ascending, each once; values: shape (n,), float32."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


VectorData = NDArray[np.float32] | Sparse
"""A dense vector (shape (size,)), a multi-vector (shape (rows, size)), or a sparse one. All numbers are finite."""

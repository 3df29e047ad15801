"""Vectors in memory, between `embedders`, which makes them, and `qdrant`, which writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

VectorKind = Literal["dense", "multivector", "sparse"]
"""dense: one row of numbers. multivector: several rows, compared together. sparse: numbers at few positions."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector of n elements."""

    indices: NDArray[np.uint32]
    """Shape (n,), ascending, without repetition."""
    values: NDArray[np.float32]
    """Shape (n,)."""


VectorData = NDArray[np.float32] | Sparse
"""A dense vector (shape (size,)), a multi-vector (shape (rows, size)), or a sparse one. All numbers are finite."""

"""Some rows of a source as points: what mapping makes of a batch, and what is staged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vectorops.api.meta import JsonObject
from vectorops.qdrant.database import PointId
from vectorops.vectors import VectorData

VectorColumn = NDArray[np.float32] | Sequence[VectorData | None]
"""One vector of n points: dense ones as one array of shape (n, size), C-contiguous, if no point lacks it; else one by
one, None where a point has none. All are checked against the schema: kind, size, range of the datatype.
"""


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why a row is no point."""

    number: int
    """Of the row in its file, from 1; 0 if it is not known which row it is."""
    reason: str
    """With the column; never content."""
    shown_id: str = ""
    """As declared, shortened; "" if the row has no usable id."""
    id: PointId | None = None
    """None if the row has no usable id: then nothing can be deleted, for any point may be the one it means."""


@dataclass(frozen=True, slots=True)
class Block:
    """n points, in the order of their rows."""

    numbers: Sequence[int]
    """Of the rows in their file, from 1."""
    ids: Sequence[PointId]
    shown_ids: Sequence[str]
    """As declared, shortened."""
    payloads: Sequence[JsonObject]
    """As they are to be stored: JSON without NaN, with integers of 64 bits at most."""
    vectors: Mapping[str, VectorColumn] = field(default_factory=dict)
    """By name. The vectors of texts are not among them."""
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """By the vector's name, what its embedder is to embed; None where a point gives none."""
    failures: Sequence[RowFailure] = ()
    """Rows that are no points; they are not among the others."""

    def __len__(self) -> int:
        return len(self.ids)

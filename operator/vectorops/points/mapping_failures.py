"""What was found of the rows of a batch: points, and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vectorops.api.meta import JsonObject
from vectorops.points.block import Block, RowFailure
from vectorops.points.declared import SHOWN_ID, shorten_id
from vectorops.points.mapping_json_vectors import VectorCells
from vectorops.qdrant.database import PointId


@dataclass(frozen=True, slots=True)
class RowFailures:
    """Why rows of a batch are no points; of each the first reason."""

    reasons: dict[int, str] = field(default_factory=dict)
    """By position in the batch."""

    def add(self, bad: Mapping[int, str], prefix: str = "") -> None:
        """bad: reasons by position."""
        for row, reason in bad.items():
            self.reasons.setdefault(row, prefix + reason)


def assemble_block(
    numbers: Sequence[int],
    ids: Sequence[PointId | None],
    declared: Sequence[Any],
    payloads: Sequence[JsonObject],
    vectors: Mapping[str, VectorCells],
    texts: Mapping[str, Sequence[str | None]],
    failures: RowFailures,
) -> Block:
    """All but numbers are by position in the batch. declared: ids as the rows have them."""
    shown = [
        value if isinstance(value, str) and len(value) <= SHOWN_ID else "" if id is None else shorten_id(value)
        for id, value in zip(ids, declared, strict=True)
    ]
    if not failures.reasons:
        columns = {name: cells.of_rows(None) for name, cells in vectors.items()}
        return Block(numbers, [id for id in ids if id is not None], shown, payloads, columns, texts)
    good = [row for row in range(len(ids)) if row not in failures.reasons]
    rows = np.array(good, dtype=np.int64)
    return Block(
        numbers=[numbers[row] for row in good],
        ids=[id for row in good if (id := ids[row]) is not None],
        shown_ids=[shown[row] for row in good],
        payloads=[payloads[row] for row in good],
        vectors={name: cells.of_rows(rows) for name, cells in vectors.items()},
        texts={name: [column[row] for row in good] for name, column in texts.items()},
        failures=[
            RowFailure(numbers[row], reason, shown[row] if ids[row] is not None else "", ids[row])
            for row, reason in sorted(failures.reasons.items())
        ],
    )

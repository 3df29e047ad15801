"""Record batches of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vectorops.formats.base import MAX_BATCH_BYTES, MAX_BATCH_ROWS


def cut_batch(batch: Any) -> Iterator[Any]:
    """The same rows in batches of at most `MAX_BATCH_ROWS` rows and about `MAX_BATCH_BYTES`; none if it has no rows."""
    rows = min(MAX_BATCH_ROWS, max(1, batch.num_rows * MAX_BATCH_BYTES // max(1, batch.nbytes)))
    for begin in range(0, batch.num_rows, rows):
        yield batch.slice(begin, rows)

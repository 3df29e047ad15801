"""What it costs to read the rows of a file, and to make points of them.

    PYTHONPATH=operator python benchmarks/mapping.py [--count 100000] [--size 384] [--rounds 3]

Each row has a float32 vector and five fields of payload: text, an integer, a fraction, a boolean, a moment. Prints CPU
seconds of one core, the least of some rounds.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vectorops.api.source import Mapping
from vectorops.formats.base import Rows
from vectorops.formats.read import format_of, read_rows
from vectorops.points.mapping import Mapper
from vectorops.points.schema import VectorSchema

TYPES = {"mapping": {"vectors": [{"column": "vector", "encoding": "JSON"}], "types": {"count": "Integer"}}}


def made(count: int, size: int, *, ids: str, fixed: bool) -> pa.Table:
    """Rows from a seed. fixed: does the type of the vectors say their size?"""
    random = np.random.default_rng(1)
    numbers = pa.array(random.standard_normal(count * size, dtype=np.float32))
    offsets = np.arange(0, (count + 1) * size, size, dtype=np.int64)
    return pa.table(
        {
            "id": pa.array(range(count)) if ids == "integers" else pa.array([f"document-{n}" for n in range(count)]),
            "vector": pa.FixedSizeListArray.from_arrays(numbers, size)
            if fixed
            else pa.LargeListArray.from_arrays(offsets, numbers),
            "title": [f"title of number {n}" for n in range(count)],
            "count": range(count),
            "score": random.random(count),
            "public": (random.random(count) < 0.5).tolist(),
            "seen": pa.array(1_700_000_000_000_000 + np.arange(count) * 1_000_001, pa.timestamp("us", "UTC")),
        }
    )


def write(table: pa.Table, path: Path) -> None:
    """In the format that the name says."""
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    rows = table.set_column(6, "seen", table["seen"].cast(pa.string())).to_pylist()
    with path.open("w", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.writer(file)
            writer.writerow(table.column_names)
            writer.writerows(
                [json.dumps(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows
            )


def least(rounds: int, work: Callable[[], object]) -> float:
    """CPU seconds of one core."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def map_all(mapper: Mapper, rows: Iterable[Rows]) -> int:
    """How many points the rows are."""
    return sum(len(mapper.map(some)) for some in rows)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    schema = {"": VectorSchema("dense", given.size)}
    print("| file | ids | read | mapped | both |\n| -- | -- | -- | -- | -- |")
    with tempfile.TemporaryDirectory() as temporary:
        for name, ids, fixed in (
            ("fixed.parquet", "integers", True),
            ("fixed.parquet", "texts", True),
            ("lists.parquet", "integers", False),
            ("rows.jsonl", "integers", True),
            ("rows.csv", "texts", True),
        ):
            path = Path(temporary) / name
            write(made(given.count, given.size, ids=ids, fixed=fixed), path)
            mapping = Mapping.model_validate(TYPES["mapping"]) if path.suffix == ".csv" else None
            mapper = Mapper(mapping, schema)
            read = least(given.rounds, lambda: [None for _ in read_rows(path, format_of(path.name))])  # noqa: B023
            both = least(given.rounds, lambda: map_all(mapper, read_rows(path, format_of(path.name))))  # noqa: B023
            print(f"| {name} | {ids} | {read:.2f} s | {both - read:.2f} s | {both:.2f} s |")
            path.unlink()


if __name__ == "__main__":
    main()

"""What it costs to stage the rows of a file once, beside reading the file a second time.

    PYTHONPATH=operator python benchmarks/staging.py [--count 100000] [--size 384] [--rounds 3]

Either way the file is read once to know all ids and fingerprints before anything is written. Then the points are
needed part by part. Prints CPU seconds, the least of some rounds:

- read: the first reading, rows to blocks; a second reading costs the same
- points: one by one out of the blocks, as a second reading has to give them to be written
- fingerprints: of all payloads and vectors, which both ways need
- stage: sorted, packed, written to the staging file
- read back: all points of all parts, one by one, out of the staging file
- one in a hundred: the same for one point in a hundred of each part, as they are needed when little has changed
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq
from rows import make_base

from vectorops.formats.base import Rows
from vectorops.formats.read import format_of, read_rows
from vectorops.ledger.records import Part
from vectorops.points.block import Block
from vectorops.points.declared import Declared
from vectorops.points.fingerprints import fingerprint_payload, fingerprint_vector
from vectorops.points.mapping import Mapper
from vectorops.points.schema import VectorSchema
from vectorops.points.staging import Sourced, Staging
from vectorops.points.staging_folder import StagingFolder, StagingSpace
from vectorops.qdrant.database import PointData

T = TypeVar("T")


def timed(seconds: dict[str, float], name: str, work: Callable[[], T]) -> T:
    """What the work gives; its CPU seconds are added."""
    began = time.process_time()
    result = work()
    seconds[name] = seconds.get(name, 0.0) + time.process_time() - began
    return result


def measure(path: Path, size: int, space: StagingSpace) -> tuple[dict[str, float], int]:
    """CPU seconds by step, and the bytes of the staging file."""
    seconds: dict[str, float] = {}
    schema = {"": VectorSchema("dense", size)}
    mapper, staging = Mapper(None, schema), Staging(space, schema, {})
    staging.begin(path.name)
    rows: Iterable[Rows] = read_rows(
        path, format_of(path.name), name=path.name, columns=mapper.wanted, is_private=True, max_unpacked_bytes=2**40
    )
    batches = iter(rows)
    while (some := timed(seconds, "read", lambda: next(batches, None))) is not None:
        block = timed(seconds, "read", partial(mapper.map, some))
        timed(seconds, "points", partial(points_of, block))
        timed(seconds, "fingerprints", partial(fingerprints_of, block))
        timed(seconds, "stage", partial(staging.add, block))
    staged = timed(seconds, "stage", staging.finish)
    seconds["stage"] -= seconds["fingerprints"]
    timed(seconds, "read back", lambda: read_parts(staged, 1))
    timed(seconds, "one in a hundred", lambda: read_parts(staged, 100))
    return seconds, space.used


def points_of(block: Block) -> list[Declared]:
    """The points of a block, fingerprints apart."""
    columns = zip(block.ids, block.shown_ids, block.payloads, block.vectors[""], strict=True)
    return [
        Declared(PointData(id, {"": vector} if vector is not None else {}, payload), shown, 0, {"": 0}, {})
        for id, shown, payload, vector in columns
    ]


def fingerprints_of(block: Block) -> None:
    """As staging makes them."""
    for payload in block.payloads:
        fingerprint_payload(payload)
    for vector in block.vectors[""]:
        assert vector is not None
        fingerprint_vector(vector)


def read_parts(staged: Sourced, step: int) -> None:
    """Each `step`-th point of each part."""
    for part in Part(staged.bits, 1 if staged.bits else 0).siblings:
        staged.declaration(part, staged.ids(part)[::step] if step > 1 else None)


def write_lines(base: Path) -> Path:
    """The rows of the Parquet file as JSON Lines."""
    path = base.with_suffix(".jsonl")
    with pq.ParquetFile(base) as file, path.open("w") as lines:
        for batch in file.iter_batches(10_000):
            lines.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
    return path


def main(count: int, size: int, rounds: int) -> None:
    """See above."""
    with tempfile.TemporaryDirectory(prefix="vectorops-benchmark-") as temporary:
        folder = Path(temporary)
        base = make_base(folder, count, size)
        for path in (base, write_lines(base)):
            found = []
            for _ in range(rounds):
                with StagingFolder(folder / "staging", 2**40).space() as space:
                    found.append(measure(path, size, space))
            least = {name: min(seconds[name] for seconds, _ in found) for name in found[0][0]}
            steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in least.items())
            print(
                f"{path.suffix[1:]}, {count:,} rows of {size} components: {steps} CPU-s; "
                f"{found[0][1] / 2**20:.0f} MiB staged"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.count, given.size, given.rounds)

"""What it costs to pack the entries of a ledger into its records, and to unpack them.

    PYTHONPATH=operator python benchmarks/ledger.py [--count 1000000] [--bits 8]

Prints CPU seconds, for integers and for UUIDs, each with one vector.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from vectorops.ledger.entries import Entries
from vectorops.ledger.records import HASH_BITS, pack_entries, unpack_entries

T = TypeVar("T")


def made(count: int, *, uuids: bool) -> Entries:
    """So many entries with random ids."""
    random = np.random.default_rng(1)
    numbers = random.integers(0, 2**63, (count, 3), dtype=np.uint64)
    halves = random.integers(0, 2**63, (count, 1), dtype=np.uint64)
    none = Entries.of({}, 1)
    if uuids:
        return Entries.join([Entries(none.numbers, np.hstack([halves, numbers]))], 1)
    return Entries.join([Entries(numbers, none.uuids)], 1)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of some work, and what it gives."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def main(count: int, bits: int) -> None:
    """See above."""
    for kind in ("integers", "UUIDs"):
        entries = made(count, uuids=kind == "UUIDs")
        cutting, parts = timed(lambda: entries.split(bits))  # noqa: B023 -- called here
        packing, records = timed(lambda: [pack_entries(part, 1) for part in parts])  # noqa: B023
        unpacking, read = timed(lambda: [unpack_entries(record, 1) for record in records])  # noqa: B023
        assert sum(map(len, read)) == count
        size = sum(len(record["u64"]) + len(record["uuid"]) for record in records)
        print(
            f"{count:,} {kind} in {len(parts)} parts: cut {cutting:.3f}, packed {packing:.3f}, "
            f"unpacked {unpacking:.3f} CPU-s; {size / 2**20:.1f} MiB of base64, hashes of {HASH_BITS} bits"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=8)
    given = parser.parse_args()
    main(given.count, given.bits)

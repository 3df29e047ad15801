"""`vectorops apply` of a large file is killed at random moments, again and again; the points must be right in the end.

PYTHONPATH=tests python benchmarks/crashes.py --count 50000 --kills 30

Two files take turns: of each hundred rows, some differ in their vector, some in their payload, some are in one file
only. A run on one of them is killed (SIGKILL, its children too) up to `--kills` times before one may end; then every
point, the points of somebody else and the ledger are compared with the file. Prints what it found, and ends with 1 if
anything is wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.qdrant.connect import Credentials, connect

FOREIGN: Final = range(10**12, 10**12 + 100)
MANIFEST: Final = """
apiVersion: vectorops.dev/v1alpha1
kind: QdrantConnection
metadata: {{name: main}}
spec: {{url: "{url}", grpcPort: {grpc_port}}}
---
apiVersion: vectorops.dev/v1alpha1
kind: QdrantCollection
metadata: {{name: crashes}}
spec: {{connectionRef: {{name: main}}, vector: {{size: {size}, distance: Dot}}}}
---
apiVersion: vectorops.dev/v1alpha1
kind: PointSet
metadata: {{name: rows}}
spec: {{collectionRef: {{name: crashes}}, source: {{files: {{path: rows.parquet}}}}}}
"""


def rows(count: int, size: int, changed: int) -> tuple[Any, Any, Any]:
    """Ids, vectors and one payload field of the first or the second file."""
    ids = np.arange(count)
    ids = ids[ids % 100 != (11 if changed else 12)]
    vectors = np.random.default_rng(1).uniform(-1, 1, (count, size)).astype(np.float32)[ids]
    vectors[ids % 10 == 3] += changed
    return ids, vectors, np.where(ids % 10 == 5, ids + changed, ids)


class Crashes:
    """A Qdrant with the collection, and the file that is applied to it."""

    def __init__(self, folder: Path, server: QdrantServer, count: int, size: int) -> None:
        self._folder = folder
        self._server = server
        self._count = count
        self._size = size
        manifest = MANIFEST.format(url=server.url, grpc_port=server.grpc_port, size=size)
        (folder / "all.yaml").write_text(manifest)

    def write_file(self, changed: int) -> None:
        """The file appears whole."""
        ids, vectors, fields = rows(self._count, self._size, changed)
        new = self._folder / "rows.new"
        pq.write_table(pa.table({"id": ids, "vector": list(vectors), "field": fields}), new)
        new.rename(self._folder / "rows.parquet")

    def apply(self, *, kill_after: float | None = None) -> tuple[float, bool]:
        """Runs the command. Returns its seconds, and whether it ended by itself."""
        begun = time.perf_counter()
        with (self._folder / "said").open("w") as said:
            command = [sys.executable, "-m", "vectorops", "apply", "-f", "all.yaml"]
            running = subprocess.Popen(
                command, cwd=self._folder, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code = running.wait(kill_after)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
                return time.perf_counter() - begun, False
        if code != 0:
            raise typer.Exit(_report((self._folder / "said").read_text()))
        return time.perf_counter() - begun, True

    def write_foreign(self) -> None:
        """Points of somebody else's."""
        points = [{"id": id, "vector": [id / 7] * self._size, "payload": {"by": "another"}} for id in FOREIGN]
        self._call("PUT", "?wait=true", {"points": points})

    def checksum_of_foreign(self) -> str:
        """To the last digit that Qdrant spells."""
        found = self._call("POST", "", {"ids": list(FOREIGN), "with_payload": True, "with_vector": True})
        return hashlib.sha256(json.dumps(sorted(found, key=lambda one: one["id"])).encode()).hexdigest()

    def _call(self, method: str, path: str, body: Any) -> Any:
        url = f"{self._server.url}/collections/crashes/points{path}"
        return httpx.request(method, url, json=body, timeout=60).raise_for_status().json()["result"]

    async def differences(self, changed: int) -> list[str]:
        """What is not as the file says."""
        ids, vectors, fields = rows(self._count, self._size, changed)
        spec = QdrantConnectionSpec(url=self._server.url, grpc_port=self._server.grpc_port)
        database = connect(spec, Credentials())
        try:
            await database.check()
            there = {one.id for one in await database.scroll("crashes")} - set(FOREIGN)
            wanted = dict(zip(ids.tolist(), zip(vectors, fields.tolist(), strict=True), strict=True))
            found = await database.points("crashes", list(wanted), payload=True, vectors=True)
            other = [
                id
                for id, (vector, field) in wanted.items()
                if id in found
                and (
                    found[id].payload != {"field": field}
                    or not np.array_equal(np.asarray(found[id].vectors[""]), vector)
                )
            ]
            records = await database.scroll("vectorops-ledger", payload=("kind", "sequence", "through", "n"))
        finally:
            await database.close()
        by_kind = {
            kind: {one.payload.get("n", 0): one.payload for one in records if one.payload["kind"] == kind}
            for kind in ("base", "slot")
        }
        left_open = [n for n, slot in by_kind["slot"].items() if slot["sequence"] > by_kind["base"][n]["through"]]
        return [
            f"{what}: {len(which)}, as {which[:3]}"
            for what, which in (
                ("missing", sorted(wanted.keys() - there)),
                ("orphans", sorted(there - wanted.keys())),
                ("other content", other),
                ("windows left open", left_open),
            )
            if which
        ]


def _report(words: str) -> int:
    print(words)
    return 1


def main(count: int = 50_000, size: int = 32, kills: int = 30, files: int = 6, seed: int = 1) -> None:
    """Kill, and compare."""
    chance = random.Random(seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        server = QdrantServer(Path(name) / "qdrant")
        server.start()
        try:
            crashes = Crashes(Path(name), server, count, size)
            crashes.write_file(0)
            seconds, _ = crashes.apply()
            crashes.write_foreign()
            foreign = crashes.checksum_of_foreign()
            print(f"{count} rows: the first run took {seconds:.1f} s")
            for number in range(1, files + 1):
                crashes.write_file(number % 2)
                killed = 0
                for _ in range(kills // files):
                    _, ended = crashes.apply(kill_after=chance.uniform(0.2, 1) * seconds)
                    killed += not ended
                seconds, _ = crashes.apply()
                found = asyncio.run(crashes.differences(number % 2))
                if crashes.checksum_of_foreign() != foreign:
                    found.append("points of somebody else changed")
                wrong += len(found)
                words = "; ".join(found) or "all as declared"
                print(f"file {number}: killed {killed} times, the last run took {seconds:.1f} s: {words}")
        finally:
            server.stop()
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)

"""A set that gets its rows from elsewhere, grows, shrinks, or whose ledger is lost: with `vectorops apply`, over files,
at a real Qdrant. The versions of the points show what was written.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from integration.command_line import CONNECTION, Answer, Shell, collection, point_set
from integration.world import Stored
from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import ObjectMeta, Ref, Resource
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.ledger.entries import part_numbers
from vectorops.local.cluster import LocalCluster
from vectorops.local.runner import Runner
from vectorops.qdrant.connect import Credentials, connect
from vectorops.reconcilers import pace, status
from vectorops.reconcilers.base import Context, Turn
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.sources.source_settings import SourceSettings

LEDGER = "vectorops-ledger"
Row = dict[str, Any]


@pytest.fixture
def zoo() -> str:
    return f"zoo-{uuid4().hex[:8]}"


class Files:
    """A folder with manifests and the files of a set, which is applied again and again."""

    def __init__(self, folder: Path, server: QdrantServer, zoo: str) -> None:
        self._shell = Shell(folder)
        self._server = server
        self._zoo = zoo
        self.folder = folder
        self.owner = f"cli/default/{zoo}"

    def apply(self, source: str | None = None, rows: list[Row] | None = None) -> Answer:
        """The set from a file, or with these rows in the manifest."""
        declared: Any = yaml.safe_load(point_set(self._zoo, self._zoo, {}))
        if source is not None:
            del declared["spec"]["points"]
            declared["spec"]["source"] = {"files": {"path": source}}
        else:
            declared["spec"]["points"] = [
                {"id": row["id"], "vector": {"values": row["vector"]}, "payload": payload_of(row)} for row in rows or ()
            ]
        self._shell.write("all.yaml", CONNECTION, collection(self._zoo), f"\n{yaml.safe_dump(declared)}")
        return self._shell.run("apply", "-f", "all.yaml", "--qdrant", self._server.url, "-o", "json")

    def ledger(self) -> Any:
        """What `vectorops ledger show` says of the set."""
        (found,) = self._shell.run("ledger", "show", self.owner, "--qdrant", self._server.url, "-o", "json").json
        return found

    def check(self) -> list[str]:
        """The problems that `vectorops ledger check` finds."""
        found = self._shell.run("ledger", "check", self.owner, "--qdrant", self._server.url, "-o", "json")
        return [one["kind"] for one in found.json]

    def delete_records(self, *conditions: Any) -> None:
        """Somebody deletes records of the set's ledger."""
        where = {"must": [{"key": "owner", "match": {"value": self.owner}}, *conditions]}
        url = f"{self._server.url}/collections/{LEDGER}/points/delete?wait=true"
        httpx.post(url, json={"filter": where}, timeout=30).raise_for_status()


@pytest.fixture
def files(tmp_path: Path, qdrant: QdrantServer, zoo: str) -> Files:
    return Files(tmp_path, qdrant, zoo)


def status_of(answer: Answer, zoo: str) -> Any:
    """Kind, reason and counts of the set."""
    found = next(one for one in answer.json if one["kind"] == "PointSet" and one["name"] == zoo)
    return found["reason"], found["status"].get("points", {}).get("synced")


def some_rows(count: int) -> list[Row]:
    return [
        {"id": n, "vector": [float(n % 7), 1.0], "title": f"number {n}", "year": 1990 + n % 30, "score": n / 8}
        for n in range(count)
    ]


def payload_of(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("id", "vector")}


def write_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_many(path: Path, ids: range) -> None:
    """Points without payload, as many as one likes."""
    vectors = np.zeros((len(ids), 2), dtype=np.float32)
    vectors[:, 0] = ids
    listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 2)
    pq.write_table(pa.table({"id": pa.array(ids), "vector": listed}), path)


def write_lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


async def test_a_set_passes_between_its_manifest_and_files_and_no_point_is_written(
    files: Files, zoo: str, stored: Stored
) -> None:
    rows = some_rows(20)
    write_parquet(files.folder / "rows.parquet", rows)
    write_lines(files.folder / "rows.jsonl", rows[::-1])
    assert status_of(files.apply(rows=rows), zoo) == ("Succeeded", 20)
    before = await stored.versions(zoo)
    assert len(before) == 20

    for source in ("rows.parquet", "rows.jsonl", None, "rows.jsonl"):
        answer = files.apply(source, rows)

        assert status_of(answer, zoo) == ("Succeeded", 20), answer.out
        assert await stored.versions(zoo) == before

    assert files.check() == []
    write_lines(files.folder / "rows.jsonl", [*rows[:-2], {**rows[-2], "title": "another"}])
    assert status_of(files.apply("rows.jsonl"), zoo) == ("Succeeded", 19)
    after = await stored.versions(zoo)
    assert {id for id in after if after[id] != before[id]} == {18}


async def test_a_set_grows_to_many_parts_and_shrinks_to_a_few_points(files: Files, zoo: str, stored: Stored) -> None:
    write_many(files.folder / "rows.parquet", range(2_000))
    assert status_of(files.apply("rows.parquet"), zoo) == ("Succeeded", 2_000)
    before = await stored.versions(zoo)
    assert files.ledger()["parts"] != []

    write_many(files.folder / "rows.parquet", range(20_000))
    assert status_of(files.apply("rows.parquet"), zoo) == ("Succeeded", 20_000)
    grown = files.ledger()

    assert (len(grown["parts"]), grown["points"], grown["format"]) == (8, 20_000, 2)
    assert files.check() == []
    assert await stored.count(zoo) == 20_000

    write_many(files.folder / "rows.parquet", range(5, 15))
    assert status_of(files.apply("rows.parquet"), zoo) == ("Succeeded", 10)
    shrunk = files.ledger()

    assert (len(shrunk["parts"]), shrunk["points"]) == (8, 10), "a ledger keeps its parts"
    after = await stored.versions(zoo)
    assert after == {id: before[id] for id in range(5, 15)}, "neither growth nor shrinking wrote them again"
    assert files.check() == []
    unchanged = files.ledger()
    assert status_of(files.apply("rows.parquet"), zoo) == ("Succeeded", 10)
    assert files.ledger() == unchanged


async def test_a_lost_ledger_is_made_again_from_the_source_and_nothing_is_deleted(
    files: Files, zoo: str, stored: Stored
) -> None:
    write_many(files.folder / "rows.parquet", range(9_000))
    assert status_of(files.apply("rows.parquet"), zoo) == ("Succeeded", 9_000)
    files.delete_records()
    assert files.check() == ["LedgerGone"]

    write_many(files.folder / "rows.parquet", range(100, 9_000))
    assert status_of(files.apply("rows.parquet"), zoo) == ("LedgerLost", 8_900)

    assert await stored.count(zoo) == 9_000, "who owns the other hundred is not known"
    made = files.ledger()
    assert (made["points"], made["rebuilt"], len(made["parts"])) == (8_900, True, 4)
    write_many(files.folder / "rows.parquet", range(200, 9_000))
    assert status_of(files.apply("rows.parquet"), zoo) == ("LedgerLost", 8_800)
    assert await stored.count(zoo) == 8_900, "what the set owns again is deleted when it leaves"


async def test_a_ledger_of_a_source_with_a_record_missing_stops_the_set(files: Files, zoo: str, stored: Stored) -> None:
    write_many(files.folder / "rows.parquet", range(9_000))
    assert status_of(files.apply("rows.parquet"), zoo) == ("Succeeded", 9_000)
    files.delete_records({"key": "kind", "match": {"value": "base"}}, {"key": "n", "match": {"value": 2}})
    assert files.check() == ["RecordMissing"]

    write_many(files.folder / "rows.parquet", range(100, 9_100))
    assert status_of(files.apply("rows.parquet"), zoo)[0] == "LedgerDamaged"

    assert await stored.count(zoo) == 9_000
    assert await stored.client.retrieve(zoo, [9_050]) == []


@dataclass
class Process:
    """The reconcilers in this process, with the set `many` of 9,000 points in 4 parts."""

    cluster: LocalCluster
    driver: Driver
    messages: list[str]


MANY = Ref("PointSet", "park", "many")


@pytest.fixture
async def process(qdrant: QdrantServer, zoo: str, tmp_path: Path) -> AsyncIterator[Process]:
    (tmp_path / "park").mkdir()
    write_many(tmp_path / "park" / "rows.parquet", range(9_000))
    database = connect(QdrantConnectionSpec(url=qdrant.url, prefer_grpc=False), Credentials())
    declared: dict[str, tuple[str, Row]] = {
        "QdrantConnection": ("main", {"url": qdrant.url}),
        "QdrantCollection": (zoo, {"connectionRef": {"name": "main"}, "vector": {"size": 2, "distance": "Dot"}}),
        "PointSet": ("many", {"collectionRef": {"name": zoo}, "source": {"files": {"path": "rows.parquet"}}}),
    }
    resources = [
        Resource(kind, ObjectMeta(name=name, namespace="park", uid=zoo, generation=1), spec, {})
        for kind, (name, spec) in declared.items()
    ]
    messages: list[str] = []
    cluster = LocalCluster(resources, {}, lambda _, __, message: messages.append(message))
    sources = SourceSettings(folder=tmp_path)
    context = Context(
        cluster, Databases(lambda _, __: database), Embedders(EmbedderSettings()), "test", writer="one", sources=sources
    )
    process = Process(cluster, Driver(context, RECONCILERS), messages)
    assert await Runner(cluster, process.driver).run(asyncio.get_running_loop().time() + 60)
    yield process
    await database.close()


async def test_points_that_somebody_deleted_are_back_after_each_part_had_its_turn(
    process: Process, zoo: str, stored: Stored
) -> None:
    assert await stored.count(zoo) == 9_000
    gone = {number: id for id, number in zip(range(9_000), part_numbers(range(9_000), 2), strict=True)}
    for number, id in sorted(gone.items()):
        await stored.client.delete(zoo, [id], wait=True)

        looks = 0
        while await stored.count(zoo) < 9_000:
            looks += 1
            assert looks <= 4, f"part {number}"
            await process.driver.run(MANY)

    (some, *_), _ = await stored.client.scroll(zoo, limit=1)
    await stored.client.set_payload(zoo, {"by": "somebody"}, [some.id], wait=True)
    process.cluster.add(annotated(process.cluster, MANY, "vectorops.dev/verify", "1"))
    await process.driver.run(MANY)
    assert (await stored.client.retrieve(zoo, [some.id]))[0].payload == {}


def annotated(cluster: LocalCluster, ref: Ref, name: str, value: str) -> Resource:
    """The resource with one more annotation."""
    found = cluster.now(ref)
    assert found is not None
    annotations = {**found.meta.annotations, name: value}
    return replace(found, meta=found.meta.model_copy(update={"annotations": annotations}))


async def test_the_deletion_of_a_large_set_gives_way_tells_how_far_it_is_and_ends(
    process: Process, zoo: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait all the time, and what is written every ten seconds is written at once."""
    cluster, driver = process.cluster, process.driver
    found = cluster.now(MANY)
    assert found is not None
    doomed = found.meta.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})
    cluster.add(replace(found, meta=doomed))

    left = [await stored.count(zoo)]
    for _ in range(2):
        verdict = await driver.run(MANY, Turn(should_yield=lambda: True))
        left.append(await stored.count(zoo))
        assert verdict.requeue_after == 0.0
        assert not verdict.backoff
        assert status.ready_reason(verdict.status or {}) == ("False", "Deleting")
    assert left == sorted(set(left), reverse=True)
    assert left[-1] > 0
    monkeypatch.setattr(pace, "SHOW_SECONDS", 0.0)
    while cluster.now(MANY) is not None:
        await driver.run(MANY, Turn())

    assert await stored.count(zoo) == 0
    assert "a long pass has begun: deleting points" in process.messages

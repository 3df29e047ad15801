"""Sets from sources in a cluster: one operator that reads files, ConfigMaps and servers, through good times and bad."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from qdrant_client import models

from integration.conftest import StartOperator
from integration.sources.sourced import CONTENT, lines, row
from integration.team import APPROVE_PLAN, Team, message, plan_hash, unique
from integration.world import Stored, collection, connection, resource
from servers.embeddings import EmbeddingServer
from servers.files import FileServer, Served
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.operator import ForkedOperator, OperatorProcess
from servers.qdrant import QdrantServer
from vectorops.api.meta import JsonObject

VERIFY: Final = "vectorops.dev/verify"
LISTING: Final = "/points/?encoding-type=url&list-type=2&max-keys=1000&prefix=docs%2F"


class Place:
    """A namespace with a connection, an operator that watches it, and its folder of files."""

    def __init__(self, namespace: str, folder: Path, operator: OperatorProcess, qdrant: QdrantServer) -> None:
        self.namespace = namespace
        self.files = folder / namespace
        self.folder = folder
        self.operator = operator
        self.qdrant = qdrant

    def log(self) -> list[Any]:
        """What the operator said, line by line."""
        return [json.loads(line) for line in self.operator.log_text().splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def place(kube: KubeServer, qdrant: QdrantServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    async def prepare() -> str:
        async with kube.api() as api:
            namespace = await api.create_namespace("rows")
            await api.apply(connection(namespace, qdrant))
            return namespace

    namespace = asyncio.run(prepare())
    folder = tmp_path_factory.mktemp("sources")
    (folder / namespace).mkdir()
    operator = ForkedOperator(
        tmp_path_factory.mktemp("operator"),
        kubeconfig=kube.kubeconfig(),
        installation=unique("rows"),
        namespaces=[namespace],
        flags=[f"--source-folder={folder}", "--allowed-source-host=localhost"],
    )
    operator.start()
    yield Place(namespace, folder, operator, qdrant)
    operator.discard()


class Set:
    """A point set of the rows of one file, in a collection of its own."""

    def __init__(self, team: Team, place: Place, stored: Stored) -> None:
        self.team = team
        self.place = place
        self.stored = stored
        self.name = unique("rows")
        self.path = f"{self.name}.jsonl"
        self.spec: JsonObject = {"source": {"files": {"path": self.path}}, "refreshInterval": "1h"}

    async def declare(self, *rows: JsonObject | str, vectors: JsonObject | None = None, **spec: Any) -> Object:
        """Writes the file and declares the set. Returns it when it is Ready."""
        self.write(*rows)
        vectors = vectors or {"vector": {"size": 2, "distance": "Dot"}}
        await self.team.api.apply(collection(self.team.namespace, self.name, **vectors))
        await self.respec(**spec)
        return await self.wait(is_ready)

    async def respec(self, **spec: Any) -> None:
        """Changes fields of the spec; None removes one."""
        self.spec = {key: value for key, value in {**self.spec, **spec}.items() if value is not None}
        declared = {"collectionRef": {"name": self.name}, **self.spec}
        await self.team.api.apply(resource("PointSet", self.team.namespace, self.name, declared))

    def write(self, *rows: JsonObject | str) -> None:
        """Another file takes the place of this one."""
        new = self.place.files / f"{self.name}.new"
        new.write_bytes(lines(*rows))
        new.rename(self.place.files / self.path)

    async def refresh(self) -> Object:
        """The source is listed now."""
        return await self.team.look_again("PointSet", self.name)

    async def wait(self, holds: Callable[[Object], object] | str) -> Object:
        found = await self.team.wait("PointSet", self.name, holds)
        assert CONTENT not in json.dumps({**found, "spec": {}})
        return found

    async def ids(self) -> list[Any]:
        return sorted(await self.stored.points(self.name))

    async def until_ids(self, *ids: int) -> None:
        async with asyncio.timeout(60):
            while await self.ids() != list(ids):  # noqa: ASYNC110 - Qdrant tells nobody
                await asyncio.sleep(0.1)

    async def until_tried_again(self, words: str) -> None:
        """Waits until the operator says that something is wrong for now."""
        async with asyncio.timeout(60):
            while not any(words in line["message"] and self.name in str(line) for line in self.place.log()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.fixture
def rows(api: KubeApi, place: Place, stored: Stored) -> Set:
    return Set(Team(api, place.namespace), place, stored)


async def test_a_source_is_loaded_and_then_only_what_changed_is_written(rows: Set) -> None:
    first = await rows.declare(row(1), row(2), row(3))
    assert first["status"]["points"] == {"desired": 3, "synced": 3, "failed": 0, "conflicts": 0}
    assert (first["status"]["source"]["files"], first["status"]["source"]["rows"]) == (1, 3)
    before, versions = rows.place.qdrant.telemetry_writes(), await rows.stored.versions(rows.name)

    await rows.refresh()
    rows.write(row(1), row(2), row(3))
    await rows.refresh()
    rows.write(row(3), row(2), row(1))
    reordered = await rows.refresh()

    assert await rows.stored.versions(rows.name) == versions
    # The new order is another revision, which the ledger keeps: that is all.
    assert rows.place.qdrant.telemetry_writes() - before <= 3
    assert reordered["status"]["source"]["revision"] != first["status"]["source"]["revision"]

    rows.write(row(1), row(2, kind="new"), row(4))
    await rows.refresh()
    changed = await rows.stored.versions(rows.name)
    assert changed[1] == versions[1]
    assert changed[2] > versions[2]
    assert await rows.ids() == [1, 2, 4]


async def test_too_many_deletions_wait_for_approval_while_the_rest_goes_on(rows: Set) -> None:
    await rows.declare(*(row(id, kind="old") for id in range(1, 11)), maxDeletePercent=20)
    rows.write(row(1, kind="new"), *(row(id, kind="old") for id in range(2, 8)), row(11))

    await rows.refresh()
    held = await rows.wait("DeletionsHeldBack")

    assert await rows.ids() == list(range(1, 12))
    assert (await rows.stored.payloads(rows.name))[1]["kind"] == "new"
    assert "3 points of 10" in message(held)
    assert held["status"]["plan"]["steps"] == ["delete 3 points of the 10 that the set owns"]
    await rows.team.annotate("PointSet", rows.name, {APPROVE_PLAN: "0123456789ab"})
    await rows.refresh()
    assert len(await rows.ids()) == 11

    await rows.team.annotate("PointSet", rows.name, {APPROVE_PLAN: plan_hash(held)})
    done = await rows.wait(is_ready)
    assert await rows.ids() == [*range(1, 8), 11]
    assert "plan" not in done["status"]

    # It was for these points, once.
    rows.write(row(1, kind="new"))
    await rows.refresh()
    again = await rows.wait("DeletionsHeldBack")
    assert plan_hash(again) != plan_hash(held)
    assert len(await rows.ids()) == 8


async def test_what_was_changed_by_hand_is_found_on_request(rows: Set) -> None:
    await rows.declare(row(1), row(2), row(3))
    before = await rows.stored.points(rows.name)
    await rows.stored.client.overwrite_payload(rows.name, {"title": "by hand"}, points=[1])
    await rows.stored.client.update_vectors(rows.name, [models.PointVectors(id=2, vector=[9.0, 9.0])], wait=True)

    token = uuid.uuid4().hex
    await rows.team.annotate("PointSet", rows.name, {VERIFY: token})
    await rows.wait(lambda obj: obj["status"].get("lastHandledVerifyAt") == token)

    assert await rows.stored.points(rows.name) == before


async def test_what_is_missing_is_found_at_the_next_look(rows: Set) -> None:
    await rows.declare(row(1), row(2), row(3))
    await rows.stored.client.delete(rows.name, [2], wait=True)

    await rows.refresh()
    await rows.until_ids(1, 2, 3)


async def test_a_source_is_listed_when_it_is_due(rows: Set, files: FileServer) -> None:
    files.files["/a.jsonl"] = Served(lines(row(1)), etag='"1"')
    source = {"http": {"urls": [f"{files.url}/a.jsonl"]}}
    await rows.declare(source=source, refreshInterval="1s")

    files.files["/a.jsonl"] = Served(lines(row(1), row(2)), etag='"2"')
    await rows.until_ids(1, 2)
    # What is wrong with it does not wait for the resync either, nor what mends it.
    files.files["/a.jsonl"] = Served(b"{", etag='"3"')
    await rows.wait("SourceInvalid")
    del files.files["/a.jsonl"]
    await rows.wait("SourceMissing")
    files.files["/a.jsonl"] = Served(b"", etag='"4"')
    await rows.wait("SourceEmpty")
    assert await rows.ids() == [1, 2]
    files.files["/a.jsonl"] = Served(lines(row(2), row(3)), etag='"5"')
    await rows.until_ids(2, 3)
    await rows.wait(is_ready)


async def test_a_source_is_not_listed_before_it_is_due(
    api: KubeApi,
    namespace: str,
    start_operator: StartOperator,
    qdrant: QdrantServer,
    stored: Stored,
    tmp_path: Path,
    files: FileServer,
) -> None:
    """However often the set is looked at meanwhile."""
    operator = start_operator(flags=["--resync-seconds=1"])
    await api.apply(connection(namespace, qdrant))
    (tmp_path / namespace).mkdir()
    patient, hasty = (Set(Team(api, namespace), Place(namespace, tmp_path, operator, qdrant), stored) for _ in range(2))
    for one, interval in ((patient, "1h"), (hasty, None)):
        files.files[f"/{one.path}"] = Served(lines(row(1)), etag='"1"')
        source = {"http": {"urls": [f"{files.url}/{one.path}"]}}
        await one.declare(source=source, refreshInterval=interval)
    files.requests.clear()

    def asked_for(one: Set) -> list[str]:
        return [request.method for request in files.requests if one.path in request.path]

    async with asyncio.timeout(60):
        while len(asked_for(hasty)) < 3:  # noqa: ASYNC110 - a server tells no test
            await asyncio.sleep(0.1)

    assert set(asked_for(hasty)) == {"HEAD"}
    assert asked_for(patient) == []


async def test_a_source_that_came_back_unchanged_is_not_fetched_again(rows: Set, files: FileServer) -> None:
    files.files["/a.jsonl"] = served = Served(lines(row(1)), etag='"1"')
    before = await rows.declare(source={"http": {"urls": [f"{files.url}/a.jsonl"]}}, refreshInterval="1s")
    del files.files["/a.jsonl"]
    await rows.wait("SourceMissing")
    files.requests.clear()
    files.files["/a.jsonl"] = served

    after = await rows.wait(is_ready)

    # While it was away, its absence was asked for once more with GET.
    assert len(files.requests) < 20
    assert files.requests[-1].method == "HEAD"
    assert message(after) == message(before)


async def test_a_ready_set_stays_ready_while_its_source_is_away_for_a_moment(rows: Set, files: FileServer) -> None:
    files.files["/a.jsonl"] = Served(lines(row(1)), etag='"1"')
    await rows.declare(source={"http": {"urls": [f"{files.url}/a.jsonl"]}}, refreshInterval="1s")

    content = lines(row(2))
    files.files["/a.jsonl"] = Served(content, etag='"2"', cut_after=len(content) - 1)
    await rows.until_tried_again("ended the answer before its end")

    assert is_ready(await rows.team.get("PointSet", rows.name))
    assert await rows.ids() == [1]
    files.files["/a.jsonl"] = Served(content, etag='"2"')
    await rows.until_ids(2)


async def test_a_listing_that_fails_on_page_two_deletes_nothing(rows: Set, files: FileServer) -> None:
    second = LISTING.replace("/?", "/?continuation-token=two&")
    files.files[LISTING] = Served(_page("docs/a.jsonl"))
    for id, name in ((1, "a"), (2, "b")):
        files.files[f"/points/docs/{name}.jsonl"] = Served(lines(row(id)), etag='"1"')
    source = {"s3": {"url": "s3://points/docs/", "endpoint": files.url}}
    await rows.declare(source=source, refreshInterval="1s")

    files.files[LISTING] = Served(_page("docs/a.jsonl", following="two"))
    files.files[second] = Served(_page("docs/b.jsonl"), cut_after=20)
    await rows.until_tried_again("s3://points/docs/: localhost")

    assert await rows.ids() == [1]
    files.files[second] = Served(_page("docs/b.jsonl"))
    await rows.until_ids(1, 2)


def _page(*keys: str, following: str | None = None) -> bytes:
    """A page of a listing, as S3 writes it, of objects with one row each."""
    facts = f"<Size>{len(lines(row(1)))}</Size><ETag>&quot;1&quot;</ETag>"
    objects = "".join(f"<Contents><Key>{key}</Key>{facts}</Contents>" for key in keys)
    more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    truncated = "true" if following else "false"
    return f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{objects}</ListBucketResult>".encode()


async def test_files_are_read_in_the_folder_of_the_namespace_only(rows: Set) -> None:
    outside = rows.place.folder / "others"
    outside.mkdir(exist_ok=True)
    (outside / "a.jsonl").write_bytes(lines(row(9)))
    await rows.declare(row(1))
    (rows.place.files / f"{rows.name}-link.jsonl").symlink_to(outside / "a.jsonl")
    for path in (f"{rows.name}-link.jsonl", f"{rows.name}*.jsonl", "../others/a.jsonl", str(outside / "a.jsonl")):
        await rows.respec(source={"files": {"path": path}})
        refused = await rows.wait("SourceRefused")
        assert condition(refused, "Stalled")["status"] == "True"
    assert await rows.ids() == [1]


async def test_a_host_that_is_not_allowed_is_not_asked(rows: Set, files: FileServer) -> None:
    await rows.declare(row(1))
    files.files["/a.jsonl"] = Served(lines(row(2)))
    await rows.respec(source={"http": {"urls": [f"http://127.0.0.1:{files.port}/a.jsonl"]}})

    refused = await rows.wait("SourceRefused")

    assert "--allowed-source-host" in message(refused)
    assert (files.requests, await rows.ids()) == ([], [1])


async def test_of_two_config_maps_the_newest_row_counts(rows: Set) -> None:
    """As kustomize leaves them: each with a hash in its name."""
    source = {"configMaps": {"selector": {"matchLabels": {"app": rows.name}}}}
    old = await _config_map(rows, "z", row(1, kind="old"), row(2, kind="old"), "{", row(3, vector=[1]))
    new = old
    while _created(new) == _created(old):
        await rows.team.api.delete("ConfigMap", rows.team.namespace, f"{rows.name}-a") if new is not old else None
        new = await _config_map(rows, "a", row(1, kind="new"), row(3, kind="new"))
    await rows.team.api.apply(collection(rows.team.namespace, rows.name, vector={"size": 2}))
    await rows.respec(source=source)

    told = await rows.wait("PointsFailed")
    payloads = await rows.stored.payloads(rows.name)
    assert {id: payload["kind"] for id, payload in payloads.items()} == {1: "new", 2: "old", 3: "new"}
    assert [failure["id"] for failure in told["status"]["failures"]] == [f"configmap/{rows.name}-z:rows.jsonl, row 3"]

    await rows.team.api.delete("ConfigMap", rows.team.namespace, f"{rows.name}-z")
    await rows.wait(is_ready)
    await rows.until_ids(1, 3)


async def _config_map(rows: Set, end: str, *content: JsonObject | str) -> Object:
    labels = {"vectorops.dev/source": "true", "app": rows.name}
    metadata = {"name": f"{rows.name}-{end}", "namespace": rows.team.namespace, "labels": labels}
    data = {"rows.jsonl": lines(*content).decode()}
    return await rows.team.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _created(config_map: Object) -> str:
    return str(config_map["metadata"]["creationTimestamp"])


async def test_a_suspended_set_reads_nothing_and_a_deleted_one_takes_its_points_along(rows: Set) -> None:
    await rows.declare(row(1), row(2))
    await rows.stored.client.upsert(rows.name, [models.PointStruct(id=99, vector=[1.0, 1.0])], wait=True)
    await rows.respec(suspend=True)
    await rows.wait("Suspended")
    rows.write(row(3))
    await rows.refresh()
    assert await rows.ids() == [1, 2, 99]

    await rows.respec(suspend=None)
    await rows.wait(is_ready)
    assert await rows.ids() == [3, 99]

    (rows.place.files / rows.path).unlink()
    await rows.team.delete("PointSet", rows.name)
    assert await rows.ids() == [99]


async def test_texts_of_rows_are_embedded_once(rows: Set) -> None:
    with EmbeddingServer() as server:
        model = {"openAI": {"model": "any", "baseURL": server.base_url}}
        vectors = {"vectors": [{"name": "body", "embedder": model}, {"name": "head", "embedder": model}]}
        mapping = {"vectors": [{"name": "body", "embed": "text"}, {"name": "head", "template": "{title}: {text}"}]}

        def texts() -> list[str]:
            found = sorted(text for request in server.requests for text in request.texts)
            server.requests.clear()
            return found

        def rows_of(**text: Any) -> list[JsonObject]:
            return [{"id": int(id[1:]), "title": f"{CONTENT} {id}", "text": one} for id, one in text.items()]

        await rows.declare(*rows_of(p1="one", p2="two", p3="three"), vectors=vectors, mapping=mapping)
        embedded = texts()
        assert {"one", "two", "three", f"{CONTENT} p1: one"} <= set(embedded)

        rows.write(*rows_of(p3="three", p2="two", p1="one"))
        await rows.refresh()
        assert texts() == []

        rows.write(*rows_of(p1="one", p2=["no", "text"], p3=" ", p4="four"))
        await rows.refresh()
        failed = await rows.wait("PointsFailed")
        assert texts() == sorted([f"{CONTENT} p4: four", "four"])
        assert await rows.ids() == [1, 2, 3, 4]
        assert {one["id"]: one["reason"].partition(": ")[2] for one in failed["status"]["failures"]} == {
            "2": "vectors.body: a list or an object is no text",
            "3": "vectors.body: empty text",
        }


async def test_texts_are_embedded_by_another_model_at_once_though_the_source_is_not_due(rows: Set) -> None:
    with EmbeddingServer() as server:

        def vectors(model: str) -> JsonObject:
            embedder = {"openAI": {"model": model, "baseURL": server.base_url}}
            return {"vectors": [{"name": "body", "embedder": embedder}]}

        mapping = {"vectors": [{"name": "body", "embed": "text"}]}
        await rows.declare({"id": 1, "text": "one"}, {"id": 2, "text": "two"}, vectors=vectors("any"), mapping=mapping)
        await rows.team.api.apply(collection(rows.team.namespace, rows.name, **vectors("other")))
        held = await rows.team.wait("QdrantCollection", rows.name, "PlanHeldBack")
        server.requests.clear()

        await rows.team.approve(rows.name, plan_hash(held))
        await rows.team.wait("QdrantCollection", rows.name, "Succeeded")

        def texts_of(model: str) -> set[str]:
            return {text for request in server.requests if request.body["model"] == model for text in request.texts}

        async with asyncio.timeout(60):
            while not {"one", "two"} <= texts_of("other"):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.1)
        await rows.wait(is_ready)


async def test_nothing_of_all_this_says_what_is_in_a_cell(rows: Set, api: KubeApi) -> None:
    """Last: of the events and the log of the tests before."""
    events = await api.list("Event", rows.team.namespace)
    assert events
    assert CONTENT not in json.dumps(events)
    assert CONTENT not in rows.place.operator.log_text()

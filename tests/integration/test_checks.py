"""Checks of a collection's answers, asked of two collections in a real Qdrant."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from servers.embeddings import Answer, EmbeddingServer
from servers.models import BM25, bm25
from servers.qdrant import QdrantServer
from vectorops import metrics
from vectorops.api.checks import Checks, ChecksStatus
from vectorops.api.collection import QdrantCollectionStatus
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.embedder import Embedder
from vectorops.api.meta import JsonObject, ObjectMeta, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbedderSettings, Resolved
from vectorops.embedders.pool import Embedders
from vectorops.errors import Rejected, Terminal, Transient, VectorOpsError
from vectorops.local.cluster import LocalCluster
from vectorops.points.identity import point_id
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import UNNAMED, Database, PointData, PointId
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import Observed, read_collection
from vectorops.reconcilers.base import Context, Outcome, Turn
from vectorops.reconcilers.checking import run_checks
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.quality_watch import WATCH_SECONDS, QualityWatch
from vectorops.reconcilers.status import conditions
from vectorops.sources.source_settings import SourceSettings
from vectorops.vectors import Sparse, VectorData

META = ObjectMeta(name="zoo", namespace="team")
RIGHT, UP, LEFT = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
DENSE = {"size": 2, "distance": "Cosine"}


@pytest.fixture
async def database(qdrant: QdrantServer) -> AsyncIterator[Database]:
    database = connect(QdrantConnectionSpec(url=qdrant.url, prefer_grpc=False), Credentials())
    await database.check()
    yield database
    await database.close()


@pytest.fixture
async def context(tmp_path: Path) -> AsyncIterator[Context]:
    embedders = Embedders(EmbedderSettings(timeout_seconds=5))
    sources = SourceSettings(manifest_folders={})
    yield Context(LocalCluster([], {}), Databases(connect), embedders, "here", "writer", sources=sources)
    await embedders.close()


def hosted(server: EmbeddingServer, **options: Any) -> Resolved:
    """A lock of a model behind a server that gives two numbers."""
    return Resolved({"openAI": {}}, "openAI", "any", "dense", 2, base_url=server.base_url, **options)


class Scene:
    """Two collections that hold the same points, unless a test says otherwise."""

    def __init__(self, context: Context, database: Database, **spec: Any) -> None:
        name = f"zoo-{uuid.uuid4().hex[:8]}"
        self.context, self.database = context, database
        self.old, self.new = f"{name}-1", f"{name}-2"
        self.spec: JsonObject = {"connectionRef": {"name": "main"}, "vector": DENSE, **spec}

    async def make(
        self,
        name: str,
        points: Mapping[PointId, Any],
        vectors: JsonObject = DENSE,
        *,
        locks: Mapping[str, Resolved] | None = None,
        payload: JsonObject | None = None,
        **body: Any,
    ) -> None:
        """points: by id the unnamed vector, or the vectors by name."""
        stored = {vector: lock.to_json() for vector, lock in (locks or {}).items()}
        mark = Mark("here", "team", "zoo", "", name, "first", embedders=stored)
        await self.database.create_collection(name, {"vectors": vectors, "metadata": mark.metadata(), **body})
        await self.database.upsert(
            name, [PointData(id, _by_name(given), payload or {"even": True}) for id, given in points.items()]
        )

    async def run(self, checks: JsonObject, *, old: Observed | None = None, alone: bool = False) -> ChecksStatus:
        """old: as it was read before."""
        resource = Resource("QdrantCollection", META, self.spec, {})
        if old is None and not alone:
            old = await read_collection(self.database, self.old)
        new = await read_collection(self.database, self.new)
        parsed = Checks.model_validate(checks)
        return await run_checks(self.context, resource, parsed, self.database, new=new, old=old)

    async def refusal(self, checks: JsonObject, kind: type[VectorOpsError] = Terminal) -> VectorOpsError:
        with pytest.raises(kind) as raised:
            await self.run(checks)
        return raised.value


def _by_name(given: Any) -> dict[str, VectorData]:
    named = given if isinstance(given, dict) else {UNNAMED: given}
    return {name: value if isinstance(value, Sparse) else np.array(value, np.float32) for name, value in named.items()}


def asking(*queries: JsonObject, k: int = 2, **thresholds: float) -> JsonObject:
    """Checks with these queries; an overlap is asked for where no threshold is named."""
    return {"queries": list(queries), "k": k, "thresholds": thresholds or {"overlap": 0.5}}


@pytest.fixture
async def scene(context: Context, database: Database) -> Scene:
    """Both collections hold three points, in one direction each."""
    scene = Scene(context, database)
    for name in (scene.old, scene.new):
        await scene.make(name, {1: RIGHT, point_id("up"): UP, 3: LEFT})
    return scene


async def test_equal_collections_pass(scene):
    status = await scene.run(
        asking({"vector": RIGHT, "expect": ["1"]}, {"vector": [0.1, 1.0]}, recall=1, mrr=1, overlap=1, latencyRatio=50)
    )

    assert (status.result, status.failures, status.queries) == ("Passed", [], 2)
    assert [one.collection for one in status.measured] == [scene.old, scene.new]
    assert [(one.recall, one.mrr, one.overlap) for one in status.measured] == [(1, 1, None), (1, 1, 1)]
    assert all(one.latency_ms and one.latency_ms > 0 for one in status.measured)


async def test_a_collection_that_answers_worse_fails_in_words_that_name_the_queries(scene):
    await scene.database.delete_points(scene.new, [1])

    status = await scene.run(asking({"vector": UP}, {"vector": RIGHT, "expect": ["1"]}, k=1, recall=0.9, overlap=0.9))

    assert status.result == "Failed"
    assert status.failures == [
        (
            "recall is 0.5, and at least 0.9 is required (the old collection's is 1); worst: queries[1] (0.00), "
            "queries[0] (1.00)"
        ),
        "overlap is 0.5, and at least 0.9 is required; worst: queries[1] (0.00), queries[0] (1.00)",
    ]


async def test_a_filter_is_part_of_a_query(scene):
    none = {"must": [{"key": "even", "match": {"value": False}}]}

    assert (await scene.run(asking({"vector": RIGHT, "filter": none, "expect": ["1"]}, recall=0))).measured[
        1
    ].recall == 0


async def test_ids_are_those_that_point_sets_make(scene):
    number, name = {"vector": RIGHT, "expect": ["1"]}, {"vector": UP, "expect": ["up"]}

    assert (await scene.run(asking(number, name, k=1, recall=1))).result == "Passed"


async def test_digits_that_are_no_integer_id_are_the_text(scene):
    await scene.database.upsert(scene.new, [PointData(point_id("42"), _by_name(RIGHT))])

    assert (await scene.run(asking({"vector": RIGHT, "expect": ["42"]}, recall=1))).result == "Passed"


async def test_an_expected_id_of_no_point_fails(scene):
    status = await scene.run(asking({"vector": RIGHT, "expect": ["1", "typo"]}, recall=0.1))

    assert status.result == "Failed"
    assert status.failures == ['queries[0]: expects "typo", which is the id of no point: name another, or remove it']


async def test_one_collection_can_be_checked_alone(scene):
    status = await scene.run(asking({"vector": RIGHT, "expect": ["1"]}, recall=1, overlap=1), alone=True)

    assert (status.result, [one.collection for one in status.measured]) == ("Passed", [scene.new])


async def test_a_query_that_says_nothing_of_what_it_expects_decides_nothing_about_one_collection(scene):
    status = await scene.run(asking({"vector": RIGHT}, recall=1), alone=True)

    assert status.failures == ["no threshold can be measured without another collection to compare with"]


# ---- what cannot be asked ----


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"vector": [1.0, 2.0, 3.0]}, "queries[1]: vector: 3 components, but the vector's size is 2"),
        ({"vector": RIGHT, "using": "zz"}, "has no vector 'zz', but the unnamed vector"),
        ({"text": "who?"}, "queries[1]: text: no model makes the vector ''"),
    ],
)
async def test_a_query_that_does_not_fit_is_refused_with_its_place(scene, query, words):
    error = await scene.refusal(asking({"vector": RIGHT}, query))

    assert error.reason is Reason.INVALID_SPEC
    assert words in error.message


async def test_a_filter_that_qdrant_refuses_is_refused_with_its_place(scene):
    bad = {"must": [{"key": "even", "match": {"valu": "s3cret"}}]}

    error = await scene.refusal(asking({"vector": RIGHT}, {"vector": RIGHT, "filter": bad}), Rejected)

    assert error.reason is Reason.REQUEST_REJECTED
    assert error.message.startswith("spec.checks: queries[1]: ")
    assert "s3cret" not in error.message


@pytest.mark.parametrize(
    ("other", "field"),
    [({"size": 3}, "size"), ({"distance": "Dot"}, "distance"), ({"datatype": "float16"}, "datatype")],
)
async def test_numbers_are_not_sent_where_they_mean_something_else(context, database, other, field):
    scene = Scene(context, database)
    await scene.make(scene.old, {1: RIGHT})
    await scene.make(scene.new, {1: [*RIGHT, 0.0][: other.get("size", 2)]}, {**DENSE, **other})

    error = await scene.refusal(asking({"vector": [1.0] * other.get("size", 2), "expect": ["1"]}))

    assert error.reason is Reason.INVALID_SPEC
    assert f"differ in {field} of the vector" in error.message


async def test_numbers_of_another_model_are_not_sent(context, database):
    scene = Scene(context, database)
    with EmbeddingServer() as server:
        await scene.make(scene.old, {1: RIGHT}, locks={UNNAMED: hosted(server)})
        await scene.make(scene.new, {1: RIGHT}, locks={UNNAMED: replace(hosted(server), model="other")})

        assert "differ in model of the vector" in (await scene.refusal(asking({"vector": RIGHT}))).message


async def test_a_collection_with_several_vectors_needs_a_name(context, database):
    scene = Scene(context, database)
    for name in (scene.old, scene.new):
        await scene.make(name, {1: {"a": RIGHT, "b": UP}}, {"a": DENSE, "b": DENSE})

    assert "name one with `using`" in (await scene.refusal(asking({"vector": RIGHT}))).message
    assert (await scene.run(asking({"vector": RIGHT, "using": "b"}))).result == "Passed"


async def test_a_vector_that_is_new_is_asked_of_the_new_collection_alone(context, database):
    scene = Scene(context, database)
    await scene.make(scene.old, {1: {"a": RIGHT}}, {"a": DENSE})
    await scene.make(scene.new, {1: {"a": RIGHT, "b": UP}}, {"a": DENSE, "b": DENSE})

    new = {"vector": UP, "using": "b"}
    status = await scene.run(asking({**new, "expect": ["1"]}, {"vector": RIGHT, "using": "a"}, recall=1, overlap=1))
    assert status.result == "Passed"
    assert "add `expect`" in (await scene.refusal(asking(new))).message


# ---- texts ----


def directions(texts: Sequence[str]) -> list[list[float]]:
    """What an embedding server makes of texts: a direction for each word, another one after a prompt."""
    words = {"right": RIGHT, "up": UP}
    return [words[text.split()[-1]][:: -1 if text.startswith("query: ") else 1] for text in texts]


async def test_texts_are_embedded_as_queries_by_the_model_of_each_collection(context, database):
    with EmbeddingServer(directions) as server:
        declared = {"openAI": {"model": "any", "baseURL": server.base_url}}
        scene = Scene(context, database, vector={"distance": "Cosine", "embedder": declared})
        before = hosted(server, query_prompt="query: ", document_prompt="passage: ")
        options = {"openAI": {"extraBody": {"queries": {"input_type": "query"}, "documents": {"input_type": "d"}}}}
        after = replace(hosted(server), declared=options, document_extra_body={"input_type": "d"})
        await scene.make(scene.old, {1: UP, 2: RIGHT}, locks={UNNAMED: before})
        await scene.make(scene.new, {1: RIGHT, 2: UP}, locks={UNNAMED: after})

        status = await scene.run(asking({"text": "right", "expect": ["1"]}, {"text": "up"}, k=1, recall=1, overlap=1))

        assert (status.result, status.failures) == ("Passed", [])
        bodies = [request.body for request in server.requests]
    assert [body["input"] for body in bodies] == [["right", "up"], ["query: right", "query: up"]]
    assert [body.get("input_type") for body in bodies] == ["query", None]


async def test_a_model_whose_key_is_no_longer_declared_is_asked_nothing(context, database):
    with EmbeddingServer(directions) as one, EmbeddingServer(directions) as other:
        declared = {"openAI": {"model": "any", "baseURL": other.base_url}}
        scene = Scene(context, database, vector={"distance": "Cosine", "embedder": declared})
        await scene.make(scene.old, {1: RIGHT}, locks={UNNAMED: hosted(one)})
        await scene.make(scene.new, {1: RIGHT}, locks={UNNAMED: hosted(other)})

        assert (await scene.run(asking({"text": "right", "expect": ["1"]}, recall=1))).result == "Passed"
        assert "cannot be asked" in (await scene.refusal(asking({"text": "right"}))).message
        assert one.requests == []


async def test_an_embedder_that_is_away_decides_nothing(context, database):
    with EmbeddingServer() as server:
        declared = {"openAI": {"model": "any", "baseURL": server.base_url}}
        scene = Scene(context, database, vector={"distance": "Cosine", "embedder": declared})
        for name in (scene.old, scene.new):
            await scene.make(name, {1: RIGHT}, locks={UNNAMED: hosted(server)})
        server.answer_always(Answer(503))

        error = await scene.refusal(asking({"text": "right"}), Transient)

    assert error.reason is Reason.EMBEDDER_UNREACHABLE


async def test_a_text_that_is_blank_is_refused(context, database):
    with EmbeddingServer() as server:
        scene = Scene(context, database)
        for name in (scene.old, scene.new):
            await scene.make(name, {1: RIGHT}, locks={UNNAMED: hosted(server)})

        assert (await scene.refusal(asking({"text": " "}))).message == "spec.checks: queries[0]: text: it is empty"


async def test_numbers_are_one_row_for_a_multi_vector(context, database):
    scene = Scene(context, database)
    rows = {"rows": {**DENSE, "multivector_config": {"comparator": "max_sim"}}}
    for name in (scene.old, scene.new):
        await scene.make(name, {1: {"rows": [RIGHT, UP]}, 2: {"rows": [LEFT, LEFT]}}, rows)

    assert (await scene.run(asking({"vector": UP, "expect": ["1"]}, k=1, recall=1, overlap=1))).result == "Passed"


@pytest.mark.timeout(300)
async def test_texts_are_searched_in_sparse_vectors(context, database, tmp_path):
    pytest.importorskip("fastembed", reason="needs the extra fastembed")
    bm25(tmp_path)
    embedders = Embedders(EmbedderSettings(model_folder=tmp_path, offline=True, threads=1))
    locked = await embedders.resolve(Embedder.model_validate({"fastEmbed": {"model": BM25}}))
    documents = (
        await embedders.embed(locked, ["The lion sleeps in the shade", "Bees dance for their sisters"])
    ).vectors
    terms = {"vectors": {}, "sparse_vectors": {"terms": {"modifier": "idf"}}}
    scene = Scene(replace(context, embedders=embedders), database)
    for name in (scene.old, scene.new):
        points: dict[PointId, Any] = {id: {"terms": vector} for id, vector in enumerate(documents, 1)}
        await scene.make(name, points, locks={"terms": locked}, **terms)

    query = {"text": "dancing bees", "expect": ["2"]}
    status = await scene.run(asking(query, {"text": "zzz"}, k=1, recall=1, overlap=1))
    await embedders.close()

    assert (status.result, status.failures) == ("Passed", [])


# ---- queries of a source ----


def sourced(path: Path, **thresholds: float) -> JsonObject:
    return {"source": {"files": {"path": path.name}}, "k": 1, "thresholds": thresholds or {"recall": 1}}


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    resource = Resource("QdrantCollection", META, {}, {})
    settings = replace(scene.context.sources, manifest_folders={resource.ref: tmp_path})
    scene.context = replace(scene.context, sources=settings)
    return tmp_path


async def test_queries_are_read_from_json_lines(scene, folder):
    rows = [{"vector": RIGHT, "expect": ["1"], "note": "ignored"}, {"vector": UP, "expect": ["up"], "filter": None}]
    (folder / "checks.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))

    status = await scene.run(sourced(folder / "checks.jsonl"))

    assert (status.result, status.queries, status.measured[1].recall) == ("Passed", 2, 1)


async def test_queries_are_read_from_csv(scene, folder):
    even = '"{""must"": [{""key"": ""even"", ""match"": {""value"": true}}]}"'
    (folder / "checks.csv").write_text(f'vector,expect,filter\n"[1, 0]",1,{even}\n"[0, 1]","[""up""]",\n')

    assert (await scene.run(sourced(folder / "checks.csv"))).failures == []


async def test_queries_are_read_from_parquet(scene, folder):
    table = pa.table({"vector": pa.array([RIGHT, UP], pa.list_(pa.float32(), 2)), "expect": [["1"], ["up"]]})
    pq.write_table(table, folder / "checks.parquet")

    assert (await scene.run(sourced(folder / "checks.parquet"))).failures == []


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        ("", Reason.SOURCE_EMPTY, "it has no rows"),
        (
            '{"vector": [1, 0]}\n{"vector": "s3cret"}\n',
            Reason.SOURCE_INVALID,
            "checks.jsonl, row 2: vector: is no JSON",
        ),
        ('{"vector": [1, 0], "text": "s3cret"}\n', Reason.SOURCE_INVALID, "exactly one of text, vector is required"),
        (
            '{"vector": [1, 0], "expect": [1.5]}\n',
            Reason.SOURCE_INVALID,
            "row 1: row.expect[0]: must be of type string",
        ),
        ('{"vector": [1,\n', Reason.SOURCE_INVALID, "checks.jsonl"),
        ('{"vector": [1, 0]}\n' * 201, Reason.SOURCE_INVALID, "more than 200 rows"),
        (None, Reason.SOURCE_MISSING, "checks.jsonl"),
    ],
)
async def test_a_source_that_gives_no_queries_is_refused(scene, folder, content, reason, words):
    if content is not None:
        (folder / "checks.jsonl").write_text(content)

    error = await scene.refusal(sourced(folder / "checks.jsonl"))

    assert error.reason is reason
    assert error.message.startswith("spec.checks.source: ")
    assert words in error.message
    assert "s3cret" not in error.message


# ---- the end of a run ----


async def test_a_collection_that_goes_meanwhile_is_no_answer(scene):
    old = await read_collection(scene.database, scene.old)
    await scene.database.delete_collection(scene.old)

    with pytest.raises(Transient):
        await scene.run(asking({"vector": RIGHT}), old=old)


async def test_a_process_that_ends_decides_nothing(scene):
    scene.context = replace(scene.context, turn=Turn(is_stopping=lambda: True))

    assert (await scene.refusal(asking({"vector": RIGHT}), Transient)).reason is Reason.PROGRESSING


# ---- while it serves readers ----


class Watched:
    """A collection that is watched, over time."""

    def __init__(self, scene: Scene, checks: JsonObject) -> None:
        self.scene = scene
        self.checks = checks
        self.now = 0.0
        self.watch = QualityWatch(lambda: self.now)
        self.events: list[tuple[str, str]] = []
        self.status: JsonObject = {}
        cluster = LocalCluster([], {}, lambda _, reason, message: self.events.append((reason, message)))
        self.context = replace(scene.context, cluster=cluster)

    async def look(self, *, alone: bool = False) -> str:
        """One reconciliation of a collection that is as declared. Returns the message of the condition, "" for none."""
        database = self.scene.database
        resource = Resource("QdrantCollection", META, self.scene.spec, self.status)
        ready = Outcome(QdrantCollectionStatus(conditions=conditions(True, Reason.SUCCEEDED, "as declared")))
        answer = await self.watch.judge(
            self.context,
            resource,
            Checks.model_validate(self.checks),
            database,
            ready,
            served=await read_collection(database, self.scene.new),
            old=None if alone else await read_collection(database, self.scene.old),
        )
        assert answer.status is not None
        self.status = answer.status.dump()
        assert [one["status"] for one in self.status["conditions"] if one["type"] == "Ready"] == ["True"]
        found = [one for one in self.status["conditions"] if one["type"] == "QualityDegraded"]
        assert all((one["status"], one["reason"]) == ("True", "QualityDegraded") for one in found)
        return found[0]["message"] if found else ""


ANSWERED = {"vector": RIGHT, "expect": ["1"]}


def measures() -> dict[str, float]:
    """Of the collection of these tests, as they are exported."""
    metrics.CHECKS.measure()
    [family] = metrics.COLLECTION_CHECK.collect()
    return {sample.labels["measure"]: sample.value for sample in family.samples if sample.labels["name"] == "zoo"}


async def test_a_served_collection_that_gets_worse_says_so_once_and_until_it_is_better(scene):
    watched = Watched(scene, asking(ANSWERED, k=1, recall=1, overlap=1))
    assert await watched.look() == ""

    await scene.database.delete_points(scene.new, [1])
    assert await watched.look() == "", "it is not asked at each reconciliation"
    watched.now += WATCH_SECONDS
    told = await watched.look()
    watched.now += WATCH_SECONDS
    assert await watched.look() == told
    assert told.startswith("recall is 0, and at least 1 is required")
    assert watched.events == [("QualityDegraded", told)]
    assert measures().items() >= {("recall", 0), ("overlap", 0)}

    await scene.database.upsert(scene.new, [PointData(1, _by_name(RIGHT))])
    watched.now += WATCH_SECONDS
    assert await watched.look() == ""


async def test_a_collection_that_is_watched_alone_is_asked_again_when_its_configuration_changes(scene):
    watched = Watched(scene, asking(ANSWERED, k=1, recall=1))
    assert await watched.look(alone=True) == ""
    await scene.database.delete_points(scene.new, [1])
    watched.now += WATCH_SECONDS
    assert await watched.look(alone=True) == ""

    await scene.database.update_collection(scene.new, {"hnsw_config": {"m": 4}})

    assert await watched.look(alone=True) != ""


async def test_checks_that_only_compare_ask_a_collection_nothing_when_it_is_alone(scene):
    watched = Watched(scene, asking({"vector": [1.0, 2.0, 3.0]}, recall=1, overlap=1))

    assert await watched.look(alone=True) == ""


async def test_checks_that_cannot_be_run_change_nothing_about_what_is_known(scene):
    watched = Watched(scene, asking(ANSWERED, k=1, recall=1))
    await scene.database.delete_points(scene.new, [1])
    told = await watched.look()

    watched.checks = asking({"vector": [1.0, 2.0, 3.0], "expect": ["1"]}, recall=1)
    assert await watched.look() == told != ""
    watched.watch = QualityWatch(lambda: watched.now)
    assert await watched.look() == told, "a restarted process keeps what status says"


async def test_what_is_exported_goes_with_the_collection(scene):
    watched = Watched(scene, asking(ANSWERED, k=1, recall=1))
    await watched.look()
    assert measures()["recall"] == 1

    watched.watch.forget(Ref("QdrantCollection", "team", "zoo"))

    assert measures() == {}

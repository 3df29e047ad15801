"""A real model is changed, with questions of the team's own as checks: the tips of `examples/semantic-search`."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from integration.conftest import StartOperator
from integration.team import Team, is_settled, message, plan_hash, unique
from integration.test_migration import leads_to, phase
from integration.world import Stored, collection, connection, has_reason, is_current, mark_of, point_set, resource
from servers.kubeapi import KubeApi, Object, is_ready
from servers.models import Library, minilm, static_minilm
from servers.operator import OperatorProcess
from servers.qdrant import QdrantServer
from vectorops.api.meta import JsonObject

Library("sentence_transformers", extra="sentence-transformers")

EXAMPLE = Path(__file__).parents[2] / "examples/semantic-search"
PATIENCE_SECONDS = 300.0
"""Loading a model takes a while where all cores are busy."""

pytestmark = pytest.mark.timeout(600)


def tips(*files: str) -> dict[str, str]:
    """The texts of the example, by id."""
    sets = [yaml.safe_load((EXAMPLE / f"{file}.yaml").read_text()) for file in files]
    return {one["id"]: one["payload"]["text"] for each in sets for one in each["spec"]["points"]}


DECLARED = tips("20-kitchen", "21-laundry-and-cleaning")
ROWS = tips("22-garden", "23-bicycle")
QUERIES = [
    {"text": one["question"], "using": "text", "expect": [one["answer"]]}
    for one in yaml.safe_load((EXAMPLE / "data/questions.yaml").read_text())
]
CHECKS = {"queries": QUERIES, "k": 3, "thresholds": {"recall": 0.9}}


class Tips:
    """A collection of tips with two vectors, of which the one that is searched gets one model after another."""

    def __init__(self, team: Team, stored: Stored, qdrant: QdrantServer, operator: OperatorProcess) -> None:
        self.team, self.stored, self.qdrant, self.operator = team, stored, qdrant, operator
        self.name = unique("tips")
        self.inline, self.rows = unique("inline"), unique("rows")

    async def declare(self, unchanged: str, **embedder: Any) -> None:
        """Which model makes the vector that is searched, and which the other one."""
        vectors = [
            {"name": "text", "embedder": {"sentenceTransformers": embedder}},
            {"name": "words", "embedder": {"sentenceTransformers": {"model": unchanged}}},
        ]
        spec: JsonObject = {"layout": "Aliased", "checks": CHECKS, "vectors": vectors}
        spec["migration"] = {"approval": "Auto"}
        await self.team.api.apply(collection(self.team.namespace, self.name, **spec))

    async def declare_sets(self, **changed: str) -> None:
        """Some points in the resource, and others in a Parquet file beside the operator. changed: other texts."""
        texts = DECLARED | changed
        points = [
            {"id": id, "vectors": {"text": {"text": text}, "words": {"text": text}}} for id, text in texts.items()
        ]
        await self.team.api.apply(point_set(self.team.namespace, self.inline, self.name, points))
        mapping = {"vectors": [{"name": "text", "embed": "text"}, {"name": "words", "embed": "text"}]}
        spec: JsonObject = {"source": {"files": {"path": "tips.parquet"}}, "mapping": mapping}
        target = {"collectionRef": {"name": self.name}}
        await self.team.api.apply(resource("PointSet", self.team.namespace, self.rows, target | spec))

    async def wait(self, kind: str, name: str, predicate: Any) -> Object:
        return await self.team.api.wait_for(kind, self.team.namespace, name, predicate, timeout=PATIENCE_SECONDS)

    async def filled(self) -> None:
        """Waits until both sets have brought their points everywhere."""

        def is_everywhere(obj: Object) -> bool:
            copies = obj["status"].get("copies") or []
            known = all(one.get("observedGeneration") == obj["metadata"]["generation"] for one in copies)
            return is_ready(obj) and is_current(obj) and is_settled(obj) and known

        for name in (self.inline, self.rows):
            await self.wait("PointSet", name, is_everywhere)

    def texts(self, counter: str) -> int:
        """How many texts were embedded, or reused, since the operator was started."""
        lines = self.operator.metrics().splitlines()
        found = [line.split()[-1] for line in lines if line.startswith(f"vectorops_texts_{counter}_total")]
        return sum(int(float(value)) for value in found)

    async def sizes(self, physical: str) -> set[tuple[int, int]]:
        """The sizes of the two vectors, over all points, which must all be there."""
        found = (await self.stored.vectors(physical)).values()
        assert len(found) == len(DECLARED) + len(ROWS)
        return {(len(vectors["text"]), len(vectors["words"])) for vectors in found}


def embedders(server: QdrantServer, physical: str) -> dict[str, tuple[str, int]]:
    """Which model makes each vector, and how large, as the mark has it."""
    locked = mark_of(server, physical)["embedders"]
    return {vector: (one["model"], one["size"]) for vector, one in locked.items()}


async def test_a_model_is_changed_once_the_checks_pass_or_a_person_agrees(
    api: KubeApi,
    namespace: str,
    stored: Stored,
    qdrant: QdrantServer,
    start_operator: StartOperator,
    tmp_path: Path,
) -> None:
    models, files = tmp_path / "models", tmp_path / "files"
    real, fast = minilm(models), static_minilm(models, size=64)
    (files / namespace).mkdir(parents=True)
    pq.write_table(pa.table({"id": list(ROWS), "text": list(ROWS.values())}), files / namespace / "tips.parquet")
    flags = [f"--model-folder={models}", "--offline", "--embedding-device=cpu", f"--source-folder={files}"]
    tips = Tips(Team(api, namespace), stored, qdrant, start_operator(flags=flags))
    await api.apply(connection(namespace, qdrant))
    texts = len(DECLARED) + len(ROWS)

    await tips.declare(real, model=real)
    await tips.declare_sets()
    await tips.filled()
    first = leads_to(qdrant, tips.name)
    assert embedders(qdrant, first) == {"text": (real, 384), "words": (real, 384)}
    assert (tips.texts("embedded"), tips.texts("reused")) == (2 * texts, 0)

    # A model that understands less is held back.
    await tips.declare(real, model=fast)
    held = await tips.wait("QdrantCollection", tips.name, has_reason("ChecksFailed"))
    assert "recall is 0.5, and at least 0.9 is required (the old collection's is 1)" in message(held)
    assert leads_to(qdrant, tips.name) == first
    # Texts of the vector whose model stays are not embedded.
    assert (tips.texts("embedded"), tips.texts("reused")) == (3 * texts, texts)
    # Both are kept meanwhile, each by its own model.
    embedded = tips.texts("embedded")
    await tips.declare_sets(rice="Rinse rice until the water stays clear, and let it rest for ten minutes.")
    await tips.filled()
    assert tips.texts("embedded") - embedded in {3, 4}
    await tips.team.approve(tips.name, plan_hash(held))
    await tips.wait("QdrantCollection", tips.name, lambda obj: phase(obj) == "GracePeriod" and is_ready(obj))
    second = leads_to(qdrant, tips.name)
    assert embedders(qdrant, second) == {"text": (fast, 64), "words": (real, 384)}
    assert await tips.sizes(first) == {(384, 384)}
    assert await tips.sizes(second) == {(64, 384)}

    # And one that understands as much is not.
    embedded = tips.texts("embedded")
    await tips.declare(real, model=real, dimensions=192)
    moved = await tips.wait(
        "QdrantCollection", tips.name, lambda obj: is_current(obj) and phase(obj) == "GracePeriod" and is_ready(obj)
    )
    third = leads_to(qdrant, tips.name)
    assert third not in {first, second}
    assert moved["status"]["migration"]["checks"]["result"] == "Passed"
    assert embedders(qdrant, third)["text"] == (real, 192)
    assert await tips.sizes(third) == {(192, 384)}
    assert tips.texts("embedded") - embedded == texts

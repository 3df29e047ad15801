"""Named vectors are added to, and removed from, a collection in place where the version can (1.18, 1.19 and newer).

The only such Qdrant at hand is the local mode of qdrant-client, so these run on a folder.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.collections.apply import Applied, apply_plan
from vectorops.collections.plan import make_plan
from vectorops.collections.resolve import resolve_collection
from vectorops.qdrant.database import PointData
from vectorops.qdrant.local import LocalQdrant
from vectorops.qdrant.marks import Mark, new_incarnation
from vectorops.qdrant.observe import observe

TEXT = {"name": "text", "size": 2}
IMAGE = {"name": "image", "size": 3, "distance": "Dot", "datatype": "float16"}


async def bring(folder: LocalQdrant, *, approved: bool = False, **spec: object) -> Applied:
    """Applies what a resource would declare."""
    wanted = resolve_collection(QdrantCollectionSpec.model_validate({"connectionRef": {"name": "main"}, **spec}), "zoo")
    found = await observe(folder, wanted.name)
    mark = found.mark or Mark("test", "ns", "zoo", "uid", "zoo", new_incarnation())
    todo = make_plan(wanted, found, version=folder.info.version, last_applied=mark.last_applied)
    return await apply_plan(folder, todo, mark, approved=approved)


@pytest.fixture
async def folder(tmp_path: Path):
    database = LocalQdrant(tmp_path)
    await database.check()
    yield database
    await database.close()


async def test_a_vector_is_added_in_place_and_points_keep_what_they_have(folder):
    await bring(folder, vectors=[TEXT])
    await folder.upsert("zoo", [PointData(1, payload={"kept": True})])

    done = await bring(folder, vectors=[TEXT, IMAGE], sparseVectors=[{"name": "terms", "modifier": "idf"}])

    assert (done.plan.doable, done.plan.held_back) == ((), ())
    assert done.observed.vectors["image"] == {"size": 3, "distance": "Dot", "datatype": "float16"}
    assert done.observed.sparse_vectors["terms"] == {"modifier": "idf"}
    assert (await folder.points("zoo", [1], payload=True))[1].payload == {"kept": True}
    assert (
        await bring(folder, vectors=[TEXT, IMAGE], sparseVectors=[{"name": "terms", "modifier": "idf"}])
    ).mark == done.mark


async def test_a_vector_is_removed_when_that_was_approved_and_not_before(folder):
    await bring(folder, vectors=[TEXT, IMAGE])

    held = await bring(folder, vectors=[TEXT])
    assert "image" in held.observed.vectors
    assert held.plan.describe() == ['delete vector "image": 3 Dot float16 (the vector of all points would be lost)']

    done = await bring(folder, vectors=[TEXT], approved=True)
    assert done.observed.vectors.keys() == {"text"}
    assert done.plan.held_back == ()


async def test_a_vector_of_another_size_is_replaced_when_that_was_approved_and_the_rest_stays(folder):
    tokens = {"multivector": {"comparator": "max_sim"}, "hnswConfig": {"m": 8}}
    before: dict[str, Any] = {"vectors": [TEXT | tokens, IMAGE], "sparseVectors": [terms("float16")]}
    after: dict[str, Any] = {"vectors": [TEXT | {"size": 4}, IMAGE], "sparseVectors": [terms("float32")]}
    await bring(folder, **before)
    both = {"text": np.array([[1, 0]], np.float32), "image": np.array([1, 2, 2], np.float32)}
    await folder.upsert("zoo", [PointData(1, payload={"kept": True}, vectors=both)])

    held = await bring(folder, **after)
    assert [step.target for step in held.plan.held_back] == ["text"]
    assert held.observed.vectors["text"]["size"] == 2

    done = await bring(folder, **after, approved=True)
    assert (done.plan.doable, done.plan.held_back) == ((), ())
    assert done.mark.incarnation == held.mark.incarnation
    text = {"size": 4, "distance": "Cosine", "datatype": "float32", "hnsw_config": {"m": 8}}
    assert done.observed.vectors["text"] == text
    (point,) = (await folder.points("zoo", [1], payload=True, vectors=True)).values()
    assert (point.payload, point.vectors.keys()) == ({"kept": True}, {"image"})
    assert (await bring(folder, **after)).mark == done.mark


async def test_named_vectors_come_and_go_beside_the_unnamed_one(folder):
    unnamed: dict[str, Any] = {"vector": {"size": 2, "distance": "Dot"}}
    await bring(folder, **unnamed)
    await folder.upsert("zoo", [PointData(1, vectors={"": np.array([1, 2], np.float32)})])

    both = await bring(folder, **unnamed, vectors=[IMAGE])
    assert both.plan.describe() == []
    assert both.observed.vectors.keys() == {"", "image"}
    await folder.upsert("zoo", [PointData(2, vectors={"": np.ones(2, np.float32), "image": np.ones(3, np.float32)})])

    done = await bring(folder, **unnamed, approved=True)
    assert done.plan.describe() == []
    assert done.observed.vectors.keys() == {""}
    assert {id: point.vectors.keys() for id, point in (await folder.points("zoo", [1, 2], vectors=True)).items()} == {
        1: {""},
        2: {""},
    }


def terms(datatype: str) -> dict[str, object]:
    """A sparse vector."""
    return {"name": "terms", "index": {"datatype": datatype}}

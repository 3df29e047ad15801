"""What a collection will be like, held against what it is once the plan was carried out."""

from dataclasses import replace
from typing import Any

import pytest

from unit.collections.echo import EchoingQdrant
from unit.collections.specs import EMBEDDER, bring, declare, look, model
from vectorops.collections.apply import apply_plan
from vectorops.collections.predict import predict
from vectorops.points.schema import point_schema
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import observe

TEXT = {"name": "text", "size": 4, "distance": "Dot"}
IMAGE = {"name": "image", "size": 2}
EMBEDDED = {"name": "text", "embedder": EMBEDDER}
TERMS = {"sparseVectors": [{"name": "terms"}]}
KEYED: dict[str, Any] = {"vectors": [TEXT], "params": {"sharding_method": "custom"}}
MARK = Mark("test", "default", "zoo", "1", "zoo", "first", last_applied={})


@pytest.mark.parametrize(
    ("before", "after", "approved", "lost", "is_new"),
    [
        (None, {"vectors": [TEXT], **TERMS}, False, (), True),
        (None, {"vector": {"size": 3, "multivector": {"comparator": "max_sim"}}}, False, (), True),
        ({"vectors": [TEXT]}, {"vectors": [TEXT], "hnswConfig": {"m": 32}}, False, (), False),
        ({"vectors": [TEXT]}, {"vectors": [TEXT, IMAGE], **TERMS}, False, (), False),
        ({"vectors": [TEXT, IMAGE]}, {"vectors": [TEXT]}, False, (), False),
        ({"vectors": [TEXT, IMAGE]}, {"vectors": [TEXT]}, True, ("image",), False),
        ({"vectors": [TEXT, IMAGE]}, {"vectors": [TEXT, {**IMAGE, "size": 3}]}, False, (), False),
        ({"vectors": [TEXT, IMAGE]}, {"vectors": [TEXT, {**IMAGE, "size": 3}]}, True, ("image",), False),
        ({"vectors": [TEXT], **TERMS}, {"vectors": [TEXT, {"name": "terms", "size": 2}]}, True, ("terms",), False),
        ({"vector": {"size": 3}}, {"vector": {"size": 4}}, True, (), True),
        ({"vector": {"size": 3}}, {"vector": {"size": 4}}, False, (), False),
    ],
)
async def test_vectors_and_mark_are_as_predicted(before, after, approved, lost, is_new):
    qdrant: Any = EchoingQdrant()
    if before is not None:
        await bring(qdrant, declare(**before))
    todo = await look(qdrant, declare(**after), "1.19.0")
    mark = todo.observed.mark or MARK

    seen = predict(todo, mark, (*todo.doable, *(todo.held_back if approved else ())))
    await apply_plan(qdrant, todo, mark, approved=approved)

    now = await observe(qdrant, "zoo")
    assert now.mark is not None
    assert seen.observed.mark is not None
    assert point_schema(seen.observed) == point_schema(now)
    assert (seen.is_new, seen.lost_vectors) == (is_new, frozenset(lost))
    if before is not None:
        assert (seen.observed.mark.incarnation == now.mark.incarnation) is not is_new


@pytest.mark.parametrize("approved", [False, True])
async def test_the_locks_are_those_that_the_mark_will_have(approved):
    def made_by(name):
        return declare(embedders={"text": model(name)}, vectors=[EMBEDDED])

    qdrant: Any = EchoingQdrant()
    await bring(qdrant, made_by("old/model"))
    todo = await look(qdrant, made_by("new/model"))
    assert todo.observed.mark is not None

    seen = predict(todo, todo.observed.mark, todo.held_back if approved else ())
    await apply_plan(qdrant, todo, todo.observed.mark, approved=approved)

    now = (await observe(qdrant, "zoo")).mark
    assert now is not None
    assert seen.observed.mark is not None
    assert seen.observed.mark.embedders == now.embedders


async def test_points_are_lost_with_their_shard_key():
    qdrant: Any = EchoingQdrant()
    qdrant.info = replace(qdrant.info, distributed=True)
    await bring(qdrant, declare(**KEYED, shardKeys=[{"name": "acme"}, {"name": "globex"}]))
    changed = [{"name": "acme", "shardsNumber": 3}, {"name": "initech"}]
    todo = await look(qdrant, declare(**KEYED, shardKeys=changed))
    assert todo.observed.mark is not None

    seen = predict(todo, todo.observed.mark, (*todo.doable, *todo.held_back))
    await apply_plan(qdrant, todo, todo.observed.mark, approved=True)

    now = await observe(qdrant, "zoo")
    assert seen.observed.shard_keys.keys() == now.shard_keys.keys() == {"acme", "initech"}
    assert seen.empty_shard_keys == {"acme", "initech"}
    assert seen.observed.is_sharded_by_key

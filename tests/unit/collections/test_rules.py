"""What newer versions of Qdrant do, on what 1.19.0 answered (`answers-1.19.0.json`, recorded from a real server)."""

import json
from pathlib import Path
from typing import Any

import pytest

from unit.collections.specs import declare
from vectorops.api.reasons import Reason
from vectorops.collections.plan import make_plan, require_known
from vectorops.collections.steps import Action
from vectorops.errors import Terminal
from vectorops.points.schema import point_schema
from vectorops.qdrant.database import UNNAMED
from vectorops.qdrant.observe import observed

ANSWERS: dict[str, Any] = json.loads((Path(__file__).parent / "answers-1.19.0.json").read_text())
EIGHT = {"vector": {"size": 8}}


def planned(answer, version="1.19.0", **spec):
    """The plan for a declaration of the collection that answered so."""
    return make_plan(declare(**spec), observed("zoo", ANSWERS[answer], {}), version=version, last_applied={})


def steps(todo):
    return [(step.action, step.target) for step in (*todo.doable, *todo.held_back)]


def test_a_named_vector_that_somebody_added_beside_the_declared_unnamed_one_is_deleted_in_place_once_approved():
    todo = planned("unnamed and named", **EIGHT)

    assert todo.doable == ()
    assert steps(todo) == [(Action.DELETE_VECTOR, "n")]


def test_on_1_18_that_takes_another_collection_and_the_plan_says_why():
    (line,) = planned("unnamed and named", "1.18.3", **EIGHT).describe()

    assert "cannot be changed in place before Qdrant 1.19: the collection must be deleted and created again" in line


def test_an_unnamed_vector_and_named_ones_are_as_declared_together():
    named = [
        {"name": "n", "size": 3, "distance": "Dot"},
        {"name": "o", "size": 3, "distance": "Dot"},
        {"name": "m", "size": 3, "datatype": "float16", "multivector": {"comparator": "max_sim"}},
    ]

    todo = planned(
        "unnamed, named, multi and sparse", **EIGHT, vectors=named, sparseVectors=[{"name": "s", "modifier": "idf"}]
    )

    assert steps(todo) == []


def test_points_of_such_a_collection_may_have_all_of_its_vectors():
    schema = point_schema(observed("zoo", ANSWERS["unnamed, named, multi and sparse"], {}))

    assert schema.keys() == {UNNAMED, "m", "n", "o", "s"}
    assert (schema[UNNAMED].size, schema["m"].kind, schema["s"].kind) == (8, "multivector", "sparse")


def test_the_unnamed_vector_cannot_go_in_place_in_any_version():
    todo = planned("unnamed and named", "1.20.0", vectors=[{"name": "n", "size": 3, "distance": "Dot"}])

    assert steps(todo) == [(Action.RECREATE_COLLECTION, "zoo")]
    assert "before Qdrant" not in todo.describe()[0]


def test_a_placement_in_memory_that_overrides_the_declared_switch_is_drift_and_is_set_to_what_means_the_same():
    """It cannot be taken back: null changes nothing."""
    spec = {
        "vectors": [{"name": "a", "size": 8, "params": {"on_disk": True}}],
        "hnswConfig": {"on_disk": True},
        "params": {"on_disk_payload": True},
    }

    todo = planned("on_disk and memory", **spec)

    assert todo.doable[0].body == {
        "vectors": {"a": {"memory": "cold"}},
        "hnsw_config": {"memory": "cold"},
        "params": {"payload": {"memory": "cold"}},
    }
    assert 'vector "a": memory cached -> cold' in todo.describe()


@pytest.mark.parametrize(
    "spec",
    [
        {"vectors": [{"name": "a", "size": 8, "params": {"on_disk": True}}]},
        {"vectors": [{"name": "a", "size": 8}], "params": {"on_disk_payload": False}},
        {"vectors": [{"name": "a", "size": 8, "params": {"memory": "cold"}}], "hnswConfig": {"memory": "pinned"}},
        {"vectors": [{"name": "a", "size": 8}]},
    ],
    ids=["means the same", "the other way round", "declared", "nothing declared"],
)
def test_a_placement_in_memory_that_overrides_nothing_is_none(spec):
    assert steps(planned("memory patched", **spec)) == []


@pytest.mark.parametrize(
    ("datatype", "before", "since"),
    [("turbo4", "1.18.1", "1.18.2"), ("turbo8", "1.19.0", "1.20.0"), ("turbo16", "1.19.5", "1.20.0")],
)
def test_a_datatype_is_refused_in_words_by_a_server_that_does_not_know_it(datatype, before, since):
    wanted = declare(vectors=[{"name": "text", "size": 4, "datatype": datatype}])

    with pytest.raises(Terminal) as refused:
        require_known(wanted, before)
    require_known(wanted, since)

    assert refused.value.reason is Reason.UNSUPPORTED_BY_SERVER
    assert refused.value.message.startswith(f'vector "text": datatype {datatype} needs Qdrant 1.')
    assert refused.value.message.endswith(f"and this is {before}")


@pytest.mark.parametrize("version", ["nightly", "1.16.3"])
def test_what_1_16_knows_is_refused_by_none(version):
    for datatype in ("float32", "float16", "uint8"):
        require_known(declare(vectors=[{"name": "text", "size": 4, "datatype": datatype}]), version)

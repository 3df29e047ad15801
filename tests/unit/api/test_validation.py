"""What the corpus cannot ask an API server: what never reaches one, or reaches it under another address."""

import datetime
import math
from typing import Any

import pytest
from pydantic import ValidationError

from vectorops.api.kinds import KINDS
from vectorops.api.pointset import Point, PointSetSpec
from vectorops.api.validation import explain, validate


def connection(**changes: Any) -> dict[str, Any]:
    manifest = {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "QdrantConnection",
        "metadata": {"name": "main"},
        "spec": {"url": "http://qdrant:6333"},
    }
    return {**manifest, **changes}


def point_set(*points: dict[str, Any]) -> dict[str, Any]:
    return connection(kind="PointSet", spec={"collectionRef": {"name": "docs"}, "points": list(points)})


def test_another_version_of_the_group_is_named():
    (problem,) = validate(connection(apiVersion="vectorops.dev/v1"))

    assert problem.startswith("apiVersion: ")
    assert "vectorops.dev/v1alpha1" in problem


def test_a_missing_version_is_named():
    manifest = connection()
    del manifest["apiVersion"]

    assert [problem.split(":")[0] for problem in validate(manifest)] == ["apiVersion"]


@pytest.mark.parametrize("kind", ["Qdrant", None, ["PointSet"]])
def test_another_kind_is_named_with_those_there_are(kind: Any):
    (problem,) = validate(connection(kind=kind))

    assert problem.startswith("kind: ")
    assert all(info.kind in problem for info in KINDS)


def test_a_namespace_that_cannot_be_is_named():
    problems = validate(connection(metadata={"name": "main", "namespace": "team.search"}))

    assert [problem.split(":")[0] for problem in problems] == ["metadata.namespace"]


def test_a_number_that_json_does_not_have_is_named():
    problems = validate(
        point_set({"id": 1, "vector": {"values": [1.0, math.nan]}}, {"id": 2, "payload": {"a": [math.inf]}})
    )

    assert [problem.split(":")[0] for problem in problems] == [
        "spec.points[0].vector.values[1]",
        "spec.points[1].payload.a[0]",
    ]


def test_a_date_is_named_where_it_stands():
    (problem,) = validate(point_set({"id": 1, "payload": {"seen": datetime.date(2024, 1, 1)}}))

    assert problem.startswith("spec.points[0].payload.seen: ")
    assert "quote it" in problem


def test_a_key_that_is_no_string_is_named():
    (problem,) = validate(point_set({"id": 1, "payload": {1: "one"}}))

    assert problem.startswith("spec.points[0].payload: ")


def test_all_faults_are_told_at_once():
    manifest = connection(metadata={"name": "Main"}, spec={"url": "", "grpcPort": 0, "timeout": 1})

    problems = validate(manifest)

    for field in ("metadata.name", "spec.url", "spec.grpcPort", "spec.timeout"):
        assert any(field in problem for problem in problems), field


def test_a_long_value_is_cut_in_the_message():
    manifest = connection(kind="QdrantCollection", spec={"connectionRef": {"name": "main"}, "managedBy": "x" * 5000})

    assert all(len(problem) < 300 for problem in validate(manifest))


def test_a_null_in_a_payload_is_content_and_stays():
    """Unlike the null of a field, which stands for an absent one."""
    point = Point.model_validate({"id": 1, "vector": None, "payload": {"a": None, "b": [None]}})

    assert point.dump() == {"id": 1, "payload": {"a": None, "b": [None]}}


def test_a_reconciler_can_say_what_the_command_line_says():
    with pytest.raises(ValidationError) as caught:
        PointSetSpec.model_validate({"collectionRef": {"name": "docs"}, "points": [{"id": 1, "vector": {}}]})

    assert explain(caught.value) == [
        "spec.points[0].vector: must have exactly one of values, packed, rows, sparse, text"
    ]

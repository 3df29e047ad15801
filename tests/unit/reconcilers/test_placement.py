"""Which collections in Qdrant a QdrantCollection has."""

from typing import Any

from vectorops.api.meta import ObjectMeta, Resource
from vectorops.reconcilers.placement import Placement


def placed(**spec: Any) -> Placement:
    return Placement.of(Resource("QdrantCollection", ObjectMeta(name="zoo", namespace="park"), spec, {}))


def test_a_collection_has_the_name_of_its_resource_unless_it_says_another():
    assert placed().active == "zoo"
    assert placed(collectionName="docs").active == "docs"


def test_points_are_written_into_the_collection_that_serves_unless_another_is_being_filled():
    assert (placed().filled, placed().names) == ("zoo", ("zoo",))
    assert Placement("zoo", "zoo-2").filled == "zoo-2"
    assert Placement("zoo", "zoo-2").names == ("zoo", "zoo-2")

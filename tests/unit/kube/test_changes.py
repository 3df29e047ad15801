"""Which sightings of an object are worth a look."""

from dataclasses import replace
from typing import Any

import pytest

from vectorops.api.meta import ANNOTATIONS, FINALIZER, Resource
from vectorops.kube.changes import SeenState, lane_for
from vectorops.queue import Lane

READY = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}


def resource(status: dict[str, Any] | None = None, **metadata: Any) -> Resource:
    meta = {"name": "zoo", "namespace": "team", "uid": "u1", "generation": 1, "resourceVersion": "1", **metadata}
    return Resource.from_object({"kind": "QdrantCollection", "metadata": meta, "spec": {}, "status": status or {}})


def test_a_settled_object_that_is_seen_first_waits_behind_changed_ones():
    assert lane_for(None, resource(READY)) is Lane.RESYNC


@pytest.mark.parametrize(
    "unsettled",
    [
        resource(),
        resource(READY, generation=2),
        resource({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False"}]}),
        resource(READY, deletionTimestamp="2026-01-01T00:00:00Z"),
    ],
    ids=["new", "changed while we were away", "not ready", "deleting"],
)
def test_an_unsettled_object_that_is_seen_first_is_looked_at_at_once(unsettled):
    assert lane_for(None, unsettled) is Lane.CHANGE


@pytest.mark.parametrize(
    "echo",
    [
        resource(READY, resourceVersion="2"),
        resource(finalizers=[FINALIZER]),
        resource(labels={"app": "x"}),
        resource(annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}"}),
        resource(finalizers=["someone.else/finalizer"]),
    ],
    ids=["our status", "our finalizer", "labels", "annotations of others", "finalizers of others"],
)
def test_what_we_wrote_ourselves_or_do_not_read_is_dropped(echo):
    assert lane_for(SeenState.of(resource()), echo) is None


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_each_of_our_annotations_is_looked_at_when_it_comes_and_when_it_goes(annotation):
    without, with_it = resource(), resource(annotations={annotation: "1"})

    assert lane_for(SeenState.of(without), with_it) is Lane.CHANGE
    assert lane_for(SeenState.of(with_it), without) is Lane.CHANGE


def test_a_new_spec_a_deletion_and_a_namesake_are_looked_at():
    before = SeenState.of(resource(READY))

    assert lane_for(before, resource(READY, generation=2)) is Lane.CHANGE
    assert lane_for(before, resource(READY, deletionTimestamp="2026-01-01T00:00:00Z")) is Lane.CHANGE
    assert lane_for(before, resource(READY, uid="u2")) is Lane.CHANGE


def test_a_finalizer_that_somebody_removed_is_looked_at_while_the_object_lives():
    before = SeenState.of(resource(finalizers=[FINALIZER]))

    assert lane_for(before, resource()) is Lane.CHANGE
    # The removal that ends a deletion is our own.
    dying = replace(before, deleting=True)
    assert lane_for(dying, resource(deletionTimestamp="2026-01-01T00:00:00Z")) is None

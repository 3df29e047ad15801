"""What is told of what Qdrant says about a collection: what lasts, and nothing that comes and goes."""

import json
from pathlib import Path
from typing import Any

import pytest

from vectorops.api.collection import QdrantCollectionStatus
from vectorops.api.meta import JsonObject, ObjectMeta, Resource
from vectorops.api.reasons import Reason
from vectorops.qdrant.observe import observed
from vectorops.reconcilers.base import Outcome
from vectorops.reconcilers.health import GREY_SECONDS, with_health
from vectorops.reconcilers.status import conditions

ANSWERS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "collections" / "answers-1.19.0.json").read_text(encoding="utf-8")
)


def looked(answer: JsonObject, before: JsonObject | None = None) -> Outcome:
    """What a look at a collection that is as declared gives. before: the status until then."""
    resource = Resource("QdrantCollection", ObjectMeta(name="zoo", namespace="team"), {}, before or {})
    ready = Outcome(QdrantCollectionStatus(conditions=conditions(True, Reason.SUCCEEDED, "as declared")))
    return with_health(ready, resource, observed("zoo", answer, {}).health)


def unhealthy(outcome: Outcome) -> str:
    """The message of the condition, "" if there is none."""
    assert outcome.status is not None
    assert outcome.status.conditions[0].status == "True", "Ready speaks of what is declared"
    found = [told.message for told in outcome.status.conditions if told.type == "Unhealthy"]
    return found[0] if found else ""


@pytest.mark.parametrize("answer", ["plain", "deferred"])
def test_green_and_yellow_are_well(answer: str) -> None:
    outcome = looked(ANSWERS[answer])

    assert unhealthy(outcome) == ""
    assert outcome.status is not None
    assert outcome.status.dump_set()["health"] is None


def test_grey_counts_only_when_it_was_grey_at_the_look_before_because_a_new_collection_is_grey_for_a_moment() -> None:
    grey = ANSWERS["on_disk and memory"]
    assert grey["status"] == "grey"

    first = looked(grey)
    assert first.status is not None
    second = looked(grey, first.status.dump())

    assert (unhealthy(first), first.requeue_after) == ("", GREY_SECONDS)
    assert "grey" in unhealthy(second)
    assert second.requeue_after is None


def test_a_warning_is_told_in_qdrants_words_and_stays_the_same_while_the_collection_works() -> None:
    warned = ANSWERS["warnings"]

    told = looked(warned)

    assert "requires quantization to be enabled" in unhealthy(told)
    assert looked({**warned, "status": "yellow"}).status == told.status


def test_red_and_a_failed_optimizer_are_told() -> None:
    failed = {**ANSWERS["plain"], "status": "red", "optimizer_status": {"error": "No space left on device"}}

    message = unhealthy(looked(failed))

    assert "red" in message
    assert "No space left on device" in message


def test_a_collection_that_is_well_again_is_no_longer_told_of() -> None:
    red = looked({**ANSWERS["plain"], "status": "red"}).status
    assert red is not None

    outcome = looked(ANSWERS["plain"], red.dump())

    assert unhealthy(outcome) == ""
    assert outcome.status is not None
    assert outcome.status.dump_set()["health"] is None

"""How a new status grows out of the old one."""

from datetime import UTC, datetime, timedelta

from vectorops.api.meta import JsonObject, ObjectMeta, Resource, Status
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.reconcilers.status import conditions, failed, merge, suspended

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def ready(message: str = "as declared") -> JsonObject:
    return Status(conditions=conditions(True, Reason.SUCCEEDED, message)).dump_set()


def test_the_same_outcome_later_is_the_same_status_so_that_nothing_is_written() -> None:
    first = merge({}, ready(), now=NOW, generation=1)
    assert merge(first, ready(), now=LATER, generation=1) == first


def test_a_new_message_moves_no_transition_time_and_a_new_status_does() -> None:
    first = merge({}, ready(), now=NOW, generation=1)

    reworded = merge(first, ready("other words"), now=LATER, generation=1)
    assert reworded["conditions"][0]["lastTransitionTime"] == "2026-01-02T03:04:05Z"

    fallen = Status(conditions=conditions(False, Reason.DRIFTED, ""))
    written = merge(first, fallen.dump_set(), now=LATER, generation=1)
    assert written["conditions"][0]["lastTransitionTime"] == "2026-01-02T04:04:05Z"


def test_the_generation_that_was_read_is_told_on_failure_too() -> None:
    broken = merge({}, failed(_resource({}), Transient(Reason.UNREACHABLE, "no answer")), now=NOW, generation=7)
    assert broken["observedGeneration"] == 7
    assert broken["conditions"][0]["observedGeneration"] == 7


def test_reconciling_and_stalled_exist_only_while_true() -> None:
    assert _types(ready()) == ["Ready"]
    assert _types(failed(_resource({}), Transient(Reason.UNREACHABLE, ""))) == ["Ready", "Reconciling"]
    assert _types(failed(_resource({}), Terminal(Reason.INVALID_SPEC, ""))) == ["Ready", "Stalled"]


def test_an_error_keeps_what_was_known_so_that_cleaning_up_still_finds_its_way() -> None:
    before = merge({}, {**ready(), "target": {"connection": "main"}}, now=NOW, generation=1)
    assert failed(_resource(before), Transient(Reason.UNREACHABLE, ""))["target"] == {"connection": "main"}


def test_a_suspended_resource_says_so_and_stays_as_ready_as_it_was() -> None:
    before = merge({}, ready(), now=NOW, generation=1)
    (told,) = suspended(_resource(before)).conditions
    assert (told.status, told.reason) == ("True", "Suspended")
    assert suspended(_resource({})).conditions[0].status == "Unknown"


def _types(status: JsonObject) -> list[str]:
    return [condition["type"] for condition in status["conditions"]]


def _resource(status: JsonObject) -> Resource:
    return Resource("QdrantCollection", ObjectMeta(name="zoo", namespace="test", generation=1), {}, status)

"""Who may take the Lease, by a clock that a test moves."""

from datetime import UTC, datetime

from vectorops.kube.lease import NOBODY, LeaseRecord, Sighting, may_take, release, take, update_sighting

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 4, 8, tzinfo=UTC)


def held_by(holder: str, *, seconds: float | None = 15.0, renewed: str = "2026-01-02T03:04:05.000000Z") -> LeaseRecord:
    return LeaseRecord(holder, seconds, transitions=3, acquired="2026-01-01T00:00:00.000000Z", renewed=renewed)


def allowed(record: LeaseRecord, *, unchanged_for: float, identity: str = "ours") -> bool:
    return may_take(Sighting(record, since=100.0), identity, 100.0 + unchanged_for, seconds=15)


def test_one_that_nobody_holds_is_free_at_once():
    assert may_take(update_sighting(None, None, 7.0), "ours", 7.0, seconds=15)
    assert allowed(release(held_by("another"), AT), unchanged_for=0)


def test_one_that_names_us_is_ours_again_at_once():
    assert allowed(held_by("ours"), unchanged_for=0)


def test_anothers_is_free_when_it_has_stood_unchanged_for_as_long_as_it_says():
    assert not allowed(held_by("another"), unchanged_for=14.9)
    assert allowed(held_by("another"), unchanged_for=15)
    assert not allowed(held_by("another", seconds=60), unchanged_for=15)


def test_one_that_does_not_say_how_long_it_lasts_lasts_as_long_as_ours():
    assert not allowed(held_by("another", seconds=None), unchanged_for=14.9)
    assert allowed(held_by("another", seconds=None), unchanged_for=15)


def test_a_renewal_counts_from_when_it_is_seen_whatever_time_it_says():
    first = update_sighting(None, held_by("another"), 100.0)

    same = update_sighting(first, held_by("another"), 110.0)
    renewed = update_sighting(same, held_by("another", renewed="1999-01-01T00:00:00.000000Z"), 114.0)

    assert same.since == 100.0
    assert renewed.since == 114.0
    assert not may_take(renewed, "ours", 116.0, seconds=15)


def test_taking_it_counts_a_transition_and_renewing_does_not():
    new = take(held_by("another"), "ours", 15, AT)
    renewed = take(new, "ours", 15, LATER)

    assert (new.holder, new.transitions, new.acquired) == ("ours", 4, "2026-01-02T03:04:05.000000Z")
    assert (renewed.transitions, renewed.acquired) == (4, new.acquired)
    assert renewed.renewed == "2026-01-02T03:04:08.000000Z"


def test_a_first_one_has_no_transition():
    assert take(None, "ours", 15, AT).transitions == 0


def test_a_record_is_written_as_it_is_read():
    record = take(held_by("another"), "ours", 15, AT)

    assert LeaseRecord.of({"spec": record.spec()}) == record


def test_one_without_any_field_is_nobodys():
    assert LeaseRecord.of({}) == NOBODY
    assert LeaseRecord.of({"spec": {"holderIdentity": None, "leaseDurationSeconds": None}}) == NOBODY

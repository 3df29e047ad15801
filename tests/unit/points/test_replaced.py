"""When a collection without a mark is taken for another one than the set wrote into."""

from dataclasses import replace

import numpy as np
import pytest

from vectorops.ledger.entries import TOMBSTONE, UNKNOWN, Entry
from vectorops.ledger.records import Ledger
from vectorops.points.declared import Declaration, Declared
from vectorops.points.diff import Stored, entry_of
from vectorops.points.fingerprints import fingerprint_payload, fingerprint_text, fingerprint_vector
from vectorops.points.replaced import Replaced, find_evidence, judge
from vectorops.points.schema import VectorSchema
from vectorops.qdrant.database import PointData, PointId, StoredPoint

SCHEMA = {"v": VectorSchema("dense", 2)}
NAMES = ("v",)


def declared(id, payload=None, numbers=(3, 4)):
    vector = np.array(numbers, dtype=np.float32)
    payload = {"n": id} if payload is None else payload
    return Declared(
        PointData(id, {"v": vector}, payload), str(id), fingerprint_payload(payload), {"v": fingerprint_vector(vector)}
    )


def stored(id, payload=None, numbers=(0.6, 0.8)):
    return StoredPoint(id, {"n": id} if payload is None else payload, {"v": np.array(numbers, dtype=np.float32)})


def replacement(collection, created, ledger, declaration, stored, schema) -> Replaced | None:
    return judge([find_evidence(collection, ledger, declaration, stored, schema)], ledger.created_at, created)


def found(count, *, gone=0, other=0, created="", now="", still_declared=True, **wrote) -> Replaced | None:
    """Of `count` points that the set wrote, the first are gone, the next are somebody else's."""
    points: dict[PointId, Declared] = {id: declared(id, **wrote) for id in range(count)}
    there: dict[PointId, StoredPoint] = {id: stored(id, **wrote) for id in range(gone, count)}
    there |= {id: stored(id, {"by": "user"}, (1, 0)) for id in range(gone, gone + other)}
    ledger = Ledger(NAMES, {id: entry_of(one, NAMES) for id, one in points.items()}, 5, created_at=created)
    return replacement("zoo", now, ledger, Declaration(points if still_declared else {}), there, SCHEMA)


@pytest.mark.parametrize(
    ("count", "gone", "other", "replaced"),
    [
        (20, 0, 0, False),
        (20, 5, 5, False),
        (20, 5, 6, True),
        (10, 5, 0, False),
        (10, 0, 6, True),
        (9, 1, 0, False),
        (9, 0, 1, False),
        (9, 1, 1, True),
        (2, 2, 0, True),
        (2, 0, 2, True),
        (2, 0, 1, False),
        # One point alone: what is gone is written where nothing stands; what has nothing left of it is another's.
        (1, 1, 0, False),
        (1, 0, 1, True),
    ],
)
@pytest.mark.parametrize("still_declared", [True, False])
def test_many_points_gone_or_changed_at_once_are_another_collection(count, gone, other, replaced, still_declared):
    it = found(count, gone=gone, other=other, still_declared=still_declared)

    assert (it is not None) == replaced


@pytest.mark.parametrize("changed", [stored(0, {"n": 0, "by": "hand"}), stored(0, None, (1, 0))])
def test_one_point_alone_that_keeps_something_was_changed_by_hand(changed):
    point = declared(0)
    ledger = Ledger(NAMES, {0: entry_of(point, NAMES)}, 5)

    assert replacement("zoo", "", ledger, Declaration({0: point}), {0: changed}, SCHEMA) is None


def test_an_empty_payload_alone_is_nothing_that_was_kept():
    """Whoever makes the collection again puts points without one there, too."""
    point = declared(0, {})
    ledger = Ledger(NAMES, {0: entry_of(point, NAMES)}, 5)

    assert replacement("zoo", "", ledger, Declaration({0: point}), {0: stored(0, {}, (1, 0))}, SCHEMA) is not None


def test_what_cannot_be_told_is_no_longer_the_sets_once_the_collection_is_another():
    text = Entry(fingerprint_payload({}), (fingerprint_text("a lion", "0123456789abcdef"),))
    ledger = Ledger(NAMES, {1: entry_of(declared(1), NAMES), 2: entry_of(declared(2), NAMES), 3: text}, 5)

    it = replacement("zoo", "", ledger, Declaration({}), {3: stored(3, {})}, SCHEMA)

    assert it is not None
    assert (it.gone, it.other, it.unclear) == ((1, 2), (), (3,))
    assert it.kept(ledger.entries) == {}


OLD, NEW = "2026-10-22T10:00:00.5Z", "2026-11-01T10:00:00Z"


def test_the_time_of_creation_decides_where_qdrant_tells_it():
    assert found(20, gone=20, created=OLD, now="2026-10-22T10:00:00.500+00:00") is None
    assert found(20, gone=1, created=OLD, now=NEW) is not None
    assert found(20, created=OLD, now=NEW) is None
    assert found(20, gone=1, created=OLD, now="") is None
    assert found(20, gone=11, created="", now=NEW) is not None


def test_what_cannot_be_told_speaks_for_nothing():
    """Texts are not embedded to be compared, floats may come back a bit off, and what was under way is not known."""
    unknown = Entry(UNKNOWN, (UNKNOWN,))
    text = Entry(fingerprint_payload({}), (fingerprint_text("a lion", "0123456789abcdef"),))
    there: Stored = {1: stored(1, {"x": 0.5}), 2: stored(2, {}), 3: stored(3)}
    ledger = Ledger(NAMES, {1: entry_of(declared(1, {"x": 0.25}), NAMES), 2: text, 3: unknown}, 5)

    assert replacement("zoo", "", ledger, Declaration({}), there, SCHEMA) is None


def test_what_is_being_deleted_is_not_missed():
    dying = Entry(TOMBSTONE, (TOMBSTONE,))

    assert replacement("zoo", "", Ledger(NAMES, dict.fromkeys(range(5), dying), 5), Declaration({}), {}, SCHEMA) is None


def test_the_plan_says_what_is_written_and_what_is_left():
    points: dict[PointId, Declared] = {id: declared(id) for id in range(4)}
    it = Replaced("zoo", 4, gone=(0, 1), other=(2,), through=5)

    assert it.found == "of 4 points that the set wrote into collection 'zoo', 2 gone and 1 changed"
    assert it.steps({id: point.shown_id for id, point in points.items()}) == [
        "accept the current collection 'zoo' as the one that the set writes into",
        "write 2 points again, if the id is free",
        "leave 1 point unchanged, because others may have changed them: 2",
    ]
    assert it.kept({id: Entry(20, ()) for id in points}).keys() == {3}


def test_another_finding_has_another_digest():
    it = Replaced("zoo", 4, gone=(0,), other=(2,), through=5)
    others = [replace(it, gone=(1,)), replace(it, other=()), replace(it, through=6), replace(it, collection="ark")]

    assert len({it.digest, *(one.digest for one in others)}) == 5

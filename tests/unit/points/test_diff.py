"""What must change, decided on models of a store: first what a killed writer left, then the difference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorops.ledger.entries import ABSENT, TOMBSTONE, UNKNOWN, Entry
from vectorops.ledger.records import LateWrites, Ledger, Slot
from vectorops.points import diff as diff_module
from vectorops.points.declared import Declaration, Declared
from vectorops.points.diff import (
    Stored,
    adoptable,
    blurred,
    diff,
    entry_of,
    entry_of_payload,
    entry_read_back,
    expect_late,
    is_what_we_insert,
    recover,
)
from vectorops.points.fingerprints import fingerprint_payload, fingerprint_text, fingerprint_vector, unpredicted
from vectorops.points.schema import VectorSchema
from vectorops.qdrant.database import PayloadChange, PointData, StoredPoint

SCHEMA = {"a": VectorSchema("dense", 2, "Dot"), "b": VectorSchema("dense", 1, "Cosine")}
NAMES = ("a", "b")
DYING = Entry(TOMBSTONE, (TOMBSTONE, TOMBSTONE))


def floats(numbers):
    return np.array(numbers, dtype=np.float32)


def point(id, payload=None, **vectors):
    found = {name: np.array(numbers, dtype=np.float32) for name, numbers in vectors.items()}
    data = PointData(id, found, payload or {})
    prints = {name: fingerprint_vector(vector) for name, vector in found.items()}
    return Declared(data, str(id), fingerprint_payload(data.payload), prints)


MODEL, OTHER_MODEL = "0123456789abcdef", "fedcba9876543210"


def text_point(id, text, payload=None, identity=MODEL, **vectors):
    """The same with `a` as text."""
    numeric = point(id, payload, **vectors)
    return replace(numeric, vectors={**numeric.vectors, "a": fingerprint_text(text, identity)}, texts={"a": text})


def stored(declared):
    """As Qdrant gives it back: `b` is normalized."""
    vectors = {name: np.sign(v) if name == "b" else v for name, v in declared.data.vectors.items()}
    return StoredPoint(declared.data.id, dict(declared.data.payload), vectors)


def entry(declared):
    return entry_of(declared, NAMES)


def declaration(*points, **more):
    return Declaration({one.data.id: one for one in points}, **more)


def ledger(entries=(), pending=None):
    return Ledger(NAMES, dict(entries), 5, pending)


OLD = point(1, {"k": 1, "same": [1]}, a=[1, 2], b=[3])


class TestDiff:
    def compare(self, declared, remembered, found, **more):
        entries = {} if remembered is None else {1: remembered}
        points = () if declared is None else (declared,)
        there: Stored = {} if found is None else {1: found}
        return diff(declaration(*points, **more), ledger(entries), there, SCHEMA)

    def test_what_is_as_declared_is_left_alone(self):
        found = self.compare(OLD, entry(OLD), stored(OLD))
        assert found.empty
        assert found.unchanged == 1

    def test_what_is_missing_is_inserted_and_new_only_if_it_never_was_ours(self):
        assert self.compare(OLD, None, None).new == {1}
        assert self.compare(OLD, entry(OLD), None).insert == (OLD,)
        assert self.compare(OLD, entry(OLD), None).new == frozenset()

    def test_what_is_stored_and_not_ours_is_a_conflict_even_if_it_is_the_same(self):
        found = self.compare(OLD, None, stored(OLD))
        assert found.conflicts == (1,)
        assert found.empty

    @pytest.mark.parametrize(
        ("new", "vectors", "gone", "payload"),
        [
            (point(1, {"k": 1, "same": [1]}, a=[9, 2], b=[3]), ("a",), (), None),
            (point(1, {"k": 1, "same": [1]}, a=[1, 2]), (), ("b",), None),
            (point(1, {"k": 2, "same": [1]}, a=[1, 2], b=[3]), (), (), ({"k": 2}, ())),
            (point(1, {"same": [1], "x": None}, a=[1, 2], b=[3]), (), (), ({"x": None}, ("k",))),
            (point(1, {"k": True, "same": [1]}, a=[1, 2], b=[3]), (), (), ({"k": True}, ())),
            (point(1, {"k": 1, "same": [1]}, a=[1, 2], b=[5]), ("b",), (), None),
        ],
    )
    def test_only_what_differs_is_written(self, new, vectors, gone, payload):
        (change,) = self.compare(new, entry(OLD), stored(OLD)).change
        assert (change.vectors, change.gone, change.drifted) == (vectors, gone, False)
        assert (change.payload and (change.payload.put, change.payload.remove)) == payload

    @pytest.mark.parametrize(
        ("found", "vectors", "gone", "payload"),
        [
            (stored(point(1, {"k": 1, "same": [1]}, a=[1, 3], b=[3])), ("a",), (), None),
            (stored(point(1, {"k": 1, "same": [1]}, a=[1, 2], b=[-3])), ("b",), (), None),
            (stored(point(1, {"k": 1, "same": [1]}, a=[1, 2])), ("b",), (), None),
            (stored(point(1, {"k": 1, "same": [1], "x": 0}, a=[1, 2], b=[3])), (), (), ({}, ("x",))),
            (stored(point(1, {"same": [1]}, a=[1, 2], b=[3])), (), (), ({"k": 1}, ())),
        ],
    )
    def test_what_others_changed_is_repaired_and_called_drift(self, found, vectors, gone, payload):
        (change,) = self.compare(OLD, entry(OLD), found).change
        assert (change.vectors, change.gone, change.drifted) == (vectors, gone, True)
        assert (change.payload and (change.payload.put, change.payload.remove)) == payload

    def test_a_payload_that_nobody_could_have_declared_is_repaired(self):
        (change,) = self.compare(OLD, entry(OLD), replace(stored(OLD), payload={"x": float("nan")})).change
        assert change.payload.remove == ("x",)

    def test_a_vector_that_others_added_goes(self):
        only_a = point(1, a=[1, 2])
        (change,) = self.compare(only_a, entry(only_a), stored(point(1, a=[1, 2], b=[1]))).change
        assert change.gone == ("b",)

    def test_the_last_digits_of_a_float_are_no_drift(self):
        precise = point(1, {"f": [0.46723190130255077], "n": 1}, a=[1, 2])
        read_back = replace(stored(precise), payload={"f": [0.4672319013025508], "n": 1})
        assert self.compare(precise, entry(precise), read_back).unchanged == 1

    def test_what_was_being_deleted_and_is_declared_again_is_written_whole(self):
        (change,) = self.compare(OLD, DYING, stored(OLD)).change
        assert change.vectors == NAMES
        assert change.payload is not None

    def test_what_is_no_longer_declared_is_deleted_or_forgotten(self):
        assert self.compare(None, entry(OLD), stored(OLD)).delete == (1,)
        assert self.compare(None, entry(OLD), None).forget == (1,)
        assert self.compare(None, None, stored(OLD)).empty

    def test_nothing_is_deleted_while_an_id_cannot_be_told_or_the_point_is_protected(self):
        assert self.compare(None, entry(OLD), stored(OLD), complete=False).empty
        assert self.compare(None, entry(OLD), stored(OLD), protected=frozenset({1})).empty


LION = text_point(1, "a lion", {"k": 1}, b=[3])
THERE = stored(point(1, {"k": 1}, a=[0.1, 0.2], b=[3]))
"""As it came back: whatever the model makes of a lion."""


class TestAdoption:
    def adoptable(self, declared, found):
        return adoptable([1], declaration(declared), {1: found}, NAMES, SCHEMA)

    def test_a_stored_point_that_equals_the_declared_one_is_adopted_with_its_fingerprints(self):
        assert self.adoptable(OLD, stored(OLD)) == {1: entry(OLD)}

    def test_an_adopted_point_then_counts_as_one_that_was_written(self):
        entries = self.adoptable(OLD, stored(OLD))

        found = diff(declaration(OLD), ledger(entries), {1: stored(OLD)}, SCHEMA)

        assert (found.empty, found.unchanged, found.conflicts) == (True, 1, ())

    @pytest.mark.parametrize(
        "other",
        [
            point(1, {"k": 1, "same": [2]}, a=[1, 2], b=[3]),
            point(1, {"k": 1}, a=[1, 2], b=[3]),
            point(1, {"k": 1, "same": [1], "more": None}, a=[1, 2], b=[3]),
            point(1, {"k": 1, "same": [1]}, a=[1, 3], b=[3]),
            point(1, {"k": 1, "same": [1]}, a=[1, 2], b=[-3]),
            point(1, {"k": 1, "same": [1]}, a=[1, 2]),
            point(1, {"k": True, "same": [1]}, a=[1, 2], b=[3]),
        ],
    )
    def test_one_that_differs_in_anything_is_not(self, other):
        assert self.adoptable(OLD, stored(other)) == {}
        assert self.adoptable(other, stored(OLD)) == {}

    def test_one_that_is_declared_with_a_text_is_not(self):
        """Whether the stored vector is that of the text, nobody can tell."""
        assert (
            self.adoptable(text_point(1, "a text", {"k": 1}, b=[3]), stored(point(1, {"k": 1}, a=[1, 2], b=[3]))) == {}
        )


class TestTexts:
    def compare(self, declared, remembered, found):
        return diff(declaration(declared), ledger({1: remembered}), {1: found} if found else {}, SCHEMA)

    def test_a_text_that_did_not_change_is_left_alone_whatever_numbers_stand_for_it(self):
        assert self.compare(LION, entry(LION), THERE).unchanged == 1

    @pytest.mark.parametrize(
        ("new", "vectors", "pending"),
        [
            (text_point(1, "a lioness", {"k": 1}, b=[3]), ("a",), {"a": "a lioness"}),
            (text_point(1, "a lion", {"k": 1}, OTHER_MODEL, b=[3]), ("a",), {"a": "a lion"}),
            (text_point(1, "a lion", {"k": 2}, b=[3]), (), {}),
            (text_point(1, "a lion", {"k": 1}, b=[-3]), ("b",), {}),
            (text_point(1, "a lioness", {"k": 2}, b=[-3]), ("a", "b"), {"a": "a lioness"}),
            (point(1, {"k": 1}, a=[0.1, 0.2], b=[3]), ("a",), {}),
        ],
    )
    def test_only_a_text_that_changed_is_embedded(self, new, vectors, pending):
        (change,) = self.compare(new, entry(LION), THERE).change
        assert (change.vectors, dict(change.pending), change.drifted) == (vectors, pending, False)

    def test_what_was_numbers_is_embedded_when_it_becomes_a_text(self):
        numbers = point(1, {"k": 1}, a=[0.1, 0.2], b=[3])
        (change,) = self.compare(LION, entry(numbers), THERE).change
        assert (change.vectors, dict(change.pending)) == (("a",), {"a": "a lion"})

    def test_a_text_whose_vector_or_point_is_gone_is_embedded_again(self):
        (change,) = self.compare(LION, entry(LION), stored(point(1, {"k": 1}, b=[3]))).change
        assert (dict(change.pending), change.gone, change.drifted) == ({"a": "a lion"}, (), True)
        (insert,) = self.compare(LION, entry(LION), None).insert
        assert dict(insert.pending) == {"a": "a lion"}

    def test_a_text_of_which_the_ledger_knows_nothing_is_embedded_again(self):
        (change,) = self.compare(LION, Entry(LION.payload, (UNKNOWN, LION.vectors["b"])), THERE).change
        assert dict(change.pending) == {"a": "a lion"}

    def test_a_payload_that_others_changed_is_repaired_without_embedding(self):
        (change,) = self.compare(LION, entry(LION), replace(THERE, payload={"k": 9})).change
        assert (change.vectors, dict(change.pending)) == ((), {})

    def test_a_change_is_whole_when_its_texts_are_embedded(self):
        (change,) = self.compare(text_point(1, "a lioness", {"k": 1}, b=[3]), entry(LION), THERE).change
        assert change.embedded({"a": np.array([5, 6], dtype=np.float32)}).pending == {}


class TestRecover:
    NEW = point(1, {"k": 2, "same": [1]}, a=[9, 2], b=[3])

    def recovered(self, before, target, found, *, new=(), declared=()):
        entries = {} if before is None else {1: before}
        pending = Slot(6, {1: target}, frozenset(new))
        there: Stored = {} if found is None else {1: found}
        after = recover(ledger(entries, pending), declaration(*declared), there, SCHEMA)
        assert (after.pending, after.through) == (None, 6)
        return after.entries.get(1)

    def test_without_an_open_window_nothing_changes(self):
        closed = ledger({1: entry(OLD)})
        assert recover(closed, declaration(), {}, SCHEMA) is closed

    def test_a_changed_point_is_ours_and_what_was_to_change_is_not_known(self):
        assert self.recovered(entry(OLD), entry(self.NEW), stored(OLD)) == Entry(
            UNKNOWN, (UNKNOWN, entry(OLD).vectors[1])
        )

    def test_a_new_point_that_is_not_there_is_not_ours(self):
        assert self.recovered(None, entry(OLD), None, new={1}) is None

    @pytest.mark.parametrize("declared", [(), (OLD,), (NEW,)])
    def test_a_new_point_is_ours_if_it_is_what_was_to_be_written(self, declared):
        assert self.recovered(None, entry(OLD), stored(OLD), new={1}, declared=declared) == entry(OLD)

    @pytest.mark.parametrize("declared", [(), (OLD,), (NEW,)])
    @pytest.mark.parametrize(
        "foreign",
        [
            point(1, {"k": 1}, a=[1, 2], b=[3]),
            point(1, {"k": 1, "same": [1]}, a=[1, 2]),
            point(1, {"k": 1, "same": [1]}, a=[1, 2.5], b=[3]),
        ],
    )
    def test_a_new_point_is_not_ours_if_somebody_else_made_it(self, foreign, declared):
        assert self.recovered(None, entry(OLD), stored(foreign), new={1}, declared=declared) is None

    @pytest.mark.parametrize("declared", [(), (LION,), (text_point(1, "a lioness", b=[3]),), (NEW,)])
    @pytest.mark.parametrize(
        ("found", "is_ours"),
        [
            (THERE, True),
            (None, False),
            (stored(point(1, {"k": 1}, b=[3])), False),
            (stored(point(1, {"k": 2}, a=[0.1, 0.2], b=[3])), False),
            (stored(point(1, {"k": 1}, a=[0.1, 0.2])), False),
        ],
    )
    def test_a_new_point_with_a_text_is_ours_if_all_agrees_that_can_be_compared(self, found, is_ours, declared):
        pending = Slot(6, {1: entry(LION)}, frozenset({1}), {"a": frozenset({1})})
        after = recover(ledger({}, pending), declaration(*declared), {1: found} if found else {}, SCHEMA)
        assert after.entries == ({1: entry(LION)} if is_ours else {})

    @pytest.mark.parametrize("declared", [(), (LION,)])
    def test_of_a_new_point_with_a_text_the_numbers_must_be_equal_that_are_known(self, declared):
        dot = {name: VectorSchema("dense", size, "Dot") for name, size in (("a", 2), ("b", 1))}
        pending = Slot(6, {1: entry(LION)}, frozenset({1}), {"a": frozenset({1})})
        foreign = stored(point(1, {"k": 1}, a=[0.1, 0.2], b=[4]))
        assert recover(ledger({}, pending), declaration(*declared), {1: foreign}, dot).entries == {}

    def test_a_deletion_that_was_begun_stays_begun(self):
        assert self.recovered(entry(OLD), DYING, stored(OLD)) == DYING
        assert self.recovered(entry(OLD), DYING, None) is None

    def test_blurring_keeps_what_is_the_same_before_and_after(self):
        assert blurred(Entry(20, (21, ABSENT)), Entry(20, (22, ABSENT))) == Entry(20, (UNKNOWN, ABSENT))


class TestLateWrites:
    """Requests of a window that was settled by somebody else may still arrive."""

    NOW = 1_000_000

    def expected(self, known, found=None, *, declared=(), now=NOW):
        there: Stored = {} if found is None else {1: found}
        recovered = recover(known, declaration(*declared), there, SCHEMA)
        return expect_late(known, recovered, declaration(*declared), there, SCHEMA, now)

    def late(self, until=NOW + 1, target=None):
        return replace(ledger(), late=LateWrites({1: target or entry(OLD)}, {}, until))

    def test_nothing_is_expected_where_no_window_was_open(self):
        assert self.expected(ledger({1: entry(OLD)})).late is None

    def test_a_window_that_was_open_is_expected_for_ten_minutes(self):
        known = ledger({}, Slot(6, {1: entry(OLD)}, frozenset({1})))
        assert self.expected(known).late == LateWrites({1: entry(OLD)}, {}, self.NOW + 600)

    def test_an_insert_that_arrived_is_ours_whether_declared_or_not(self):
        for declared in ((), (OLD,), (point(1, {"k": 2}, a=[1, 2], b=[3]),)):
            assert self.expected(self.late(), stored(OLD), declared=declared).entries == {1: entry(OLD)}

    def test_what_somebody_else_wrote_there_is_not_ours(self):
        foreign = point(1, {"k": 1}, a=[1, 2], b=[3])
        assert self.expected(self.late(), stored(foreign)).entries == {}

    def test_a_deletion_that_may_arrive_makes_no_point_ours(self):
        assert self.expected(self.late(target=DYING), stored(OLD)).entries == {}

    def test_after_its_time_nothing_is_expected_and_what_arrived_is_still_found(self):
        after = self.expected(self.late(until=self.NOW), stored(OLD))
        assert (after.entries, after.late) == ({1: entry(OLD)}, None)

    def test_what_is_expected_of_two_windows_is_expected_together(self):
        known = replace(self.late(), pending=Slot(6, {2: entry(OLD)}, frozenset(), {"a": frozenset({2})}))
        late = self.expected(known).late
        assert late == LateWrites({1: entry(OLD), 2: entry(OLD)}, {"a": frozenset({2})}, self.NOW + 600)


class TestPredictions:
    """How numbers come back is a prediction. Where it fails, nobody can tell: no conflict, no endless write."""

    DECLARED = point(1, {"k": 1.5}, a=[1, 2], b=[3])
    FOUND = StoredPoint(1, {"k": 1.5}, {"a": floats([1, 2]), "b": floats([0.25])})
    """`b` is Cosine, and should have come back as 1."""

    def test_numbers_that_no_server_should_give_back_do_not_make_it_anothers_point(self):
        assert is_what_we_insert(self.FOUND, self.DECLARED, SCHEMA)
        pending = Slot(6, {1: entry(self.DECLARED)}, frozenset({1}))
        after = recover(ledger({}, pending), declaration(self.DECLARED), {1: self.FOUND}, SCHEMA)
        assert after.entries == {1: entry(self.DECLARED)}

    @pytest.mark.parametrize(
        "foreign",
        [
            StoredPoint(1, {"k": 2.5}, dict(FOUND.vectors)),
            StoredPoint(1, {"k": 1.5, "by": "x"}, dict(FOUND.vectors)),
            StoredPoint(1, {"k": 1.5}, {"a": floats([1, 2])}),
            StoredPoint(1, {"k": 1.5}, {**FOUND.vectors, "a": floats([1, 3])}),
        ],
    )
    def test_payload_names_and_what_is_stored_exactly_tell_another_writers_point(self, foreign):
        assert not is_what_we_insert(foreign, self.DECLARED, SCHEMA)

    def test_what_was_read_back_otherwise_is_not_compared_any_more(self):
        known = entry_read_back(entry(self.DECLARED), self.DECLARED, self.FOUND, NAMES, SCHEMA)

        assert known == Entry(
            self.DECLARED.payload, (self.DECLARED.vectors["a"], unpredicted(self.DECLARED.vectors["b"]))
        )
        again = diff(declaration(self.DECLARED), ledger({1: known}), {1: self.FOUND}, SCHEMA)
        assert (again.empty, again.unchanged) == (True, 1)

    def test_it_is_written_when_the_declaration_changes_and_when_it_is_gone(self):
        known = entry_read_back(entry(self.DECLARED), self.DECLARED, self.FOUND, NAMES, SCHEMA)
        gone = StoredPoint(1, {"k": 1.5}, {"a": self.FOUND.vectors["a"]})

        (changed,) = diff(
            declaration(point(1, {"k": 1.5}, a=[1, 2], b=[4])), ledger({1: known}), {1: self.FOUND}, SCHEMA
        ).change
        (missing,) = diff(declaration(self.DECLARED), ledger({1: known}), {1: gone}, SCHEMA).change

        assert (changed.vectors, changed.drifted, changed.payload) == (("b",), False, None)
        assert (missing.vectors, missing.drifted) == (("b",), True)

    @pytest.mark.parametrize(("payload", "is_ours"), [({"k": 1.5}, True), ({"k": 1.6}, False), ({}, False)])
    def test_of_a_point_that_is_read_without_vectors_the_payload_tells_whose_it_is(self, payload, is_ours):
        known = entry_of_payload(entry(self.DECLARED), self.DECLARED, StoredPoint(1, payload, {}))

        assert known == (entry(self.DECLARED) if is_ours else None)

    def test_a_float_of_a_payload_may_come_back_less_exact(self):
        found = StoredPoint(1, {"k": 1.5 * (1 + 1e-9)}, dict(stored(self.DECLARED).vectors))

        known = entry_read_back(entry(self.DECLARED), self.DECLARED, found, NAMES, SCHEMA)

        assert is_what_we_insert(found, self.DECLARED, SCHEMA)
        assert diff(declaration(self.DECLARED), ledger({1: known}), {1: found}, SCHEMA).unchanged == 1
        by_payload = entry_of_payload(entry(self.DECLARED), self.DECLARED, StoredPoint(1, found.payload, {}))
        assert by_payload == Entry(unpredicted(self.DECLARED.payload), entry(self.DECLARED).vectors)
        other = StoredPoint(1, {"k": 1.6}, dict(found.vectors))
        (change,) = diff(declaration(self.DECLARED), ledger({1: known}), {1: other}, SCHEMA).change
        assert change.payload == PayloadChange(1, {"k": 1.5})

    @pytest.mark.parametrize(
        ("kind", "declared", "found"),
        [
            # As Qdrant 1.16.3 stores them.
            (VectorSchema("dense", 2), [1e-4, 2e-4], [1e-4, 2e-4]),
            (VectorSchema("multivector", 2), [[1e-4, 2e-4], [3, 4]], [[1e-4, 2e-4], [0.6, 0.8]]),
            (VectorSchema("multivector", 2), [[0, 0], [3, 4]], [[0, 0], [0.6, 0.8]]),
            (VectorSchema("dense", 2, "Cosine", "float16"), [1e-8, 1e-8], [0, 0]),
            (VectorSchema("dense", 2, "Dot", "float16"), [2.9e-8, 9e-8], [0, 1.1920929e-07]),
            (VectorSchema("dense", 2, "Dot", "uint8"), [2.5, 254.9], [2, 254]),
            (VectorSchema("dense", 2, "Dot", "turbo4"), [1, 2], [1.3, 1.8]),
        ],
    )
    def test_what_datatypes_and_distances_make_of_numbers_is_no_drift(self, kind, declared, found):
        schema = {"a": kind, "b": SCHEMA["b"]}
        one = point(1, a=declared)
        there = StoredPoint(1, {}, {"a": floats(found)})

        assert diff(declaration(one), ledger({1: entry(one)}), {1: there}, schema).unchanged == 1

    @pytest.mark.parametrize(
        ("kind", "declared", "found"),
        [
            (VectorSchema("multivector", 2), [[1e-4, 2e-4], [3, 4]], [[1e-4, 2e-4], [0.8, 0.6]]),
            (VectorSchema("multivector", 2), [[1e-4, 2e-4], [3, 4]], [[2e-4, 2e-4], [0.6, 0.8]]),
            (VectorSchema("dense", 2, "Dot", "float16"), [1e-6, 0], [2e-6, 0]),
            (VectorSchema("dense", 2, "Dot", "turbo4"), [1, 2], [[1, 2]]),
        ],
    )
    def test_other_numbers_are_drift(self, kind, declared, found):
        schema = {"a": kind, "b": SCHEMA["b"]}
        one = point(1, a=declared)
        there = StoredPoint(1, {}, {"a": floats(found)})

        (change,) = diff(declaration(one), ledger({1: entry(one)}), {1: there}, schema).change
        assert (change.vectors, change.drifted) == (("a",), True)


# ---- any state at all ----

IDS = st.integers(1, 6)
NUMBERS = st.sampled_from([1.0, 2.0, 3.0])
CONTENT = st.fixed_dictionaries(
    {"payload": st.dictionaries(st.sampled_from("xy"), st.integers(0, 2)), "a": st.tuples(NUMBERS, NUMBERS)},
    optional={"b": st.tuples(NUMBERS)},
)
SETS = st.dictionaries(IDS, CONTENT)


def points_of(contents):
    return {id: point(id, **content) for id, content in contents.items()}


def applied(found, there):
    """A model of the store after the changes."""
    after = dict(there)
    for one in found.insert:
        after.setdefault(one.data.id, stored(one))
    for change in found.change:
        before, whole = after[change.declared.data.id], stored(change.declared)
        vectors = {name: vector for name, vector in before.vectors.items() if name not in change.gone}
        vectors |= {name: whole.vectors[name] for name in change.vectors}
        payload = dict(before.payload)
        if change.payload is not None:
            payload = {key: v for key, v in payload.items() if key not in change.payload.remove} | change.payload.put
        after[before.id] = StoredPoint(before.id, payload, vectors)
    return {id: one for id, one in after.items() if id not in found.delete}


def comparable(points):
    return {id: (p.payload, {name: v.tolist() for name, v in p.vectors.items()}) for id, p in points.items()}


@settings(max_examples=100, deadline=None)
@given(SETS, SETS, SETS, st.booleans(), st.sets(IDS), st.sets(IDS))
def test_applying_a_diff_gives_what_is_declared_and_touches_nobody_elses(
    declared, remembered, there, complete, protected, unsure
):
    wanted, ours = points_of(declared), points_of(remembered)
    world = {id: stored(one) for id, one in points_of(there).items()}
    entries = {id: Entry(UNKNOWN, (UNKNOWN, UNKNOWN)) if id in unsure else entry(one) for id, one in ours.items()}
    protected -= wanted.keys()

    known = ledger(entries)
    found = diff(declaration(*wanted.values(), complete=complete, protected=protected), known, world, SCHEMA)

    after = comparable(applied(found, world))
    foreign = world.keys() - entries.keys()
    assert not foreign & ({c.declared.data.id for c in found.change} | {*found.delete, *found.forget})
    for id in foreign:
        assert after[id] == comparable(world)[id]
    for id in wanted.keys() - foreign:
        assert after[id] == comparable({id: stored(wanted[id])})[id]
    gone = world.keys() - after.keys()
    assert gone == ((entries.keys() & world.keys()) - wanted.keys() - protected if complete else set())
    assert set(found.conflicts) == foreign & wanted.keys()
    # What was written down of it makes a second diff find nothing.
    settled = {id: entry(wanted[id]) for id in wanted.keys() - foreign}
    kept = {id: known for id, known in entries.items() if id not in wanted and id in applied(found, world)}
    again = diff(
        declaration(*wanted.values(), complete=complete, protected=protected),
        ledger(kept | settled),
        applied(found, world),
        SCHEMA,
    )
    assert (again.insert, again.change, again.delete) == ((), (), ())


@settings(max_examples=100, deadline=None)
@given(SETS, SETS, st.sets(IDS), st.sets(IDS), SETS)
def test_killed_after_any_part_of_a_window_ours_is_known_as_ours(before, window, written, foreign, next_declared):
    """Every point of the window was either written or not; strangers came under ids that were new."""
    old, targets = points_of(before), points_of(window)
    new = targets.keys() - old.keys()
    strangers = {id: stored(point(id, {"by": "stranger"}, a=[7, 7])) for id in foreign & new}
    world = {id: stored(one) for id, one in old.items()}
    world |= {id: stored(one) for id, one in targets.items() if id in written} | strangers
    pending = Slot(6, {id: entry(one) for id, one in targets.items()}, frozenset(new))
    known = ledger({id: entry(one) for id, one in old.items()}, pending)

    after = recover(known, declaration(*points_of(next_declared).values()), world, SCHEMA)

    assert after.entries.keys() == world.keys() - strangers.keys()


@given(
    st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=8),
    st.sampled_from(["Cosine", "Dot"]),
    st.floats(-2e-4, 2e-4),
    st.booleans(),
)
def test_what_is_close_at_a_glance_is_close(values, distance, off, normalizes):
    """The quick comparison never takes for the same what the precise one does not."""
    declared = np.array(values, dtype=np.float32)
    kept = diff_module._normalized(declared) if normalizes else declared
    found = (kept * np.float32(1 + off)).astype(np.float32)
    schema = VectorSchema("dense", size=len(declared), distance=distance)

    with np.errstate(over="ignore", invalid="ignore"):
        at_a_glance = diff_module._is_surely_close(declared, found, schema)
        closely = diff_module._close(declared, found, "float32")
        if distance == "Cosine":
            closely = closely | diff_module._close(diff_module._normalized(declared), found, "float32")

    assert closely or not at_a_glance

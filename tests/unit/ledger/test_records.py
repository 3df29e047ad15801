"""The records of a ledger, byte for byte: those that are stored since the first release, and those of several parts."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.ledger.test_entries import some_entries
from vectorops.api.meta import JsonObject, Ref
from vectorops.ledger.entries import ABSENT, TOMBSTONE, UNKNOWN, Entries, EntriesById, Entry
from vectorops.ledger.records import (
    UNREADABLE,
    WHOLE,
    LateWrites,
    Ledger,
    LedgerKey,
    Part,
    Slot,
    base_record,
    free_slot_record,
    head_record,
    is_newer,
    join_parts,
    pack_entries,
    pack_flags,
    part_of,
    read_ledger,
    record_id,
    search_hashes,
    slot_record,
    unpack_entries,
    unpack_flags,
)
from vectorops.qdrant.database import PointId

HERE = Path(__file__).parent
FORMAT_1 = json.loads((HERE / "format-1.json").read_text())
FORMAT_2 = json.loads((HERE / "format-2.json").read_text())
REVISION = json.loads((HERE / "revision.json").read_text())
"""Recorded. They are read for ever, so no file is ever made again."""

KEY = LedgerKey("prod", Ref("PointSet", "search", "docs"), "documents", "0123456789abcdef")
PART = Part(2, 3, 1)
NAMES = ("image", "text")
U = UUID("00112233-4455-6677-8899-aabbccddeeff")
V = UUID("00112233-4455-6677-0000-000000000001")
ENTRIES: EntriesById = {
    1: Entry(20, (UNKNOWN, 33)),
    258: Entry(2**64 - 1, (21, ABSENT)),
    2**64 - 1: Entry(TOMBSTONE, (TOMBSTONE, TOMBSTONE)),
    V: Entry(UNKNOWN, (UNKNOWN, UNKNOWN)),
    U: Entry(40, (41, 42)),
}
WINDOW: EntriesById = {1: Entry(60, (61, ABSENT)), 7: Entry(50, (51, 52)), U: Entry(TOMBSTONE, (TOMBSTONE, TOMBSTONE))}

OF_STORE = ("format", "key", "owner", "collection", "incarnation", "token", "shard_key")


def case(recorded: list[JsonObject], what: str) -> tuple[JsonObject, JsonObject, JsonObject]:
    head, base, slot = (record["payload"] for record in next(one for one in recorded if one["what"] == what)["records"])
    return head, base, slot


def written(ledger: Ledger, slot: JsonObject) -> list[JsonObject]:
    """The records of a ledger as they are written, without what the store adds."""
    window = ledger.pending
    return [
        head_record(
            ledger.names,
            rebuilt=ledger.rebuilt,
            deletion_policy=ledger.deletion_policy,
            created_at=ledger.created_at,
            revision=ledger.revision,
            part=ledger.part,
        ),
        base_record(ledger.entries, ledger.names, ledger.through, ledger.part),
        slot_record(window, ledger.names, ledger.part) if window else slot,
    ]


def own_fields(record: JsonObject) -> JsonObject:
    return {name: value for name, value in record.items() if name not in OF_STORE}


# ---- format 1: what is stored since the first release ----


@pytest.mark.parametrize("what", [one["what"] for one in FORMAT_1])
def test_what_the_first_release_wrote_is_read_and_written_again_to_the_same_bytes(what):
    head, base, slot = case(FORMAT_1, what)

    ledger = read_ledger(head, base, slot)

    hashes = "before there were hashes" not in what
    for stored, now in zip((head, base, slot), written(ledger, own_fields(slot)), strict=True):
        mine = own_fields(stored)
        # Key by key, and in the same order.
        again = {name: value for name, value in now.items() if hashes or name not in {"hashes", "texts"}}
        assert json.dumps(again) == json.dumps(mine)


def test_what_the_first_release_wrote_means_what_it_meant():
    begun, rest, opened, keyed, unmarked, old = (read_ledger(*case(FORMAT_1, one["what"])) for one in FORMAT_1)

    assert (begun.names, begun.entries, begun.through, begun.pending) == (NAMES, {}, 0, None)
    assert (rest.entries, rest.through, rest.pending, rest.token) == (ENTRIES, 3, None, "writer-1")
    assert opened.pending == Slot(4, WINDOW, frozenset({7}), {"text": frozenset({1, 7})})
    assert (keyed.shard_key, keyed.deletion_policy) == ("acme", "Retain")
    assert (unmarked.created_at, unmarked.rebuilt) == ("2026-01-02T03:04:05Z", True)
    assert old.entries == ENTRIES
    assert old.pending == Slot(4, WINDOW, frozenset({7}), {})


def test_records_are_found_under_the_published_ids():
    assert str(KEY) == "prod/search/docs/documents/0123456789abcdef"
    assert KEY.owner == "prod/search/docs"
    for one in [*FORMAT_1, *FORMAT_2]:
        for record in one["records"]:
            payload = record["payload"]
            part = WHOLE if one in FORMAT_1 or payload["kind"] == "head" else PART
            assert str(record_id(payload["key"], payload["kind"], part)) == record["id"]


def test_the_bytes_are_the_published_ones():
    packed = pack_entries({258: Entry(3, (4,)), 1: Entry(5, (6,)), U: Entry(7, (8,))}, 1)

    def rows(*numbers):
        return b"".join(number.to_bytes(8, "little") for number in numbers)

    assert base64.b64decode(packed["u64"]) == rows(1, 5, 6, 258, 3, 4)
    assert base64.b64decode(packed["uuid"]) == U.bytes + rows(7, 8)
    assert packed["width"] == 1
    assert packed["hashes"] == [-1, 800872757, 3312246305, 3778980197]
    assert search_hashes([1, 258, U]) == [800872757, 3312246305, 3778980197]
    assert pack_entries({}, 1)["hashes"] == [-1]


# ---- format 2 ----


def reads_in_the_first_release(records: list[JsonObject]) -> bool:
    """The rules by which the version before format 2 read a ledger. Frozen: it is out there."""
    return all(record["format"] == 1 and record.get("bits", 0) == 0 for record in records)


def test_the_version_before_refuses_a_ledger_of_several_parts_by_each_of_its_records():
    for one in FORMAT_1:
        assert reads_in_the_first_release([record["payload"] for record in one["records"]])
    for one in FORMAT_2:
        for record in one["records"]:
            assert not reads_in_the_first_release([record["payload"]])


def test_the_version_before_finds_the_head_of_a_ledger_of_several_parts():
    """Else it would take the ledger for lost."""
    head = FORMAT_2[0]["records"][0]

    assert head["payload"]["kind"] == "head"
    assert head["id"] == FORMAT_1[0]["records"][0]["id"]


@pytest.mark.parametrize("what", [one["what"] for one in FORMAT_2])
def test_records_of_several_parts_are_read_and_written_again_to_the_same_bytes(what):
    head, base, slot = case(FORMAT_2, what)

    ledger = read_ledger(head, base, slot, PART)

    for stored, now in zip((head, base, slot), written(ledger, own_fields(slot)), strict=True):
        assert json.dumps(now) == json.dumps(own_fields(stored))


def test_each_part_says_which_vectors_it_speaks_of():
    """The head is written last: killed before that, it is behind."""
    head, base, slot = case(FORMAT_2, "a window is open, with texts")

    ledger = read_ledger({**head, "vectors": ["text"]}, base, slot, PART)
    ahead = read_ledger(head, {**base_record({1: Entry(20, (33,))}, ("text",), 3, PART), **common(base)}, slot, PART)

    assert (ledger.names, ledger.head_names) == (NAMES, ("text",))
    assert ledger.entries == ENTRIES
    assert ahead.pending is not None
    assert ahead.pending.entries[1] == Entry(60, (ABSENT,)), "the window was opened for other names"


def common(record: JsonObject) -> JsonObject:
    return {name: record[name] for name in OF_STORE if name in record}


# ---- the revision of a source ----


@pytest.mark.parametrize("what", [one["what"] for one in REVISION])
def test_the_revision_of_a_source_is_read_and_written_again_to_the_same_bytes(what):
    head, base, slot = case(REVISION, what)

    ledger = read_ledger(head, base, slot, PART if "several" in what else WHOLE)

    assert ledger.revision == "5f0c8a1b2c3d4e5f-0a1b2c3d4e5f6071-8899aabbccddeeff"
    for stored, now in zip((head, base, slot), written(ledger, own_fields(slot)), strict=True):
        assert json.dumps(now) == json.dumps(own_fields(stored))


@pytest.mark.parametrize("what", [one["what"] for one in REVISION])
def test_a_version_that_knows_no_revision_reads_all_the_rest(what):
    """It reads the fields that it knows, by their names, and those have not changed."""
    head, base, slot = case(REVISION, what)
    part = PART if "several" in what else WHOLE
    known = {name: value for name, value in head.items() if name != "revision"}

    assert read_ledger(head, base, slot, part) == replace(
        read_ledger(known, base, slot, part), revision=head["revision"]
    )
    assert is_newer(head) is False
    assert reads_in_the_first_release([head, base, slot]) == (part == WHOLE)
    before = next(one["records"][0] for one in [*FORMAT_1, *FORMAT_2] if one["records"][0]["payload"] == known)
    assert before["id"] == next(one for one in REVISION if one["what"] == what)["records"][0]["id"]


@pytest.mark.parametrize("owned", [None, 0, 12])
def test_how_many_points_were_owned_is_read_as_it_was_written(owned):
    _, base, slot = case(FORMAT_1, "at rest")
    head = {**common(base), **head_record(NAMES, rebuilt=False, deletion_policy="Delete", owned=owned)}

    ledger = read_ledger(head, base, slot)

    assert (ledger.owned, ledger.revision) == (owned, "")
    assert ("owned" in head) == (owned is not None)
    assert read_ledger({**head, "owned": "many"}, base, slot).owned is None


def test_a_field_that_only_a_later_version_knows_is_ignored():
    for records, part in ((case(FORMAT_1, "at rest"), WHOLE), (case(REVISION, "several parts, of a source"), PART)):
        later = [{**record, "of_a_later_version": {"deep": [1]}} for record in records]

        assert read_ledger(later[0], later[1], later[2], part) == read_ledger(*records, part)


# ---- what cannot be read ----


@pytest.mark.parametrize(
    ("change", "newer"),
    [
        ({"format": 3}, True),
        ({"format": 1, "bits": 2}, True),
        ({"format": 2, "bits": 17}, True),
        ({"format": None}, False),
        ({"format": "1"}, False),
        ({"format": True}, False),
        ({"format": 0}, False),
        ({"format": 1, "bits": "many"}, False),
        ({"format": 2, "bits": -1}, False),
        ({"format": 2, "bits": 2, "generation": 0}, False),
    ],
    ids=str,
)
def test_a_head_of_a_newer_version_is_told_from_a_damaged_one(change, newer):
    head, _, _ = case(FORMAT_1, "at rest")

    assert part_of({**head, **change}) is None
    assert is_newer({**head, **change}) == newer


@pytest.mark.parametrize("kind", ["base", "slot"])
@pytest.mark.parametrize("change", [{"bits": 3}, {"generation": 4}, {"n": 2}, {"format": 1}, {"vectors": 7}], ids=str)
def test_a_record_of_another_part_is_not_read(kind, change):
    head, base, slot = case(FORMAT_2, "a window is open, with texts")
    changed = {"base": base, "slot": slot}
    changed[kind] = {**changed[kind], **change}

    with pytest.raises(UNREADABLE):
        read_ledger(head, changed["base"], changed["slot"], PART)


@settings(deadline=None)
@given(st.integers(0, 4).flatmap(lambda width: st.tuples(st.just(width), some_entries(width))))
def test_entries_are_read_as_they_were_written(drawn):
    width, some = drawn
    assert unpack_entries(pack_entries(some, width), width) == some


@settings(deadline=None)
@given(some_entries(1), st.data())
def test_flags_are_read_as_they_were_written(some, data):
    new = data.draw(st.sets(st.sampled_from(sorted(some, key=str))) if some else st.just(cast("set[PointId]", set())))
    assert unpack_flags(pack_flags(new, some), some) == new


def test_a_record_of_another_width_tells_ids_only():
    """Left by somebody who was killed while the names of the vectors were being changed."""
    assert unpack_entries(pack_entries({1: Entry(20, (21,))}, 1), 2) == {1: Entry(20, (UNKNOWN, UNKNOWN))}


@pytest.mark.parametrize("whose", [0, 1, 2])
def test_nobody_is_the_writer_while_the_records_have_different_tokens(whose):
    """Killed while taking them: whoever has some of them must take them all again."""
    records = list(case(FORMAT_1, "at rest"))
    records[whose] = {**records[whose], "token": "another"}
    head, base, slot = records

    assert read_ledger(head, base, slot).token == ""


def test_an_open_window_follows_the_names_of_the_vectors():
    ledger = read_ledger(*case(FORMAT_1, "a window is open, with texts")).align(("text",))

    assert ledger.pending is not None
    assert ledger.pending.entries[7] == Entry(50, (52,))
    assert ledger.entries[U] == Entry(40, (42,))
    assert isinstance(ledger.entries, Entries)


def test_a_part_is_one_of_as_many_as_its_bits_can_count():
    assert [part.number for part in PART.siblings] == [0, 1, 2, 3]
    assert WHOLE.siblings == [WHOLE]
    assert free_slot_record(NAMES)["kind"] == "slot"


@pytest.mark.parametrize("part", [WHOLE, PART])
def test_what_may_still_arrive_is_read_as_it_was_written(part):
    late = LateWrites(Entries.of(WINDOW, 2), {"text": frozenset({7, U})}, 1_700_000_000)
    head = {**head_record(NAMES, rebuilt=False, deletion_policy="Delete", part=part), **of_store(part)}
    base = {**base_record(ENTRIES, NAMES, 5, part, late), **of_store(part)}
    slot = {**free_slot_record(NAMES, part), **of_store(part)}

    found = read_ledger(head, base, slot, part).late

    assert found is not None
    assert dict(found.entries) == WINDOW
    assert (found.texts, found.until) == (late.texts, late.until)
    assert "late" not in base_record(ENTRIES, NAMES, 5, part)


def test_what_may_still_arrive_goes_with_its_part_and_comes_back_with_all_of_them():
    late = LateWrites(Entries.of(WINDOW, 2), {"text": frozenset({7, U})}, 1_700_000_000)
    whole = Ledger(NAMES, Entries.of(ENTRIES, 2), through=5, late=late, token="one")

    parts = whole.split(3)
    joined = join_parts(parts)

    assert [part.part for part in parts] == Part(3).siblings
    for part in parts:
        expected = dict(part.late.entries) if part.late is not None else {}
        assert expected == dict(Entries.of(WINDOW, 2).split(3)[part.part.number])
        assert part.late is None or (part.late.until, part.late.texts["text"] <= expected.keys()) == (late.until, True)
    assert (joined.entries, joined.late) == (whole.entries, late)
    assert join_parts(Ledger(NAMES, {}).split(1)) == Ledger(NAMES, {}, part=Part(1))


def of_store(part: Part) -> JsonObject:
    return {"format": 2 if part.bits else 1, "token": "writer"}

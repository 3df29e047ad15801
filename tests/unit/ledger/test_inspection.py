"""What is said of the records of a ledger: of those that are stored since the first release, and of damaged ones."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from vectorops.api.meta import JsonObject
from vectorops.ledger.entries import TOMBSTONE, Entries, Entry
from vectorops.ledger.inspection import (
    OUTLINE,
    Finding,
    InspectedLedger,
    InspectedPart,
    LedgerRecords,
    Severity,
    confirm,
    describe_ledger,
    find_lost,
    find_shared,
    group_records,
    inspect_part,
    judge_records,
    judge_registration,
)
from vectorops.ledger.records import WHOLE, LateWrites, Part, base_record, read_ledger, record_id
from vectorops.qdrant.database import PointId, StoredPoint
from vectorops.qdrant.marks import Mark

HERE = Path(__file__).parent
FORMAT_1 = json.loads((HERE / "format-1.json").read_text())
FORMAT_2 = json.loads((HERE / "format-2.json").read_text())
KEY_OF_FORMAT_1 = FORMAT_1[0]["records"][0]["payload"]["key"]
KEY = "prod/search/docs/documents/0123456789abcdef"
OWNER = "prod/search/docs"
PART = Part(2, 3, 1)
U = UUID("00112233-4455-6677-8899-aabbccddeeff")

Payloads = dict[PointId, JsonObject]


def recorded(what: str, file: Any = FORMAT_1) -> Payloads:
    case = next(one for one in file if one["what"] == what)
    return {UUID(record["id"]): record["payload"] for record in case["records"]}


def grouped(payloads: Payloads) -> LedgerRecords:
    outlines = [
        StoredPoint(id, {name: value for name, value in payload.items() if name in OUTLINE}, {})
        for id, payload in payloads.items()
    ]
    (records,), strays = group_records(outlines)
    assert strays == []
    return records


def kinds(findings: list[Finding]) -> list[str]:
    return [one.kind for one in findings]


@pytest.mark.parametrize("what", [one["what"] for one in FORMAT_1])
def test_what_every_release_wrote_is_no_problem(what):
    records = grouped(payloads := recorded(what))

    part, findings = inspect_part(records, WHOLE, payloads)

    assert judge_records(records) == []
    assert part is not None
    assert [one for one in findings if one.severity is Severity.PROBLEM] == []
    assert ("NoHashes" in kinds(findings)) == ("before there were hashes" in what)
    assert ("OpenWindow" in kinds(findings)) == (part.window is not None)


def test_an_open_window_claims_points_that_need_not_be_stored():
    records = grouped(payloads := recorded("a window is open, with texts"))

    part, _ = inspect_part(records, WHOLE, payloads)

    assert part is not None
    assert (part.points, part.deleting, part.window) == (4, 1, 3)
    assert part.claims is not None
    assert part.expected is not None
    assert set(part.claims) == {1, 7, 258, UUID("00112233-4455-6677-0000-000000000001")}, "U is being deleted"
    assert set(part.expected) == {258, UUID("00112233-4455-6677-0000-000000000001")}


def test_a_part_of_several_is_read_with_its_own_number():
    """The recorded ids are few, and belong to other parts in truth."""
    records = grouped(payloads := recorded("begun", FORMAT_2))

    part, findings = inspect_part(records, PART, payloads)

    assert findings == []
    assert part is not None
    assert (part.number, part.points, part.through) == (1, 0, 0)
    assert kinds(judge_records(records)) == ["RecordMissing"], "of three parts nothing was recorded"
    assert "and 5 more" in judge_records(records)[0].message


def test_ids_of_another_part_are_found():
    records = grouped(payloads := recorded("a window is open, with texts", FORMAT_2))

    _, findings = inspect_part(records, PART, payloads)

    assert "PartDamaged" in kinds(findings)
    assert "belong to other parts" in findings[0].message


@pytest.mark.parametrize(
    ("kind", "change", "found"),
    [
        ("base", {"u64": "!"}, "PartDamaged"),
        ("base", {"u64": 5}, "PartDamaged"),
        ("base", {"through": "many"}, "PartDamaged"),
        ("slot", {"new": None}, "PartDamaged"),
        ("slot", {"width": 1000}, "PartDamaged"),
        ("slot", {"hashes": [-1]}, "WrongHashes"),
    ],
)
def test_a_damaged_record_is_named_by_its_part_and_nothing_is_quoted(kind, change, found):
    payloads = recorded("a window is open, with texts")
    records = grouped(payloads)
    id = next(id for id, payload in payloads.items() if payload["kind"] == kind)

    _, findings = inspect_part(records, WHOLE, {**payloads, id: {**payloads[id], **change}})

    assert kinds([one for one in findings if one.severity is Severity.PROBLEM]) == [found]
    assert "part 0" in findings[0].message


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"format": 3}, "NewerFormat"),
        ({"format": 2, "bits": 17}, "NewerFormat"),
        ({"format": "1"}, "HeadDamaged"),
        ({"bits": -1}, "HeadDamaged"),
        ({"generation": None}, "HeadDamaged"),
    ],
)
def test_a_head_of_another_kind_is_described_as_far_as_it_can_be(change, found):
    payloads = recorded("at rest")
    head = next(id for id, payload in payloads.items() if payload["kind"] == "head")
    payloads[head] = {**payloads[head], **change, "vectors": 5}
    records = grouped(payloads)

    described = describe_ledger("ledgers", records, payloads[head], [], judge_records(records))

    assert kinds(list(described.findings)) == [found]
    assert records.parts == []
    assert (described.owner, described.points) == (OWNER, 0)


def test_a_record_of_a_later_format_may_be_of_any_kind_and_under_any_id():
    payloads = recorded("at rest") | {5: {**next(iter(recorded("at rest").values())), "kind": "page", "format": 3}}

    assert kinds(judge_records(grouped(payloads))) == ["NewerFormat"]


@pytest.mark.parametrize("change", [{"owner": 5}, {"key": "prod/search/docs"}, {"collection": None}])
def test_a_record_of_no_ledger_is_a_stray(change):
    _, payload = next(iter(recorded("at rest").items()))

    records, strays = group_records([StoredPoint(7, {**payload, **change}, {})])

    assert records == []
    assert kinds(strays) == ["StrayRecord"]


# ---- the collection of the points ----


def described(mark: Mark | None, **registered: str) -> JsonObject:
    metadata = {f"vectorops.dev/ledger/{owner.replace('_', '/')}": value for owner, value in registered.items()}
    return {"config": {"metadata": {**(mark.metadata() if mark else {}), **metadata}}}


MARK = Mark("prod", "search", "documents", "", "documents", "0123456789abcdef")
LEDGER = InspectedLedger("ledgers", OWNER, "documents", "0123456789abcdef")
UNMARKED = replace(LEDGER, incarnation="unmanaged")


@pytest.mark.parametrize(
    ("ledger", "collection", "found"),
    [
        (LEDGER, described(MARK, prod_search_docs="0123456789abcdef"), []),
        (LEDGER, described(replace(MARK, released=True), prod_search_docs="0123456789abcdef"), []),
        (LEDGER, described(MARK), ["NotRegistered"]),
        (LEDGER, described(MARK, prod_search_docs="another"), ["NotRegistered"]),
        (LEDGER, described(replace(MARK, incarnation="another")), ["FormerLedger"]),
        (LEDGER, described(replace(MARK, collection="another")), ["MarkMissing"]),
        (LEDGER, described(None), ["MarkMissing"]),
        (LEDGER, {"config": {"metadata": {"vectorops.dev/mark": {"format": 9}}}}, ["UnknownMark"]),
        (LEDGER, None, ["CollectionGone"]),
        (UNMARKED, described(None), []),
        (UNMARKED, described(MARK), ["FormerLedger"]),
        (UNMARKED, None, ["CollectionGone"]),
    ],
)
def test_a_collection_knows_of_its_ledgers(ledger, collection, found):
    assert kinds(judge_registration(ledger, collection, unmanaged="unmanaged")) == found


def test_a_ledger_that_is_registered_and_not_there_is_lost():
    collection = described(MARK, prod_search_docs="0123456789abcdef", prod_search_faq="0123456789abcdef", old="another")
    known = [(OWNER, "documents", "0123456789abcdef")]

    (lost,) = find_lost("documents", collection, known)

    assert (lost.kind, lost.owner) == ("LedgerGone", "prod/search/faq")
    assert find_lost("documents", described(None, prod_search_docs="unmanaged"), []) == []


# ---- points of several sets ----


def holding(owner: str, *ids: PointId) -> InspectedLedger:
    entries = Entries.of(dict.fromkeys(ids, Entry(TOMBSTONE, ())), 0)
    return replace(LEDGER, owner=owner, parts=(InspectedPart(0, len(ids), claims=entries),))


def test_points_that_several_sets_hold_are_found_by_number_and_by_uuid():
    other = UUID(int=U.int ^ 1)
    zeros = UUID(int=0)

    found = find_shared(
        [holding("a/b/c", 1, 2, U, zeros), holding("a/b/d", 2, 3, U), holding("a/b/e", 3, other), holding("a/b/f", 0)]
    )

    assert [one.owner for one in found] == ["a/b/c", "a/b/d", "a/b/d", "a/b/e"]
    assert f"it shares 2 points with a/b/d: 2, {U}. " in found[0].message
    assert f"it shares 2 points with a/b/c: 2, {U}. " in found[1].message
    assert "it shares 1 point with a/b/e: 3. " in found[2].message
    assert find_shared([]) == []
    assert find_shared([holding("a/b/c"), holding("a/b/d")]) == []


def test_many_shared_points_are_counted():
    found, _ = find_shared([holding("a/b/c", *range(2000)), holding("a/b/d", *range(2000))])

    assert "it shares 2,000 points with a/b/d: 0, 1, 2, 3, 4 and 1,995 more. " in found.message


def test_a_problem_that_only_one_look_saw_was_a_moment_of_somebodys_work():
    def find(kind: str, severity: Severity = Severity.PROBLEM) -> Finding:
        return Finding(kind, severity, "", OWNER, "documents")

    confirmed = confirm(
        [find("PointsMissing"), find("SharedPoints")],
        [find("PointsMissing"), find("RecordMissing"), find("OpenWindow", Severity.NOTICE)],
    )

    assert kinds(confirmed) == ["PointsMissing", "OpenWindow"]


def test_requests_that_may_still_arrive_are_told():
    payloads = recorded("at rest")
    records = grouped(payloads)
    base = payloads[record_id(KEY_OF_FORMAT_1, "base")]
    head, slot = (payloads[record_id(KEY_OF_FORMAT_1, kind)] for kind in ("head", "slot"))
    ledger = read_ledger(head, base, slot, WHOLE)
    late = LateWrites(Entries.of(ledger.entries, len(ledger.names)), {}, 0)
    base |= {"late": base_record(ledger.entries, ledger.names, ledger.through, WHOLE, late)["late"]}

    _, findings = inspect_part(records, WHOLE, payloads)

    (found,) = [one for one in findings if one.kind == "LateWrites"]
    assert found.severity is Severity.NOTICE
    assert "until 00:00:00 UTC" in found.message

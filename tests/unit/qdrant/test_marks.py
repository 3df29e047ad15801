"""Whose a collection is, as its metadata says."""

from dataclasses import replace

import pytest

from vectorops.api.meta import JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.marks import (
    LEDGER_METADATA,
    MARK_KEY,
    Mark,
    is_ledger,
    mark_of,
    name_behind,
    new_incarnation,
)

OWNER = Ref("QdrantCollection", "search", "docs")
MARK = Mark("prod", "search", "docs", "uid-1", "documents", "0123456789abcdef", last_applied={"params": {"x": 1}})


def described(metadata):
    return {"config": {"params": {}, "metadata": metadata}}


def test_a_mark_is_read_as_it_was_written():
    assert mark_of(described(MARK.metadata()), "documents") == MARK


@pytest.mark.parametrize("collection", [{}, {"config": {}}, {"config": {"metadata": None}}, described({"team": "x"})])
def test_a_collection_without_a_mark_is_nobodys(collection):
    assert mark_of(collection, "documents") is None


def test_a_mark_that_speaks_of_another_collection_does_not_count():
    """A snapshot restored under another name carries a copy."""
    assert mark_of(described(MARK.metadata()), "documents-restored") is None


def test_the_owner_is_told_by_name_and_installation_and_never_by_uid():
    rebuilt = replace(MARK, uid="uid-2")

    assert rebuilt.belongs_to("prod", OWNER)
    assert not MARK.belongs_to("staging", OWNER)
    assert not MARK.belongs_to("prod", Ref("QdrantCollection", "search", "other"))
    assert not MARK.belongs_to("prod", Ref("QdrantCollection", "other", "docs"))
    assert not MARK.belongs_to("prod", Ref("PointSet", "search", "docs"))


def test_a_released_collection_is_nobodys_and_keeps_its_incarnation():
    released = MARK.release()

    assert not released.belongs_to("prod", OWNER)
    assert mark_of(described(released.metadata()), "documents") == replace(MARK, released=True)


DAMAGED: list[JsonObject] = [
    {"format": True},
    {"installation": 7},
    {"name": None},
    {"incarnation": ["0123456789abcdef"]},
    {"released": "no"},
    {"last_applied": "all"},
    {"embedders": None},
    {"deletion_policy": {}},
]
JUNK = [MARK.metadata()[MARK_KEY] | damage for damage in DAMAGED]


@pytest.mark.parametrize("raw", [{"format": 2}, {}, {"format": 1}, "text", 7, ["list"], *JUNK], ids=str)
def test_a_mark_that_cannot_be_read_is_never_taken_for_none(raw):
    with pytest.raises(Terminal) as raised:
        mark_of(described({MARK_KEY: raw}), "documents")

    assert raised.value.reason is Reason.UNKNOWN_MARK


@pytest.mark.parametrize("raw", [{"format": 2, "kind": "Ledger"}, {}, "Ledger", 7])
def test_a_mark_that_cannot_be_read_is_not_that_of_a_collection_of_ledgers(raw):
    with pytest.raises(Terminal) as raised:
        is_ledger(described({MARK_KEY: raw}), "ledgers")

    assert raised.value.reason is Reason.UNKNOWN_MARK


def test_a_collection_of_ledgers_is_nobodys_target_and_a_managed_one_keeps_no_ledgers():
    ledgers = described(LEDGER_METADATA)

    assert is_ledger(ledgers, "ledgers")
    assert is_ledger(ledgers, "restored-under-another-name")
    assert not is_ledger(described({}), "ledgers")
    for refused in (lambda: mark_of(ledgers, "ledgers"), lambda: is_ledger(described(MARK.metadata()), "documents")):
        with pytest.raises(Terminal) as raised:
            refused()
        assert raised.value.reason is Reason.OWNED_BY_ANOTHER


def test_earlier_versions_take_the_mark_of_ledgers_for_one_that_they_cannot_read():
    """They know neither its kind nor its fields: without a name it is no mark of theirs."""
    stored = LEDGER_METADATA[MARK_KEY]

    assert stored == {"format": 1, "kind": "Ledger"}
    with pytest.raises(TypeError):
        Mark(**stored)


def test_a_field_of_a_later_release_is_passed_over():
    later = {MARK_KEY: {**MARK.metadata()[MARK_KEY], "later": 1}}

    assert mark_of(described(later), "documents") == MARK


def test_incarnations_differ():
    assert len({new_incarnation() for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["n" * 246, "ä" * 123])
def test_the_name_behind_an_alias_may_be_as_long_as_a_file_name(name: str) -> None:
    behind = name_behind(name, "1a2b3c4d5e6f7a8b")

    assert behind == f"{name}-1a2b3c4d"
    assert len(behind.encode()) == 255
    with pytest.raises(Terminal, match="choose a collectionName of at most 246 bytes") as refused:
        name_behind(name + "n", "1a2b3c4d5e6f7a8b")
    assert refused.value.reason is Reason.INVALID_SPEC

"""What is stored for ever names the kind of a connection: the same bytes as before, or a form that is refused.

marks.json and targets.json are what a release has written. They are never edited: a new form gets a new record.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from vectorops.api.meta import JsonObject, Ref
from vectorops.api.pointset import PointSetTarget
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.marks import MARK_KEY, Mark, mark_of

HERE = Path(__file__).parent
MARKS = json.loads((HERE / "marks.json").read_text())
TARGETS = json.loads((HERE / "targets.json").read_text())
KINDS = ("QdrantConnection", "ClusterQdrantConnection")


def read(record: JsonObject) -> Mark | None:
    return mark_of({"config": {"metadata": {MARK_KEY: record}}}, record["collection"])


def has_format_of_the_first_release(record: JsonObject) -> bool:
    """What the reader of the first release asked of a mark, before it read anything else; else it said UnknownMark."""
    return type(record.get("format")) is int and record["format"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_mark_is_read_and_written_again_byte_for_byte(kind: str) -> None:
    mark = read(MARKS[kind])

    assert mark is not None
    assert mark.connection_kind == kind
    assert json.dumps(mark.metadata()[MARK_KEY]) == json.dumps(MARKS[kind])


def test_only_the_mark_of_a_cluster_wide_connection_is_refused_by_the_first_release() -> None:
    assert [kind for kind in KINDS if has_format_of_the_first_release(MARKS[kind])] == ["QdrantConnection"]


def test_a_mark_follows_its_resource_to_a_connection_of_another_kind() -> None:
    mark = read(MARKS["QdrantConnection"])
    assert mark is not None

    there = replace(mark, connection_kind="ClusterQdrantConnection")
    back = replace(there, connection_kind="QdrantConnection")

    assert there.metadata()[MARK_KEY]["format"] == 2
    assert there.release().metadata()[MARK_KEY]["format"] == 2
    assert json.dumps(back.metadata()[MARK_KEY]) == json.dumps(MARKS["QdrantConnection"])


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 1},
        {"format": 3},
        {"connection_kind": "QdrantConnection"},
        {"connection_kind": None},
        {"connection_kind": "LaterConnection"},
        {"kind": "Ledger"},
    ],
    ids=str,
)
def test_a_mark_whose_format_and_kind_of_connection_disagree_is_damaged(damage: JsonObject) -> None:
    with pytest.raises(Terminal) as raised:
        read(MARKS["ClusterQdrantConnection"] | damage)

    assert raised.value.reason is Reason.UNKNOWN_MARK


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_target_is_read_and_written_again_byte_for_byte(kind: str) -> None:
    target = PointSetTarget.model_validate(TARGETS[kind])

    assert target.connection_kind == (None if kind == "QdrantConnection" else kind)
    assert json.dumps(target.dump()) == json.dumps(TARGETS[kind])
    assert target == PointSetTarget.through(Ref(kind, "", "main"), target.collection, target.incarnation)


def test_a_target_of_a_later_release_is_not_taken_for_one_of_this_one() -> None:
    """As the first release does with `connectionKind`, a field that it does not know."""
    with pytest.raises(ValidationError):
        PointSetTarget.model_validate(TARGETS["QdrantConnection"] | {"later": "1"})

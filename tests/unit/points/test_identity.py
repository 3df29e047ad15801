"""Ids, against the very table that is published: the documentation and the code cannot disagree."""

import json
import re
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.points.identity import NAMESPACE, UnusableId, point_id

DOCUMENT = Path(__file__).parents[3] / "docs" / "point-ids.md"
SPELLED = "550E8400-E29B-41D4-A716-446655440000"


def published():
    """The rows of the table: what is declared, the format, and the id (None: refused)."""
    for line in DOCUMENT.read_text().splitlines():
        if not line.startswith("| `"):
            continue
        declared, *results = (cell.strip() for cell in line.strip("|").split("|"))
        for one in re.findall(r"`([^`]+)`", declared):
            for id_format, result in zip(("Auto", "Integer"), results, strict=True):
                yield json.loads(one), id_format, None if result == "refused" else parsed(result.strip("`"))


def parsed(text):
    return int(text) if text.isdecimal() else UUID(text)


def test_the_table_is_there():
    assert len(list(published())) >= 20


@pytest.mark.parametrize(("declared", "id_format", "expected"), list(published()))
def test_an_id_becomes_what_the_documentation_says(declared, id_format, expected):
    if expected is None:
        with pytest.raises(UnusableId):
            point_id(declared, id_format)
    else:
        assert point_id(declared, id_format) == expected


def test_the_namespace_is_the_published_one():
    assert str(NAMESPACE) in DOCUMENT.read_text()


@pytest.mark.parametrize(
    "spelling",
    [
        SPELLED,
        SPELLED.lower(),
        SPELLED.replace("-", ""),
        f"{{{SPELLED}}}",
        f"urn:uuid:{SPELLED}",
        f"URN:UUID:{SPELLED.lower()}",
    ],
)
def test_every_spelling_of_a_uuid_is_that_uuid(spelling):
    assert point_id(spelling) == UUID(SPELLED)


@pytest.mark.parametrize(
    "almost", [f"{{{SPELLED}", f"{SPELLED} ", SPELLED[:-1], f"{SPELLED}\n", "5-50E8400E29B41D4A716446655440000"]
)
def test_what_only_looks_like_a_uuid_is_a_string(almost):
    assert point_id(almost) == uuid5(NAMESPACE, almost)


def test_a_whole_float_is_the_integer_that_the_api_server_made_it_from():
    assert point_id(1.0) == point_id(1) == 1
    assert point_id(-0.0) == 0


@pytest.mark.parametrize(
    "declared", [2.0**53, 2.0**63, 1e300, -1, 2**64, None, float("nan"), float("inf"), "\ud800", [2**64]]
)
def test_an_id_that_cannot_be_told_is_refused(declared):
    with pytest.raises(UnusableId):
        point_id(declared)


@pytest.mark.parametrize(
    "declared", ["01", "+1", "-1", " 1", "1.0", "", "\uff11", str(2**64), "9" * 21, None, True, 1.5]
)
def test_the_integer_format_takes_decimal_digits_only(declared):
    with pytest.raises(UnusableId):
        point_id(declared, "Integer")


@given(st.integers(0, 2**64 - 1))
def test_every_64_bit_integer_is_itself_in_both_formats(number):
    assert point_id(number) == point_id(number, "Integer") == point_id(str(number), "Integer") == number


@given(st.text())
def test_every_text_is_an_id_and_always_the_same(text):
    assert isinstance(point_id(text), UUID)
    assert point_id(text) == point_id(str(text))

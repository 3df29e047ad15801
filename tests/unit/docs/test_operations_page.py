"""Whoever meets a reason finds in docs/operations.md what to do about it."""

import re
from collections import Counter
from pathlib import Path

from vectorops.api.reasons import Reason

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def test_each_reason_has_one_row_and_there_are_no_others():
    chapter = PAGE.read_text().split("## What to do about each reason")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z][A-Za-z, ]+) \| .+ \|$", chapter, re.MULTILINE)

    told = Counter(reason for row in rows for reason in row.split(", "))

    assert told == Counter(reason.value for reason in Reason)

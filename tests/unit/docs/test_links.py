"""A link from a page to another, or to a heading, leads there."""

import re
from pathlib import Path

import pytest

from documented import ROOT, pages

LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*?) *$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in LINK.finditer(FENCED.sub("", text)):
        target, anchor = link[1], link[2]
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(text if file == page else file.read_text())):
            found.append(link[0])
    return found


@pytest.mark.parametrize("page", pages())
def test_each_link_leads_somewhere(page: str) -> None:
    file = ROOT / page

    assert broken(file, file.read_text()) == []


def test_a_link_to_no_file_or_no_heading_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## What it does, and why\n")
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](other.md#what-it-does-and-why) [b](#here)\n[c](other.md#no) [d](gone.md) [e](#no)\n")

    assert broken(page, page.read_text()) == ["](other.md#no)", "](gone.md)", "](#no)"]

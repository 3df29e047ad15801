"""The pages for people who change the code name files that there are, and every package."""

import re

import pytest

from documented import ROOT

PACKAGE = ROOT / "operator/vectorops"
PAGES = [
    "docs/architecture.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs/decisions").glob("*.md")),
]
NAMED = re.compile(r"`([\w./-]+(?:/|\.py))`")
"""A folder or a file in backticks."""


@pytest.mark.parametrize("page", PAGES)
def test_each_file_that_a_page_names_exists(page):
    named = {name for name in NAMED.findall((ROOT / page).read_text()) if name != "vectorops/"}

    assert [name for name in sorted(named) if not (PACKAGE / name).exists() and not (ROOT / name).exists()] == []


def test_the_architecture_names_every_package():
    packages = {f"{folder.parent.name}/" for folder in PACKAGE.glob("*/__init__.py")}

    assert packages - set(NAMED.findall((ROOT / "docs/architecture.md").read_text())) == set()


@pytest.mark.parametrize("page", [page for page in PAGES if not page.endswith("README.md") and "decisions" in page])
def test_a_decision_says_what_else_was_weighed(page):
    headings = re.findall(r"^## (.*)", (ROOT / page).read_text(), re.MULTILINE)

    assert headings == ["Context", "Decision", "Weighed", "Consequences"]
    assert f"({page.rpartition('/')[2]})" in (ROOT / "docs/decisions/README.md").read_text()

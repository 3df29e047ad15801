"""requirements/lowest.txt, with which `make test-lowest` runs, has the oldest versions that pyproject.toml allows."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FLOOR = re.compile(r"([A-Za-z0-9-]+)>=([0-9.]+)")
PINNED = re.compile(r"^([a-z0-9-]+)==([^ ;\n]+)", re.MULTILINE)


def test_each_floor_can_be_installed():
    """uv takes a newer version, and says nothing, if another package asks for it: the floor is then never tried."""
    declared = [
        *PROJECT["project"]["dependencies"],
        *(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra),
        *(one for group in PROJECT["dependency-groups"].values() for one in group if isinstance(one, str)),
    ]
    floors = {one: FLOOR.fullmatch(one) for one in declared}
    pinned = set(PINNED.findall((ROOT / "requirements/lowest.txt").read_text()))

    assert [one for one, floor in floors.items() if floor is None] == []
    reached = {
        one
        for one, floor in floors.items()
        if floor and any((floor[1].lower(), floor[2] + end) in pinned for end in ("", ".0", ".0.0"))
    }
    assert sorted(floors.keys() - reached) == []


def test_the_lock_says_nothing_of_where_packages_come_from():
    assert [file.name for file in (ROOT / "requirements").iterdir() if "://" in file.read_text()] == []

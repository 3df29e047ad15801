"""Qdrant's rules: which parts of a collection can be changed in place, how, and since which version.

A new version of Qdrant adds a row. The first row that matches a path applies. What no row names is patched by value, as
Qdrant does with nearly everything. Measured on 1.16.3; what is said of newer versions was recorded from 1.19.0, or read
in the source or documentation that the row names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from vectorops.qdrant.connect import MINIMUM_VERSION
from vectorops.qdrant.observe import DATATYPE, Path

Version = tuple[int, ...]
"""(1, 16, 3), or the beginning of one: (1, 18) is older than (1, 18, 0), so it may stand for all of 1.18."""


class How(StrEnum):
    """How a difference is removed."""

    PATCH = "patch"
    """PATCH of the differing values alone: Qdrant merges."""
    PATCH_WHOLE = "patch whole"
    """PATCH of the whole object: Qdrant replaces it, a partial one would silently drop the rest."""
    RECREATE = "recreate"
    """Qdrant has no way, and silently ignores a PATCH that tries."""


@dataclass(frozen=True, slots=True)
class ChangeRule:
    """How the values below one path can be changed."""

    path: Path
    """`*` stands for any one name. The rule applies to the path itself and all below it."""
    how: How
    neutral: Any = None
    """The value that means the same as an absent one. Once it has been set, Qdrant returns it or nothing."""
    resets: bool = False
    """When a value that we set is no longer declared, `neutral` is sent. Without it the value stays: Qdrant cannot
    reset most values (null and {} do nothing).
    """
    exact: bool = False
    """A value that is there but not declared is a difference too."""
    filled: bool = False
    """Qdrant always returns a value, so one that does not come back is unknown to this server."""
    note: str = ""
    """For people: what they should know of the change."""


RULES: Final = (
    ChangeRule(("vectors", "*", "size"), How.RECREATE),
    ChangeRule(("vectors", "*", "distance"), How.RECREATE),
    ChangeRule(("vectors", "*", "datatype"), How.RECREATE),
    ChangeRule(("vectors", "*", "multivector_config"), How.RECREATE, exact=True),
    ChangeRule(("vectors", "*", "quantization_config"), How.PATCH_WHOLE, neutral="Disabled", resets=True),
    # Of the index alone: weights are stored as float32 whatever it says, and a rebuilt index has all of them (1.16.3).
    ChangeRule(
        ("sparse_vectors", "*", "index", "datatype"),
        How.PATCH,
        neutral=DATATYPE,
        note="in each segment when its index is next rebuilt",
    ),
    ChangeRule(("sparse_vectors", "*", "modifier"), How.PATCH, neutral="none", resets=True),
    ChangeRule(("params", "shard_number"), How.RECREATE, filled=True),
    ChangeRule(("params", "sharding_method"), How.RECREATE, neutral="auto"),
    ChangeRule(("wal_config",), How.RECREATE, filled=True),
    ChangeRule(("quantization_config",), How.PATCH_WHOLE, neutral="Disabled", resets=True),
    ChangeRule(("optimizers_config", "max_optimization_threads"), How.PATCH, neutral="auto", resets=True),
    ChangeRule(("strict_mode_config", "multivector_config"), How.PATCH_WHOLE),
    ChangeRule(("strict_mode_config", "sparse_config"), How.PATCH_WHOLE),
)
PATCHED: Final = ChangeRule((), How.PATCH)

PARTS: Final = 3
"""Numbers in a version."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How a placement in memory (Qdrant >= 1.19) overrides an older switch, where both are set."""

    switch: Path
    """Path of the switch."""
    placement: Path
    """Path of the placement, from the object that holds the switch."""
    same_as: Mapping[bool, tuple[str, ...]]
    """By value of the switch: the placements that mean the same; the first one is chosen."""

    def covers(self, path: Path) -> bool:
        """Is this the path of such a switch?"""
        return len(path) == len(self.switch) and _covers(self.switch, path)

    def placement_of(self, path: Path) -> Path:
        """Path of the placement beside the switch at `path`."""
        return (*path[:-1], *self.placement)


_ON_DISK: Final[Mapping[bool, tuple[str, ...]]] = {True: ("cold",), False: ("cached", "pinned")}
_IN_RAM: Final[Mapping[bool, tuple[str, ...]]] = {True: ("cold",), False: ("pinned", "cached")}

MEMORY: Final = (
    # Recorded from 1.19.0 with both set; what each placement means: Qdrant's page on memory tiers (#9684).
    Memory(("vectors", "*", "on_disk"), ("memory",), _ON_DISK),
    Memory(("vectors", "*", "hnsw_config", "on_disk"), ("memory",), _ON_DISK),
    Memory(("hnsw_config", "on_disk"), ("memory",), _ON_DISK),
    Memory(("sparse_vectors", "*", "index", "on_disk"), ("memory",), _IN_RAM),
    Memory(("params", "on_disk_payload"), ("payload", "memory"), _ON_DISK),
)
"""Payload indexes and quantizations need no row: they are compared and sent as a whole."""

VECTORS_ARE_ADDED: Final[Version] = (1, 18)
"""Since then Qdrant adds named vectors to an existing collection, also beside the unnamed one (#8605)."""
VECTORS_ARE_DELETED: Final[Version] = (1, 19)
"""Since then it deletes them safely, so a vector that cannot be changed in place is deleted and added again; other
vectors and the payloads stay. 1.18 deletes them too, but after a crash it drops whole points (#9105), or brings the old
vectors back under the name (#9317).
"""

DATATYPES: Final[Mapping[str, Version]] = {
    "turbo4": (1, 18, 2),  # refused by 1.16.3, taken by 1.19.0
    "turbo8": (1, 20),  # refused by 1.19.0; OpenAPI of 1.20
    "turbo16": (1, 20),
}
"""Datatypes of dense vectors that 1.16 does not know, to the version that brought each. Older versions refuse a request
that names one, in words about a format error.
"""


def rule_for(path: Path) -> ChangeRule:
    """The rule that applies to a path."""
    return next((rule for rule in RULES if _covers(rule.path, path)), PATCHED)


def _covers(pattern: Path, path: Path) -> bool:
    return len(path) >= len(pattern) and all(want in {"*", have} for want, have in zip(pattern, path, strict=False))


def parse_version(version: str) -> Version:
    """(1, 16, 3) of "1.16.3" and of "1.16.3-dev". For anything else the oldest supported version: nothing newer is
    expected of a custom build.
    """
    numbers = version.split("-", maxsplit=1)[0].split(".")
    if len(numbers) != PARTS or not all(number.isdecimal() for number in numbers):
        return MINIMUM_VERSION
    return tuple(map(int, numbers))

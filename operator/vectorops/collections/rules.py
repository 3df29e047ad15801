"""Qdrant's rules: which parts of a collection can be changed in place, how, and since which version.

A new version of Qdrant adds a row. The first row that matches a path holds; what no row names is patched by value,
which is what Qdrant does with nearly everything. Walked by `plan`. Measured on 1.16.3; see the version column of
Qdrant's OpenAPI for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from vectorops.qdrant.collections import DATATYPE, Path
from vectorops.qdrant.connect import MINIMUM_VERSION

Version = tuple[int, int]


class How(StrEnum):
    """How a difference is removed."""

    PATCH = "patch"
    """PATCH of the differing values alone: Qdrant merges."""
    PATCH_WHOLE = "patch whole"
    """PATCH of the whole object: Qdrant replaces it, a partial one would silently drop the rest."""
    RECREATE = "recreate"
    """Qdrant has no way, and silently ignores a PATCH that tries."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    path: `*` stands for any one name. The row holds for the path itself and all below it.
    neutral: the value that means the same as none; when it has been set, Qdrant echoes it or nothing.
    resets: when a value that we set is no longer declared, `neutral` is sent. Without it, what is no longer declared
    stays
        as it is: Qdrant cannot take back most values (null and {} do nothing).
    exact: what is there but not declared differs too.
    filled: Qdrant always gives a value back, so one that does not come back is unknown to this server.
    because: for people, why a new collection is needed.
    """

    path: Path
    how: How
    neutral: Any = None
    resets: bool = False
    exact: bool = False
    filled: bool = False
    because: str = ""


RULES: Final = (
    Rule(("vectors", "*", "size"), How.RECREATE),
    Rule(("vectors", "*", "distance"), How.RECREATE),
    Rule(("vectors", "*", "datatype"), How.RECREATE),
    Rule(("vectors", "*", "multivector_config"), How.RECREATE, exact=True),
    Rule(("vectors", "*", "quantization_config"), How.PATCH_WHOLE, neutral="Disabled", resets=True),
    # A PATCH is echoed, but what is stored is not converted: the echo would lie.
    Rule(
        ("sparse_vectors", "*", "index", "datatype"),
        How.RECREATE,
        neutral=DATATYPE,
        because="stored vectors are not converted",
    ),
    Rule(("sparse_vectors", "*", "modifier"), How.PATCH, neutral="none", resets=True),
    Rule(("params", "shard_number"), How.RECREATE, filled=True),
    Rule(("params", "sharding_method"), How.RECREATE, neutral="auto"),
    Rule(("wal_config",), How.RECREATE, filled=True),
    Rule(("quantization_config",), How.PATCH_WHOLE, neutral="Disabled", resets=True),
    Rule(("optimizers_config", "max_optimization_threads"), How.PATCH, neutral="auto", resets=True),
    Rule(("strict_mode_config", "multivector_config"), How.PATCH_WHOLE),
    Rule(("strict_mode_config", "sparse_config"), How.PATCH_WHOLE),
)
PATCHED: Final = Rule((), How.PATCH)

VECTORS_CHANGE_IN_PLACE: Final[Version] = (1, 18)
"""Since then Qdrant adds and removes named vectors of an existing collection (not the unnamed one). One that cannot be
changed in place is removed and added again: other vectors and the payloads stay."""


def rule_for(path: Path) -> Rule:
    """The row that holds for a path."""
    return next((rule for rule in RULES if _covers(rule.path, path)), PATCHED)


def _covers(pattern: Path, path: Path) -> bool:
    return len(path) >= len(pattern) and all(want in {"*", have} for want, have in zip(pattern, path, strict=False))


def parse_version(version: str) -> Version:
    """(1, 16) of "1.16.3", and of what is no version: a build of someone's own is trusted with the least."""
    numbers = version.split("-", maxsplit=1)[0].split(".")[:2]
    if len(numbers) != len(MINIMUM_VERSION) or not all(number.isdecimal() for number in numbers):
        return MINIMUM_VERSION
    return int(numbers[0]), int(numbers[1])

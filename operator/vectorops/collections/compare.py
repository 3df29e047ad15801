"""In which values an observed collection differs from the declared one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vectorops.api.meta import JsonObject
from vectorops.collections.last_applied import LastApplied
from vectorops.collections.resolve import Desired
from vectorops.collections.rules import MEMORY, ChangeRule, How, rule_for
from vectorops.collections.words import VECTORS, describe_path, shorten_value
from vectorops.qdrant.observe import Observed, Path, leaves, same, shown
from vectorops.same_json import is_same_json, is_within

INDEXES: Final = "payload_indexes"
"""First part of the path of an option of a payload index."""

METADATA: Final = "metadata"
"""First part of the path of a key of the metadata."""

METADATA_TOLERANCE: Final = 1e-12
"""Relative: when Qdrant reads JSON, the last digits of a fraction may change."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs."""

    path: Path
    want: Any
    """None: it should not be there."""
    have: Any
    """None: it is not there."""

    @property
    def rule(self) -> ChangeRule:
        return rule_for(self.path)

    def line(self) -> str:
        """`vector "text": size 384 -> 768`, `hnsw_config.m: 16 -> 32`."""
        if self.path[0] == METADATA:
            return f"metadata.{self.path[1]}: {shorten_value(self.have)} -> {shorten_value(self.want)}"
        place = describe_path(self.path) + ("" if self.path[0] in VECTORS else ":")
        line = f"{place} {shown(self.have)} -> {shown(self.want)}"
        return f"{line}, {self.rule.note}" if self.rule.note else line


def compare_config(
    desired: Desired, observed: Observed, last: LastApplied, settled: frozenset[Path]
) -> tuple[list[Difference], dict[Path, Any]]:
    """What differs in the configuration and in the vectors that both have, sorted by path; and the declared values that
    this server does not know.
    """
    want_tree, have_tree = desired.tree(), observed.tree()
    for kind in ("vectors", "sparse_vectors"):
        both = want_tree[kind].keys() & have_tree[kind].keys()
        want_tree[kind] = {name: want_tree[kind][name] for name in both}
        have_tree[kind] = {name: have_tree[kind][name] for name in both}
    want, have = leaves(want_tree), leaves(have_tree)
    found: list[Difference] = []
    unknown: dict[Path, Any] = {}
    for path, value in want.items():
        if path in settled or _is_as_declared(path, value, have):
            continue
        if rule_for(path).filled and path not in have:
            unknown[path] = value
        else:
            found.append(Difference(path, value, have.get(path)))
    replaced = {path[: len(rule.path)] for path in want if (rule := rule_for(path)).how is How.PATCH_WHOLE}
    for path, value in have.items():
        rule = rule_for(path)
        surplus = rule.exact or path[: len(rule.path)] in replaced
        if surplus and path not in want and path not in settled:
            found.append(Difference(path, None, value))
    found += _compare_memory(want, have, settled)
    for path in last.resets - resettable_paths(desired):
        neutral, left = rule_for(path).neutral, value_at(have_tree, path)
        if left is not None and not same(neutral, left) and path not in settled:
            found.append(Difference(path, neutral, left))
    return sorted(found, key=lambda difference: difference.path), unknown


def compare_metadata(
    desired: Desired, observed: Observed, last: LastApplied, settled: frozenset[Path]
) -> list[Difference]:
    """What differs in the metadata, by top-level key, as Qdrant merges it. Keys of others are left alone."""
    found, have = [], observed.metadata
    same_fractions = is_within(METADATA_TOLERANCE)
    for key, value in sorted((dict.fromkeys(last.metadata) | desired.metadata).items()):
        if value is None:
            is_as_declared = key not in have
        else:
            is_as_declared = key in have and is_same_json(value, have[key], same_fractions)
        if not is_as_declared and (METADATA, key) not in settled:
            found.append(Difference((METADATA, key), value, have.get(key)))
    return found


def compare_indexes(desired: Desired, observed: Observed, settled: frozenset[Path]) -> dict[str, list[Difference]]:
    """What differs in the payload indexes that both have, by path of the index. Equal ones are left out."""
    result = {}
    for field_path in sorted(desired.indexes.keys() & observed.indexes.keys()):
        want = leaves({INDEXES: {field_path: desired.indexes[field_path]}})
        have = leaves({INDEXES: {field_path: observed.indexes[field_path]}})
        changes = [
            Difference(path, want.get(path), have.get(path))
            for path in sorted((want.keys() | have.keys()) - settled)
            if not same(want.get(path), have.get(path))
        ]
        if changes:
            result[field_path] = changes
    return result


def resettable_paths(desired: Desired) -> frozenset[Path]:
    """Declared values that we can reset once they are no longer declared."""
    found = ((path, rule_for(path)) for path in leaves(desired.tree()))
    return frozenset(path[: len(rule.path)] for path, rule in found if rule.resets)


def value_at(tree: JsonObject, path: Path) -> Any:
    """The value at a path; None if there is none."""
    value: Any = tree
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _is_as_declared(path: Path, want: Any, have: Mapping[Path, Any]) -> bool:
    if want == {}:
        return any(other[: len(path)] == path for other in have)
    if path in have:
        return same(want, have[path])
    rule = rule_for(path)
    return rule.neutral is not None and len(rule.path) == len(path) and same(want, rule.neutral)


def _compare_memory(want: Mapping[Path, Any], have: Mapping[Path, Any], settled: frozenset[Path]) -> list[Difference]:
    """Placements in memory that others set, and that override an `on_disk` that is declared.

    They cannot be removed, so they are set to what means the same as the declared value.
    """
    found = []
    for row in MEMORY:
        for path, declared in want.items():
            if not row.covers(path) or not isinstance(declared, bool):
                continue
            placed = row.placement_of(path)
            overrides = placed in have and placed not in want and placed not in settled
            if overrides and have[placed] not in row.same_as[declared]:
                found.append(Difference(placed, row.same_as[declared][0], have[placed]))
    return found

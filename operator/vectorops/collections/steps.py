"""The steps of a plan, and those of them that create, patch and recreate the collection as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vectorops.api.meta import JsonObject
from vectorops.collections.compare import METADATA, Difference, value_at
from vectorops.collections.last_applied import LastApplied
from vectorops.collections.resolve import Desired
from vectorops.collections.rules import How, rule_for
from vectorops.collections.words import describe_params, name_vector, shorten_value
from vectorops.qdrant.database import UNNAMED, ShardKeyName
from vectorops.qdrant.marks import LEDGER_KEY, OUR_METADATA
from vectorops.qdrant.observe import DATATYPE, Observed, Path, is_sharded_by_key, same
from vectorops.words import counted


class Action(StrEnum):
    """What one step does."""

    CREATE_COLLECTION = "create collection"
    CREATE_VECTOR = "add vector"
    CREATE_SHARD_KEY = "create shard key"
    UPDATE_COLLECTION = "update collection"
    PUT_INDEX = "put index"
    CREATE_ALIAS = "create alias"
    MOVE_ALIAS = "move alias"
    DELETE_ALIAS = "delete alias"
    DELETE_INDEX = "delete index"
    DELETE_SHARD_KEY = "delete shard key"
    REPLACE_SHARD_KEY = "replace shard key"
    DELETE_VECTOR = "delete vector"
    REPLACE_VECTOR = "replace vector"
    REEMBED = "embed again"
    RECREATE_COLLECTION = "recreate collection"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan. Its action, target and lines are hashed for `approve-plan`, so their words must not change
    for the same step.
    """

    action: Action
    target: str
    """The name of the collection, vector, payload index, alias or shard key."""
    lines: tuple[str, ...]
    """For people: one line for each difference that the step removes."""
    body: JsonObject = field(default_factory=dict)
    """What is sent to Qdrant, without the mark."""
    points: int | None = None
    """Points of the shard key, if known."""
    since: str = ""
    """For RECREATE_COLLECTION: the version of Qdrant from which on an update in place would do; "" if none does."""

    def described(self, points: int | None = None) -> list[str]:
        """The lines, with what each step would cost.

        points: how many the collection has; None if the words must stay the same while points are written.
        """
        lost = "all points" if points is None else counted(points, "point")
        match self.action:
            case Action.RECREATE_COLLECTION:
                older = f" before Qdrant {self.since}" if self.since else ""
                cost = (
                    f"cannot be changed in place{older}: the collection must be deleted and created again; {lost} "
                    "would be lost"
                )
            case Action.DELETE_SHARD_KEY:
                cost = f"{self._count_points_of_key(points)} would be lost"
            case Action.REPLACE_SHARD_KEY:
                cost = (
                    "cannot be changed in place: the shard key must be deleted and created again; "
                    f"{self._count_points_of_key(points)} would be lost"
                )
            case Action.DELETE_VECTOR:
                cost = f"the vector of {lost} would be lost"
            case Action.REPLACE_VECTOR:
                cost = (
                    "cannot be changed in place: the vector must be deleted and added again; the vector of "
                    f"{lost} would be lost"
                )
            case Action.REEMBED:
                cost = (
                    f"the vectors of {lost} would be embedded again by their PointSets; points that no PointSet "
                    "manages keep vectors of the old model"
                )
            case _:
                return list(self.lines)
        return [f"{line} ({cost})" for line in self.lines]

    def _count_points_of_key(self, points: int | None) -> str:
        if points is None or self.points is None:
            return "its points"
        return f"its {counted(self.points, 'point')}"


def lines_of(steps: Iterable[Step]) -> list[str]:
    """The lines of all steps, without their cost."""
    return [line for step in steps for line in step.lines]


def create_collection(desired: Desired) -> Step:
    """Creates the collection with its metadata; indexes, aliases and shard keys have steps of their own."""
    details = [f"  {name_vector(name)}: {describe_params(params)}" for name, params in sorted(desired.vectors.items())]
    details += [f"  {name_vector(name)}: sparse" for name in sorted(desired.sparse_vectors)]
    metadata = {key: desired.metadata[key] for key in sorted(desired.metadata_keys)}
    details += [f"  metadata.{key}: {shorten_value(value)}" for key, value in metadata.items()]
    lines = (f"create collection {desired.name}", *details)
    body = create_body(desired.tree()) | ({METADATA: metadata} if metadata else {})
    return Step(Action.CREATE_COLLECTION, desired.name, lines, body)


def create_body(tree: JsonObject) -> JsonObject:
    """The body of a create. It is flat where PATCH has `params`, and a single unnamed vector lies flat as well."""
    body = {key: value for key, value in tree.items() if key != "params" and value}
    vectors = {
        name: {key: value for key, value in params.items() if (key, value) != ("datatype", DATATYPE)}
        for name, params in tree["vectors"].items()
    }
    return {**tree.get("params", {}), **body, "vectors": vectors[UNNAMED] if vectors.keys() == {UNNAMED} else vectors}


def update_collection(desired: Desired, found: Sequence[Difference], settled: frozenset[Path]) -> list[Step]:
    """One PATCH of the differing values alone; no step if nothing differs, because even an empty PATCH restarts the
    optimizers.
    """
    if not found:
        return []
    want = desired.tree()
    body: JsonObject = {}
    for difference in found:
        path, value = difference.path, difference.want
        if difference.rule.how is How.PATCH_WHOLE and not same(value, difference.rule.neutral):
            # Send the whole object: Qdrant replaces it, so a partial one would silently drop the rest.
            path = path[: len(difference.rule.path)]
            value = _without(value_at(want, path), path, settled)
        parent = body
        for key in path[:-1]:
            parent = parent.setdefault(key, {})
        parent[path[-1]] = value
    return [Step(Action.UPDATE_COLLECTION, desired.name, tuple(difference.line() for difference in found), body)]


def recreate_collection(
    desired: Desired, observed: Observed, last: LastApplied, lines: Iterable[str], since: str
) -> Step:
    """Deletes the collection and creates it as declared, with all that others have set on it: only data is lost.

    lines, since: see `Step`.
    """
    tree = observed.tree()
    for kind, wanted in (("vectors", desired.vectors), ("sparse_vectors", desired.sparse_vectors)):
        # A vector of one row a point is made by leaving `multivector_config` out, which a merge cannot say.
        tree[kind] = {
            name: {key: value for key, value in tree[kind].get(name, {}).items() if key != "multivector_config"}
            for name in wanted
        }
    metadata = {
        key: value
        for key, value in observed.metadata.items()
        if key not in last.metadata and (key == LEDGER_KEY or not key.startswith(OUR_METADATA))
    } | desired.metadata
    # In a create, a null is a value.
    metadata = {key: value for key, value in metadata.items() if value is not None}
    merged = _merged(tree, desired.tree())
    shard_keys: dict[ShardKeyName, JsonObject] = {}
    if is_sharded_by_key(merged.get("params") or {}):
        for key, there in observed.shard_keys.items():
            if key not in last.shard_keys:
                shard_keys[key] = {"shards_number": there.shards, "replication_factor": there.replicas}
        shard_keys.update(desired.shard_keys)
    # Our indexes that are no longer declared are not made again: strict mode may leave no room for them.
    others = {path: schema for path, schema in observed.indexes.items() if path not in last.indexes}
    body = {
        "collection": create_body(merged) | ({METADATA: metadata} if metadata else {}),
        "shard_keys": shard_keys,
        "indexes": others | dict(desired.indexes),
        "aliases": sorted(observed.aliases),
    }
    return Step(Action.RECREATE_COLLECTION, desired.name, tuple(lines), body, since=since)


def _without(value: Any, path: Path, settled: frozenset[Path]) -> Any:
    if not isinstance(value, Mapping):
        return value
    kept = {key: inner for key, inner in value.items() if (*path, key) not in settled}
    return {key: _without(inner, (*path, key), settled) for key, inner in kept.items()}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any], path: Path = ()) -> JsonObject:
    """`over` laid over `base`, by value; what Qdrant replaces as a whole is replaced here too."""
    result = dict(base)
    for key, value in over.items():
        below = base.get(key)
        rule = rule_for((*path, key))
        whole = rule.how is How.PATCH_WHOLE and len(rule.path) == len(path) + 1
        nested = isinstance(value, Mapping) and isinstance(below, Mapping) and not whole
        result[key] = _merged(below, value, (*path, key)) if nested else value  # type: ignore[arg-type]
    return result

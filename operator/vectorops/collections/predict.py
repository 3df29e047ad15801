"""What a collection will be like once a plan is carried out: what the points of its sets are then compared with.

Nothing is asked of Qdrant. Only what points depend on is predicted: vectors, shard keys, mark and metadata.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from vectorops.collections.plan import Plan
from vectorops.collections.steps import Action, Step
from vectorops.qdrant.database import ShardKeyName, ShardsOfKey
from vectorops.qdrant.marks import Mark
from vectorops.qdrant.observe import Observed

K = TypeVar("K")
V = TypeVar("V")

NO_SHARDS: Final = ShardsOfKey(shards=0, replicas=0, points=0)
"""Of a shard key that is not there yet."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One collection as it will be."""

    observed: Observed
    is_new: bool = False
    """Will it be another physical collection, without any point?"""
    lost_vectors: frozenset[str] = frozenset()
    """Vectors that all stored points lose."""
    empty_shard_keys: frozenset[ShardKeyName] = frozenset()
    """Shard keys under which no point is left."""


def predict(todo: Plan, mark: Mark, steps: Collection[Step]) -> Prediction:
    """The collection once these steps of the plan are done. mark: with its owner; the locks are filled in here."""
    found, wanted = todo.observed, todo.desired
    mark = replace(mark, embedders=todo.locks(approved=steps))
    recreate = next((step for step in steps if step.action is Action.RECREATE_COLLECTION), None)
    if recreate is not None or not found.exists:
        body = recreate.body["collection"] if recreate is not None else wanted.config.get("params") or {}
        params = {key: body[key] for key in ("sharding_method", "replication_factor") if key in body}
        shard_keys = recreate.body["shard_keys"] if recreate is not None else wanted.shard_keys
        made = Observed(
            name=wanted.name,
            exists=True,
            vectors=wanted.vectors,
            sparse_vectors=wanted.sparse_vectors,
            config={"params": params},
            holders=found.holders,
            shard_keys=dict.fromkeys(shard_keys, NO_SHARDS),
            distributed=found.distributed,
            metadata=mark.metadata(),
            mark=mark,
        )
        return Prediction(made, is_new=True)

    def targets(*actions: Action) -> frozenset[str]:
        return frozenset(step.target for step in steps if step.action in actions)

    made_vectors = targets(Action.CREATE_VECTOR, Action.REPLACE_VECTOR)
    gone_vectors = targets(Action.DELETE_VECTOR)
    made_keys = targets(Action.CREATE_SHARD_KEY, Action.REPLACE_SHARD_KEY)
    gone_keys = targets(Action.DELETE_SHARD_KEY)
    changed = replace(
        found,
        vectors=_changed(found.vectors, wanted.vectors, made_vectors, gone_vectors),
        sparse_vectors=_changed(found.sparse_vectors, wanted.sparse_vectors, made_vectors, gone_vectors),
        shard_keys=_changed(found.shard_keys, dict.fromkeys(made_keys, NO_SHARDS), made_keys, gone_keys),
        metadata=found.metadata | mark.metadata(),
        mark=mark,
    )
    lost = targets(Action.DELETE_VECTOR, Action.REPLACE_VECTOR)
    return Prediction(changed, lost_vectors=lost, empty_shard_keys=frozenset(made_keys))


def _changed(before: Mapping[K, V], wanted: Mapping[K, V], made: Set[K], gone: Set[K]) -> dict[K, V]:
    kept = {name: value for name, value in before.items() if name not in made | gone}
    return kept | {name: value for name, value in wanted.items() if name in made}

"""Steps about shard keys of a collection with `sharding_method: custom`."""

from __future__ import annotations

from vectorops.collections.last_applied import LastApplied
from vectorops.collections.resolve import Desired
from vectorops.collections.steps import Action, Step
from vectorops.qdrant.observe import Observed, is_sharded_by_key


def create_shard_keys(desired: Desired, observed: Observed) -> list[Step]:
    """Creates declared keys that are missing."""
    if observed.exists and not observed.is_sharded_by_key:
        return []
    missing = desired.shard_keys.keys() - observed.shard_keys.keys()
    return [
        Step(Action.CREATE_SHARD_KEY, key, (f'create shard key "{key}"',), desired.shard_keys[key])
        for key in sorted(missing)
    ]


def remove_shard_keys(desired: Desired, observed: Observed, last: LastApplied) -> list[Step]:
    """Deletes our keys that are no longer declared, and replaces those with another number of shards. Both lose the
    points of the key.

    The number and the place of its replicas are not compared: they change by themselves as nodes come and go.
    """
    steps = []
    for key, there in observed.shard_keys.items():
        if not isinstance(key, str):
            continue
        words, wanted = f'shard key "{key}"', desired.shard_keys.get(key)
        if wanted is None:
            if key in last.shard_keys:
                steps.append(Step(Action.DELETE_SHARD_KEY, key, (f"delete {words}",), points=there.points))
        elif (shards := wanted.get("shards_number", there.shards)) != there.shards:
            line = f"{words}: shardsNumber {there.shards} -> {shards}"
            steps.append(Step(Action.REPLACE_SHARD_KEY, key, (line,), wanted, points=there.points))
    return sorted(steps, key=lambda step: step.target)


def lacks_shard_key(desired: Desired, observed: Observed) -> bool:
    """Does a collection that needs a shard key have none, and get none? Qdrant then answers 400 to any change of its
    payload indexes.
    """
    params = (observed if observed.exists else desired).config.get("params") or {}
    return is_sharded_by_key(params) and not desired.shard_keys and not observed.shard_keys

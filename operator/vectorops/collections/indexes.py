"""Steps about payload indexes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from vectorops.collections.last_applied import LastApplied
from vectorops.collections.resolve import Desired
from vectorops.collections.steps import Action, Step
from vectorops.qdrant.observe import Observed, shown

STRICT_MODE: Final = "strict_mode_config"


def index_steps(desired: Desired, observed: Observed, changed: Collection[str], last: LastApplied) -> list[Step]:
    """Creates and replaces declared indexes, and deletes ours that are no longer declared.

    changed: paths of the indexes that both have, with other options. An index is replaced by putting it over the old
    one, and deletions come last, so that filters never lack an index. Where strict mode limits the number of indexes,
    deletions come first to make room: at the limit Qdrant refuses even an index that replaces another (1.16.3).
    """
    outdated = (last.indexes & observed.indexes.keys()) - desired.indexes.keys()
    deletions = [Step(Action.DELETE_INDEX, path, (f"delete payload index {path}",)) for path in sorted(outdated)]
    added = [path for path in sorted(desired.indexes) if path not in observed.indexes]
    replaced = sorted(desired.indexes.keys() & set(changed))
    strict = {**observed.config.get(STRICT_MODE, {}), **desired.config.get(STRICT_MODE, {})}
    limit = strict.get("max_payload_index_count") if strict.get("enabled") is True else None
    count = len(observed.indexes)
    if not isinstance(limit, int) or count + max(len(added), bool(replaced)) <= limit:
        return [*_put_indexes(desired, observed, [*replaced, *added]), *deletions]
    count -= len(outdated)
    steps = [*deletions]
    for path in replaced:
        if count == limit:
            # Filters lack it for a moment. Above the limit this would make no room: it could not be put again.
            steps.append(Step(Action.DELETE_INDEX, path, (f"delete payload index {path}, to make room",)))
        steps += _put_indexes(desired, observed, [path])
    return [*steps, *_put_indexes(desired, observed, added)]


def _put_indexes(desired: Desired, observed: Observed, paths: Iterable[str]) -> list[Step]:
    steps = []
    for path in paths:
        schema, before = desired.indexes[path], observed.indexes.get(path)
        line = f"create payload index {path}: {shown(schema)}"
        if before is not None:
            line = f"replace payload index {path}: {shown(before)} -> {shown(schema)}"
        steps.append(Step(Action.PUT_INDEX, path, (line,), schema))
    return steps

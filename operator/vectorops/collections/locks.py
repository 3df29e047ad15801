"""The embedder locks in a collection's mark: which model made the vectors that are stored.

They are JSON in the mark, because `qdrant` does not know embedders.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from vectorops.api.meta import JsonObject
from vectorops.embedders.base import Resolved
from vectorops.qdrant.marks import Mark


def locks_of(mark: Mark | None) -> dict[str, Resolved]:
    """The lock of each vector that has one, by the vector's name."""
    stored = mark.embedders if mark is not None else {}
    found = {name: Resolved.from_json(lock) for name, lock in stored.items() if isinstance(lock, Mapping)}
    return {name: lock for name, lock in found.items() if lock is not None}


def relocked(mark: Mark | None, wanted: Mapping[str, Resolved], *, keep: Collection[str]) -> JsonObject:
    """The new `Mark.embedders`.

    wanted: the declared embedders, by the vector's name. keep: vectors whose lock, or lack of one, must not change:
    what is stored in them was made by the model that the lock names, whatever is declared. Locks of vectors that are
    neither wanted nor kept are dropped.
    """
    stored, known = mark.embedders if mark is not None else {}, locks_of(mark)
    kept = {name: lock for name, lock in stored.items() if name in keep}
    # An equal lock keeps its bytes: a newer version may have written more fields.
    updated = {
        name: stored[name] if known.get(name) == resolved else resolved.to_json()
        for name, resolved in wanted.items()
        if name not in keep
    }
    return kept | updated


def describe_model_change(before: Resolved, after: Resolved) -> str:
    """`model a/b at c9745ed1d9f2 -> model X at 1234`, "" if both make the same vectors."""
    if before.identity == after.identity:
        return ""
    is_other = before.words != after.words
    changes = [f"{before.words} -> {after.words}" if is_other else before.words]
    fields = {
        "provider": (before.provider, after.provider),
        "document prompt": (before.document_prompt, after.document_prompt),
        "extraBody.documents": (_sorted_json(before.document_extra_body), _sorted_json(after.document_extra_body)),
    }
    changes += [f"{what} {was or 'none'!r} -> {is_ or 'none'!r}" for what, (was, is_) in fields.items() if was != is_]
    return ", ".join(changes)


def _sorted_json(fields: JsonObject) -> str:
    return json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else ""

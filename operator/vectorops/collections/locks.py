"""The embedder locks in a collection's mark: which model made the vectors that are stored.

Kept as JSON in the mark (`qdrant` does not know embedders), read by reconcilers, compared and rewritten by `plan`.
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
    """`Mark.embedders` as it is to become.

    wanted: the declared embedders, by the vector's name. keep: vectors whose lock must not change, although another
    embedder, or none, is declared: what is stored in them is of the model that the lock names, or of none that we know.
    The lock of a vector that is neither wanted nor kept goes.
    """
    stored, known = mark.embedders if mark is not None else {}, locks_of(mark)
    kept = {name: lock for name, lock in stored.items() if name in keep}
    # One that says the same stays as it is written: a newer version may have written more.
    told = {
        name: stored[name] if known.get(name) == resolved else resolved.to_json()
        for name, resolved in wanted.items()
        if name not in keep
    }
    return kept | told


def change_of_model(before: Resolved, after: Resolved) -> str:
    """`model a/b at c9745ed1d9f2 -> model X at 1234`, "" if both give every text the same vector."""
    if before.identity == after.identity:
        return ""
    is_other = before.words != after.words
    changes = [f"{before.words} -> {after.words}" if is_other else before.words]
    told = {
        "provider": (before.provider, after.provider),
        "document prompt": (before.document_prompt, after.document_prompt),
        "extraBody.documents": (_words(before.document_extra_body), _words(after.document_extra_body)),
    }
    changes += [f"{what} {was or 'none'!r} -> {is_ or 'none'!r}" for what, (was, is_) in told.items() if was != is_]
    return ", ".join(changes)


def _words(fields: JsonObject) -> str:
    return json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else ""

"""Steps about whole vectors: added, deleted, replaced, embedded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from vectorops.api.meta import JsonObject
from vectorops.collections.locks import describe_model_change, locks_of
from vectorops.collections.resolve import Desired
from vectorops.collections.rules import VECTORS_ARE_ADDED, VECTORS_ARE_DELETED, Version
from vectorops.collections.steps import Action, Step
from vectorops.collections.words import ABSENT, describe_vector, name_vector
from vectorops.embedders.base import Resolved
from vectorops.qdrant.database import UNNAMED
from vectorops.qdrant.observe import Observed

IDENTITY: Final = frozenset({"size", "distance", "datatype", "multivector_config"})
"""What a dense vector is made of, and cannot be changed by PATCH."""

NEVER: Final[Version] = ()
"""Stands for a version of Qdrant that does not exist."""


@dataclass(slots=True)
class VectorSteps:
    """What happens to the vectors of one collection."""

    added: list[Step] = field(default_factory=list)
    """Steps that lose nothing."""
    held: list[Step] = field(default_factory=list)
    """Steps that change single vectors in place, and lose what these hold."""
    impossible: list[str] = field(default_factory=list)
    """Lines about changes that this server cannot make in place."""
    since: Version | None = None
    """The version that can make all of them; None if none can, or if there are none."""
    differing: frozenset[str] = frozenset()
    """Declared vectors whose schema or model differs, and which `held` or a recreation would change."""


def vector_steps(
    desired: Desired, observed: Observed, changed: Mapping[str | None, Sequence[str]], version: Version
) -> VectorSteps:
    """Compares all vectors.

    changed: by the vector's name, lines about what differs in vectors that both have, and that no PATCH can change.
    version: the server's.
    """
    want: dict[str, JsonObject] = {**desired.vectors, **desired.sparse_vectors}
    have: dict[str, JsonObject] = {**observed.vectors, **observed.sparse_vectors}
    steps, locks = VectorSteps(), locks_of(observed.mark)
    newer: set[Version] = set()
    for name in sorted(want.keys() | have.keys()):
        words, before, after = name_vector(name), describe_vector(observed, name), describe_vector(desired, name)
        whole, lines = f"{words}: {before} -> {after}", list(changed.get(name, ()))
        since = VECTORS_ARE_ADDED if before == ABSENT else VECTORS_ARE_DELETED
        if name == UNNAMED:
            # A request cannot name it.
            since = NEVER
        in_place = since != NEVER and version >= since
        if before == ABSENT and in_place:
            added = f"add {words}: {after}"
            steps.added.append(Step(Action.CREATE_VECTOR, name, (added,), _vector_body(desired, name)))
            continue
        if after == ABSENT:
            if in_place:
                steps.held.append(Step(Action.DELETE_VECTOR, name, (f"delete {words}: {before}",)))
            else:
                steps.impossible.append(whole)
                newer.add(since)
            continue
        if before == ABSENT or (before == "sparse") != (after == "sparse"):
            lines = [whole]
        model = _describe_model(locks.get(name), desired.embedders.get(name), differs=bool(lines))
        if lines and model:
            lines[0] += f", {model}"
        if lines and in_place:
            # What others have set is set again on the new vector; what is declared is patched anyway.
            kept = {key: value for key, value in observed.vectors.get(name, {}).items() if key not in IDENTITY}
            body: JsonObject = {"vectors": {name: kept}} if kept and name in desired.vectors else {}
            steps.held.append(Step(Action.REPLACE_VECTOR, name, tuple(lines), body))
        elif model and not lines:
            steps.held.append(Step(Action.REEMBED, name, (f"{words}: {model}",)))
        if lines and not in_place:
            steps.impossible += lines
            newer.add(since)
        if lines or model:
            steps.differing |= {name}
    # NEVER is empty: the unnamed vector can be changed by no version.
    steps.since = max(newer, default=None) if all(newer) else None
    return steps


def _describe_model(locked: Resolved | None, wanted: Resolved | None, *, differs: bool) -> str:
    """How the model changes; "" if it does not, or if nobody knows.

    differs: has the vector another schema? Without a lock, one with the declared schema is taken for one of the
    declared model.
    """
    if wanted is None:
        return ""
    if locked is None:
        return f"as {wanted.words} gives it" if differs else ""
    return describe_model_change(locked, wanted)


def _vector_body(desired: Desired, name: str) -> JsonObject:
    """What a vector is made of when it is added; its other options follow with PATCH."""
    if name in desired.sparse_vectors:
        params = desired.sparse_vectors[name]
        datatype = params.get("index", {}).get("datatype")
        chosen = {"modifier": params.get("modifier"), "datatype": datatype}
        return {"sparse": {key: value for key, value in chosen.items() if value is not None}}
    return {"dense": {key: value for key, value in desired.vectors[name].items() if key in IDENTITY}}

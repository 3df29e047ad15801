"""What must change in a collection, decided without talking to anyone.

`make_plan` compares a desired collection with an observed one, both in normal form (see `qdrant.observe`), and
returns the steps between them as data. They are printed, hashed for `approve-plan`, or carried out by `apply`. Changes
that Qdrant can make in place are rows of `rules`; what loses data is held back.

What is no longer declared is left alone, except for values that can be reset (`ChangeRule.resets`) and for our indexes,
aliases, metadata keys and shard keys, which `LastApplied` in the mark lists.

Another model makes other vectors, even of the same size. The locks in the mark (`locks`) say which model made the
stored ones; the declared embedders are compared with them.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.collections.compare import (
    INDEXES,
    METADATA,
    Difference,
    compare_config,
    compare_indexes,
    compare_metadata,
    resettable_paths,
)
from vectorops.collections.handover import NO_HANDOVER, AliasHandover, alias_steps, aliases_elsewhere
from vectorops.collections.indexes import index_steps
from vectorops.collections.last_applied import LastApplied
from vectorops.collections.locks import locks_of, relocked
from vectorops.collections.resolve import Desired
from vectorops.collections.rules import DATATYPES, How, parse_version
from vectorops.collections.shard_keys import create_shard_keys, lacks_shard_key, remove_shard_keys
from vectorops.collections.steps import (
    Action,
    Step,
    create_collection,
    lines_of,
    recreate_collection,
    update_collection,
)
from vectorops.collections.vector_steps import vector_steps
from vectorops.collections.words import VECTORS, describe_path, name_vector, print_version
from vectorops.errors import Terminal
from vectorops.qdrant.observe import Observed, Path, leaves

T = TypeVar("T")

CURRENT_COLLECTION: Final = "the current collection"
"""The source, for people, of the schema of a vector whose change is held back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is between desired and observed."""

    desired: Desired
    observed: Observed
    version: str
    """The server's."""
    last: LastApplied
    doable: tuple[Step, ...]
    """Steps that `apply` may carry out, in this order."""
    held_back: tuple[Step, ...] = ()
    """Steps that lose data, for a person to approve."""
    held_vectors: frozenset[str] = frozenset()
    """Declared vectors that have another schema or another model until that is approved."""
    differences: tuple[Difference, ...] = ()
    """What the doable updates of the collection and of its indexes consist of."""
    unsupported: tuple[tuple[str, Any], ...] = ()
    """Declared values that this server does not know: path and value."""
    taken: tuple[tuple[str, str], ...] = ()
    """Declared aliases that lead elsewhere and are not moved: alias, and the collection that has the name."""
    premature: tuple[str, ...] = ()
    """Lines about payload indexes that cannot be made or deleted before the collection has a shard key."""
    handover: AliasHandover = NO_HANDOVER
    """Aliases that are moved."""

    @property
    def is_drift(self) -> bool:
        """Did others change the collection? False for a new, a first and an interrupted declaration."""
        another_try = bool(self.last.settled) and self.last.server != self.version
        changed = any(map(self._undoes_others, self.doable))
        return changed and self.last.spec == self.desired.hash and not another_try

    def _undoes_others(self, step: Step) -> bool:
        """Is the step there because something of ours was changed?

        An alias that we did not have yet belonged to another collection until now. An alias that is deleted had stayed
        for another collection, which no longer declares it.
        """
        if step.action in {Action.CREATE_ALIAS, Action.MOVE_ALIAS}:
            return step.target in self.last.aliases
        return step.action is not Action.DELETE_ALIAS

    @property
    def is_destructive(self) -> bool:
        """Would approving it lose data? Vectors that are embedded again from their texts are not lost."""
        return any(step.action is not Action.REEMBED for step in self.held_back)

    @property
    def hash(self) -> str:
        """Identifies what is held back: 12 hexadecimal digits, "" if nothing is. It is part of what approves the plan,
        and differs for another incarnation of the collection.
        """
        return self._hash(self.held_back)

    @property
    def drift_hash(self) -> str:
        """The same for all steps, for when drift is only reported, so that the doable ones wait for approval too."""
        return self._hash((*self.doable, *self.held_back))

    def _hash(self, steps: tuple[Step, ...]) -> str:
        if not steps:
            return ""
        incarnation = self.observed.mark.incarnation if self.observed.mark else ""
        content = [incarnation, self.last.approved, *([step.action, step.target, step.lines] for step in steps)]
        embedders = self.desired.embedders
        content += [[name, embedders[name].identity] for name in sorted(self.held_vectors & embedders.keys())]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:12]

    def describe(self, points: int | None = None) -> list[str]:
        """All steps for people, in order; see `Step.described`."""
        return [line for step in (*self.doable, *self.held_back) for line in step.described(points)]

    def locks(self, *, approved: Collection[Step] = ()) -> JsonObject:
        """`Mark.embedders` once the doable steps are done, and those of the approved ones that embed vectors again.

        A vector that does not exist yet is made by the declared model. A vector without a lock gets the declared one
        without approval if its schema is as declared.
        """
        reembedded = {step.target for step in approved if step.action is Action.REEMBED}
        present = self.observed.vectors.keys() | self.observed.sparse_vectors.keys()
        keep = (present - self.desired.embedders.keys()) | (self.held_vectors - reembedded)
        return relocked(self.observed.mark, self.desired.embedders, keep=keep)

    @property
    def in_force(self) -> Desired:
        """The declaration, with the current schema and model of those vectors whose change is held back."""
        wanted, observed, held, locks = self.desired, self.observed, self.held_vectors, locks_of(self.observed.mark)
        from_collection = dict.fromkeys(("kind", "size", "distance", "datatype"), CURRENT_COLLECTION)
        sources = {name: from_collection | dict(locks[name].sources if name in locks else {}) for name in held}
        return replace(
            wanted,
            vectors=_with_current(wanted.vectors, observed.vectors, held),
            sparse_vectors=_with_current(wanted.sparse_vectors, observed.sparse_vectors, held),
            embedders=_with_current(wanted.embedders, locks, held),
            sources=_with_current(wanted.sources, sources, held),
        )

    def remembered(self) -> LastApplied:
        """What the mark says once the doable steps are done."""
        settled = _settled_paths(self.desired, self.version, self.last)
        reserved = self.handover.reserved & self.last.aliases & self.observed.aliases
        return LastApplied(
            spec=self.desired.hash,
            indexes=frozenset(self.desired.indexes),
            aliases=self.desired.aliases - {alias for alias, _ in self.taken} | reserved,
            shard_keys=frozenset(self.desired.shard_keys) | (self.last.shard_keys & self.observed.shard_keys.keys()),
            metadata=self.desired.metadata_keys,
            resets=resettable_paths(self.desired),
            approved=self.last.approved,
            server=self.last.server if settled else "",
            settled=settled,
        )

    def intended(self) -> LastApplied:
        """What the mark says while the steps are carried out: all that we may make, and all that we may not have
        removed yet.
        """
        done = self.remembered()
        return replace(
            done,
            spec="",
            indexes=done.indexes | self.last.indexes,
            aliases=done.aliases | self.last.aliases,
            shard_keys=done.shard_keys | self.last.shard_keys,
            metadata=done.metadata | self.last.metadata,
            resets=done.resets | self.last.resets,
        )


def make_plan(
    desired: Desired,
    observed: Observed,
    *,
    version: str,
    last_applied: JsonObject,
    handover: AliasHandover = NO_HANDOVER,
) -> Plan:
    """The steps from observed to desired.

    version: the server's. last_applied: from the mark, {} if it is not ours. Raises Terminal UnknownMark.
    """
    last = LastApplied.from_json(last_applied)
    elsewhere = aliases_elsewhere(desired, observed)
    taken = tuple((alias, at) for alias, at in elsewhere.items() if handover.takeable.get(alias) != at)
    aliases = alias_steps(desired, observed, last, handover)
    settled: frozenset[Path] = frozenset()
    by_index: dict[str, list[Difference]] = {}
    if observed.exists:
        settled = _settled_paths(desired, version, last)
        by_index = compare_indexes(desired, observed, settled)
    indexes = index_steps(desired, observed, by_index, last)
    premature = tuple(lines_of(indexes)) if lacks_shard_key(desired, observed) else ()
    last_steps = (*(() if premature else indexes), *aliases)
    if not observed.exists:
        steps = (create_collection(desired), *create_shard_keys(desired, observed), *last_steps)
        return Plan(desired, observed, version, last, steps, taken=taken, premature=premature, handover=handover)
    found, unknown = compare_config(desired, observed, last, settled)
    frozen: dict[str | None, list[str]] = defaultdict(list)
    for difference in found:
        if difference.rule.how is How.RECREATE:
            frozen[difference.path[1] if difference.path[0] in VECTORS else None].append(difference.line())
    patched = [difference for difference in found if difference.rule.how is not How.RECREATE]
    patched += compare_metadata(desired, observed, last, settled)
    vectors = vector_steps(desired, observed, frozen, parse_version(version))
    held_back = [*vectors.held, *remove_shard_keys(desired, observed, last)]
    if frozen[None] or vectors.impossible:
        # A new collection makes the vectors and shard keys as well.
        lines = frozen[None] + vectors.impossible + lines_of(held_back)
        since = "" if frozen[None] or vectors.since is None else print_version(vectors.since)
        held_back = [recreate_collection(desired, observed, last, lines, since)]
    declared = leaves({**desired.tree(), INDEXES: dict(desired.indexes)})
    refused = {path: value for path, value in declared.items() if path in settled} | unknown
    refused |= {(METADATA, key): value for key, value in desired.metadata.items() if (METADATA, key) in settled}
    return Plan(
        desired,
        observed,
        version,
        last,
        doable=(
            *create_shard_keys(desired, observed),
            *vectors.added,
            *update_collection(desired, patched, settled),
            *last_steps,
        ),
        held_back=tuple(held_back),
        held_vectors=vectors.differing,
        differences=(*patched, *(difference for changes in by_index.values() for difference in changes)),
        unsupported=tuple((describe_path(path), value) for path, value in sorted(refused.items())),
        taken=taken,
        premature=premature,
        handover=handover,
    )


def require_known(desired: Desired, version: str) -> None:
    """Raises Terminal UnsupportedByServer for what the server would refuse in words about a format error."""
    for name, params in sorted(desired.vectors.items()):
        datatype = str(params.get("datatype"))
        since = DATATYPES.get(datatype)
        if since is not None and parse_version(version) < since:
            needs = f"datatype {datatype} needs Qdrant {print_version(since)}, and this is {version}"
            raise Terminal(Reason.UNSUPPORTED_BY_SERVER, f"{name_vector(name)}: {needs}")


def mismatches(desired: Desired, observed: Observed, *, version: str) -> list[str]:
    """What would have to be destroyed to make an existing collection the desired one; empty if it may be adopted."""
    return lines_of(make_plan(desired, observed, version=version, last_applied={}).held_back)


def differences(desired: Desired, observed: Observed, *, version: str) -> list[str]:
    """Everything in which an existing collection differs from the declaration, for one that is only compared."""
    # The user of an own collection knows which models made its vectors.
    compared = make_plan(desired, replace(observed, mark=None), version=version, last_applied={})
    taken = [f"alias {alias} leads to collection {holder!r}" for alias, holder in compared.taken]
    return [*lines_of((*compared.doable, *compared.held_back)), *compared.premature, *taken]


def _settled_paths(desired: Desired, version: str, last: LastApplied) -> frozenset[Path]:
    """What need not be sent again. Another declaration or another server version deserves another try."""
    return last.settled if (last.spec, last.server) == (desired.hash, version) else frozenset()


def _with_current(wanted: Mapping[str, T], current: Mapping[str, T], held: Collection[str]) -> dict[str, T]:
    """By the vector's name: what is wanted, but the current value of those that are held back."""
    kept = {name: value for name, value in wanted.items() if name not in held}
    return kept | {name: current[name] for name in held if name in current}

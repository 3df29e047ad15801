"""What must change in a collection, decided without talking to anyone.

`plan` compares a desired collection with an observed one, both in normal form (see `qdrant.collections`), and returns
the steps between them as data. The reconciler shows them, hashes them for `approve-plan`, or hands them to `apply`.
What can be done in place stands in `rules`; what cannot is held back.

What is no longer declared stays as it is, except for what Qdrant can take back (`Rule.resets`), and for indexes,
aliases, keys of the metadata and shard keys that are ours: `LastApplied`, kept in the mark, says which.

Another model makes other vectors, even of the same size. Which one made those that are stored is known by the locks in
the mark (`locks`): against them the declared embedders are compared.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.collections.locks import change_of_model, locks_of, relocked
from vectorops.collections.resolve import Desired
from vectorops.collections.rules import (
    DATATYPES,
    MEMORY,
    VECTORS_ARE_ADDED,
    VECTORS_ARE_DELETED,
    How,
    Rule,
    Version,
    parse_version,
    rule_for,
)
from vectorops.embedders.base import Resolved
from vectorops.errors import Terminal
from vectorops.qdrant.collections import DATATYPE, Observed, Path, is_sharded_by_key, leaves, same, shown
from vectorops.qdrant.database import UNNAMED, ShardKeyName
from vectorops.qdrant.marks import MARK_KEY, REGISTRATION_PREFIX
from vectorops.words import counted

T = TypeVar("T")

INDEXES: Final = "payload_indexes"
"""First part of the path of an option of a payload index."""

METADATA: Final = "metadata"
"""First part of the path of a key of the metadata."""

SHOWN_METADATA: Final = 60
"""Characters of a value in the metadata that people are shown."""

METADATA_TOLERANCE: Final = 1e-12
"""Of a fraction in the metadata, relative: Qdrant's own reading of JSON is a few units in the last place off."""

VECTORS: Final = frozenset({"vectors", "sparse_vectors"})
"""First parts of the paths of vectors."""

IDENTITY: Final = frozenset({"size", "distance", "datatype", "multivector_config"})
"""What a dense vector is made of, and cannot be changed by PATCH."""

NEVER: Final[Version] = ()
"""The version of Qdrant that can do what none can."""

AS_IT_IS: Final = "the collection as it is"
"""Where a vector's schema comes from whose change is held back, for people."""


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
    """One step.

    target: the collection, vector, index, alias or shard key that it is about. body: what Qdrant is sent, without the
    mark. lines: for people, one for each difference that the step removes. points: of the shard key that it is about,
    if that is known. since: of one that makes the collection anew, the version of Qdrant that need not.
    """

    action: Action
    target: str
    lines: tuple[str, ...]
    body: JsonObject = field(default_factory=dict)
    points: int | None = None
    since: str = ""

    def described(self, points: int | None = None) -> list[str]:
        """The lines with what they would cost. points: how many there are; leave it out where the words must not
        change.
        """
        lost = "all points" if points is None else counted(points, "point")
        match self.action:
            case Action.RECREATE_COLLECTION:
                again = "the collection must be deleted and created again"
                older = f" before Qdrant {self.since}" if self.since else ""
                cost = f"cannot be changed in place{older}: {again}; {lost} would be lost"
            case Action.DELETE_SHARD_KEY:
                cost = f"{self._of_the_key(points)} would be lost"
            case Action.REPLACE_SHARD_KEY:
                again = "the shard key must be deleted and created again"
                cost = f"cannot be changed in place: {again}; {self._of_the_key(points)} would be lost"
            case Action.DELETE_VECTOR:
                cost = f"the vector of {lost} would be lost"
            case Action.REPLACE_VECTOR:
                again = "the vector must be deleted and added again"
                cost = f"cannot be changed in place: {again}; that of {lost} would be lost"
            case Action.REEMBED:
                again = f"the vectors of {lost} would be made anew by their sets"
                cost = f"{again}; others' points keep vectors of the old model"
            case _:
                return list(self.lines)
        return [f"{line} ({cost})" for line in self.lines]

    def _of_the_key(self, points: int | None) -> str:
        if points is None or self.points is None:
            return "its points"
        return f"its {counted(self.points, 'point')}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not as it should be. want None: it should not be there; have None: it is not there."""

    path: Path
    want: Any
    have: Any

    @property
    def rule(self) -> Rule:
        return rule_for(self.path)

    def line(self) -> str:
        """`vector "text": size 384 -> 768`, `hnsw_config.m: 16 -> 32`."""
        if self.path[0] == METADATA:
            return f"metadata.{self.path[1]}: {_shortened(self.have)} -> {_shortened(self.want)}"
        change = f"{shown(self.have)} -> {shown(self.want)}"
        if self.path[0] in VECTORS:
            line = f"{_vector_words(self.path[1])}: {'.'.join(self.path[2:])} {change}"
        else:
            line = f"{'.'.join(self.path)}: {change}"
        return f"{line}, {self.rule.note}" if self.rule.note else line


@dataclass(frozen=True, slots=True)
class Passing:
    """Aliases that pass from one collection of this installation to another, so that they lead somewhere all the while.

    free: those that are declared here and may be taken: alias to the collection that it is taken from.
    left: those that are declared here no longer, and stay until another collection, which declares them, takes them.
    """

    free: Mapping[str, str] = field(default_factory=dict)
    left: frozenset[str] = frozenset()


NONE_PASS: Final = Passing()


@dataclass(frozen=True, slots=True)
class LastApplied:
    """What the mark remembers of what we did.

    spec: hash of the declaration that was carried out to its end; "" while one is being carried out.
    indexes, aliases, shard_keys, metadata (its keys): those that are ours, to be removed when they are no longer
    declared.
    resets: paths of values that we set and can take back.
    approved: how many approved plans about single vectors were begun; each gives the same plan, later, another hash.
    server, settled: on this version these values did not become what we sent, so we do not send them again.
    """

    spec: str = ""
    indexes: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    shard_keys: frozenset[str] = frozenset()
    metadata: frozenset[str] = frozenset()
    resets: frozenset[Path] = frozenset()
    approved: int = 0
    server: str = ""
    settled: frozenset[Path] = frozenset()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LastApplied:
        """As kept in the mark. Nothing that is missing matters. Raises Terminal UnknownMark if somebody damaged it."""
        texts = [stored.get(key, "") for key in ("spec", "server")]
        names = [stored.get(key, []) for key in ("indexes", "aliases", "shard_keys", "metadata")]
        paths = [stored.get(key, []) for key in ("resets", "settled")]
        approved = stored.get("approved", 0)
        if not (
            all(isinstance(text, str) for text in texts)
            and all(map(_is_list_of_texts, names))
            and all(isinstance(some, list) and all(map(_is_list_of_texts, some)) for some in paths)
            and type(approved) is int
        ):
            raise Terminal(
                Reason.UNKNOWN_MARK, "`last_applied` in the ownership mark of the collection is damaged; mend the mark"
            )
        return cls(
            spec=texts[0],
            indexes=frozenset(names[0]),
            aliases=frozenset(names[1]),
            shard_keys=frozenset(names[2]),
            metadata=frozenset(names[3]),
            resets=frozenset(map(tuple, paths[0])),
            approved=approved,
            server=texts[1],
            settled=frozenset(map(tuple, paths[1])),
        )

    def to_json(self) -> JsonObject:
        """The shortest form, always the same for the same content."""
        stored: JsonObject = {
            "spec": self.spec,
            "indexes": sorted(self.indexes),
            "aliases": sorted(self.aliases),
            "shard_keys": sorted(self.shard_keys),
            "metadata": sorted(self.metadata),
            "resets": [list(path) for path in sorted(self.resets)],
            "approved": self.approved,
            "server": self.server,
            "settled": [list(path) for path in sorted(self.settled)],
        }
        return {key: value for key, value in stored.items() if value}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is between desired and observed.

    doable: steps that `apply` may carry out, in this order. held_back: steps that lose data, for a person to approve.
    held_vectors: the declared vectors that are something else, in schema or by their model, until that is approved.
    differences: what the doable update of the collection and of its indexes is made of.
    unsupported: declared values that this server does not know: path and value.
    taken: declared aliases that lead elsewhere: alias and the collection that has the name. They are not moved.
    passing: the aliases that are.
    premature: payload indexes that cannot be made or deleted before the collection has a shard key.
    """

    desired: Desired
    observed: Observed
    version: str
    last: LastApplied
    doable: tuple[Step, ...]
    held_back: tuple[Step, ...] = ()
    held_vectors: frozenset[str] = frozenset()
    differences: tuple[Difference, ...] = ()
    unsupported: tuple[tuple[str, Any], ...] = ()
    taken: tuple[tuple[str, str], ...] = ()
    premature: tuple[str, ...] = ()
    passing: Passing = NONE_PASS

    @property
    def is_drift(self) -> bool:
        """Was the collection changed by others? (Or else by a new declaration, a first one, or one that was
        interrupted.)
        """
        another_try = bool(self.last.settled) and self.last.server != self.version
        changed = any(map(self._undoes_others, self.doable))
        return changed and self.last.spec == self.desired.hash and not another_try

    def _undoes_others(self, step: Step) -> bool:
        """Is the step there because something of ours was changed? An alias that we did not have yet was another
        collection's until now, and one that is deleted was left to another that wants it no more.
        """
        if step.action in {Action.CREATE_ALIAS, Action.MOVE_ALIAS}:
            return step.target in self.last.aliases
        return step.action is not Action.DELETE_ALIAS

    @property
    def is_destructive(self) -> bool:
        """Would approving it lose data? Vectors that are made anew from their texts are not lost."""
        return any(step.action is not Action.REEMBED for step in self.held_back)

    @property
    def hash(self) -> str:
        """What tells what is held back from anything else: 12 hexadecimal digits, "" if nothing is. Another incarnation
        has another one. What approves it is made of this: see `reconcilers.approvals`.
        """
        return self._hash(self.held_back)

    @property
    def drift_hash(self) -> str:
        """The same for all steps, where drift is only reported and the doable ones wait for approval too."""
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
        """`Mark.embedders` once the doable steps are done, and those of the approved ones that make vectors anew.

        A vector that is not there yet is made by the declared model. One that has no lock gets it without asking, if
        it looks as declared.
        """
        again = {step.target for step in approved if step.action is Action.REEMBED}
        present = self.observed.vectors.keys() | self.observed.sparse_vectors.keys()
        keep = (present - self.desired.embedders.keys()) | (self.held_vectors - again)
        return relocked(self.observed.mark, self.desired.embedders, keep=keep)

    @property
    def in_force(self) -> Desired:
        """What is declared, but vectors that are held back as they are, with the models that made them."""
        wanted, observed, held, locks = self.desired, self.observed, self.held_vectors, locks_of(self.observed.mark)
        return replace(
            wanted,
            vectors=_as_they_are(held, wanted.vectors, observed.vectors),
            sparse_vectors=_as_they_are(held, wanted.sparse_vectors, observed.sparse_vectors),
            embedders=_as_they_are(held, wanted.embedders, locks),
            sources=_as_they_are(held, wanted.sources, {name: _sources_as_they_are(locks.get(name)) for name in held}),
        )

    def remembered(self) -> LastApplied:
        """What the mark says once the doable steps are done."""
        return LastApplied(
            spec=self.desired.hash,
            indexes=frozenset(self.desired.indexes),
            aliases=self.desired.aliases - {alias for alias, _ in self.taken} | self._left,
            shard_keys=frozenset(self.desired.shard_keys) | (self.last.shard_keys & self.observed.shard_keys.keys()),
            metadata=_declared_keys(self.desired),
            resets=_resettable(self.desired),
            approved=self.last.approved,
            server=self.last.server if self._settled() else "",
            settled=self._settled(),
        )

    def intended(self) -> LastApplied:
        """What the mark says while they are being done: nothing that we may make, or not yet have removed, is
        forgotten.
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

    @property
    def _left(self) -> frozenset[str]:
        return self.passing.left & self.last.aliases & self.observed.aliases

    def _settled(self) -> frozenset[Path]:
        return _settled(self.desired, self.version, self.last)


def plan(
    desired: Desired, observed: Observed, *, version: str, last_applied: JsonObject, passing: Passing = NONE_PASS
) -> Plan:
    """The steps from observed to desired. version: the server's; last_applied: from the mark, {} if there is none of
    ours.
    """
    last = LastApplied.from_json(last_applied)
    taken = tuple((alias, at) for alias, at in elsewhere(desired, observed).items() if passing.free.get(alias) != at)
    aliases = _alias_steps(desired, observed, last, passing)
    if not observed.exists:
        indexes = _index_steps(desired, observed, {}, last)
        premature = _premature(desired, observed, indexes)
        steps = (
            _create(desired),
            *_shard_key_steps(desired, observed),
            *(() if premature else indexes),
            *aliases,
        )
        return Plan(desired, observed, version, last, steps, taken=taken, passing=passing, premature=premature)
    settled = _settled(desired, version, last)
    found, unknown = _config_differences(desired, observed, last, settled)
    held = [difference for difference in found if difference.rule.how is How.RECREATE]
    by_vector: dict[str | None, list[str]] = defaultdict(list)
    for difference in held:
        by_vector[_vector_of(difference)].append(difference.line())
    patched = [difference for difference in found if difference.rule.how is not How.RECREATE]
    patched += _metadata_differences(desired, observed, last, settled)
    by_index = _index_differences(desired, observed, settled)
    vectors = _vector_steps(desired, observed, by_vector, parse_version(version))
    shard_keys = _held_shard_key_steps(desired, observed, last)
    indexes = _index_steps(desired, observed, by_index, last)
    premature = _premature(desired, observed, indexes)
    doable = (
        *_shard_key_steps(desired, observed),
        *vectors.added,
        *_update(desired, patched, settled),
        *(() if premature else indexes),
        *aliases,
    )
    refused = {path: value for path, value in leaves(_full_tree(desired)).items() if path in settled} | unknown
    refused |= {(METADATA, key): value for key, value in desired.metadata.items() if (METADATA, key) in settled}
    return Plan(
        desired,
        observed,
        version,
        last,
        doable,
        held_back=_held_back(desired, observed, last, by_vector[None], vectors, shard_keys),
        held_vectors=vectors.unlike,
        differences=(*patched, *(difference for changes in by_index.values() for difference in changes)),
        unsupported=tuple((_path_words(path), value) for path, value in sorted(refused.items())),
        taken=taken,
        premature=premature,
        passing=passing,
    )


def elsewhere(desired: Desired, observed: Observed) -> dict[str, str]:
    """Declared aliases that lead to another collection, or are the name of one: alias to that collection."""
    found = {alias: observed.holders.get(alias, desired.name) for alias in sorted(desired.aliases)}
    return {alias: at for alias, at in found.items() if at != desired.name}


def require_known(desired: Desired, version: str) -> None:
    """Raises Terminal UnsupportedByServer for what the server would refuse in words about a format error."""
    for name, params in sorted(desired.vectors.items()):
        datatype = str(params.get("datatype"))
        since = DATATYPES.get(datatype)
        if since is not None and parse_version(version) < since:
            needs = f"datatype {datatype} needs Qdrant {_version_words(since)}, and this is {version}"
            raise Terminal(Reason.UNSUPPORTED_BY_SERVER, f"{_vector_words(name)}: {needs}")


def mismatches(desired: Desired, observed: Observed, *, version: str) -> list[str]:
    """What of an existing collection would have to be destroyed to make it the desired one; empty if it may be
    adopted.
    """
    return _first_lines(plan(desired, observed, version=version, last_applied={}).held_back)


def differences(desired: Desired, observed: Observed, *, version: str) -> list[str]:
    """Everything in which an existing collection differs from the declaration, for one that is only compared."""
    # Which models made the vectors of a collection of the user's, its user knows.
    compared = plan(desired, replace(observed, mark=None), version=version, last_applied={})
    taken = [f"alias {alias} leads to collection {holder!r}" for alias, holder in compared.taken]
    return [*_first_lines((*compared.doable, *compared.held_back)), *compared.premature, *taken]


def _held_back(
    desired: Desired,
    observed: Observed,
    last: LastApplied,
    others: list[str],
    vectors: _VectorSteps,
    shard_keys: Iterable[Step],
) -> tuple[Step, ...]:
    """others: lines about what is no vector, and takes another collection. That makes vectors and shard keys as well.

    shard_keys: steps about single ones.
    """
    in_place = (*vectors.held, *shard_keys)
    if not others and not vectors.impossible:
        return in_place
    lines = others + vectors.impossible + _first_lines(in_place)
    since = "" if others or vectors.since is None else _version_words(vectors.since)
    return (_recreate(desired, observed, last, lines, since),)


def _first_lines(steps: Iterable[Step]) -> list[str]:
    return [line for step in steps for line in step.lines]


# ----------------------------------------------------------------------------------------------------------- comparison


def _config_differences(
    desired: Desired, observed: Observed, last: LastApplied, settled: frozenset[Path]
) -> tuple[list[Difference], dict[Path, Any]]:
    """What differs in the vectors that both have and in the blocks, sorted by path; and what this server does not
    know.
    """
    want_tree, have_tree = _common(desired, observed)
    want, have = leaves(want_tree), leaves(have_tree)
    found: list[Difference] = []
    unknown: dict[Path, Any] = {}
    for path, value in want.items():
        if path in settled or _agrees(path, value, have):
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
    found += _overridden(want, have, settled)
    for path in last.resets - _resettable(desired):
        neutral, left = rule_for(path).neutral, _at(have_tree, path)
        if left is not None and not same(neutral, left) and path not in settled:
            found.append(Difference(path, neutral, left))
    return sorted(found, key=lambda difference: difference.path), unknown


def _metadata_differences(
    desired: Desired, observed: Observed, last: LastApplied, settled: frozenset[Path]
) -> list[Difference]:
    """By top-level key, as Qdrant merges. What others have put beside is left alone."""
    found, have = [], observed.metadata
    for key, value in sorted((dict.fromkeys(last.metadata) | desired.metadata).items()):
        is_so = key not in have if value is None else key in have and _same_json(value, have[key])
        if not is_so and (METADATA, key) not in settled:
            found.append(Difference((METADATA, key), value, have.get(key)))
    return found


def _same_json(want: Any, have: Any) -> bool:
    """Is it the same JSON, but for the last digits of fractions?"""
    if isinstance(want, bool) or isinstance(have, bool):
        return want is have
    if isinstance(want, float) or isinstance(have, float):
        are_numbers = isinstance(want, int | float) and isinstance(have, int | float)
        return are_numbers and math.isclose(float(want), float(have), rel_tol=METADATA_TOLERANCE)
    if isinstance(want, list) and isinstance(have, list):
        return len(want) == len(have) and all(map(_same_json, want, have))
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        return want.keys() == have.keys() and all(_same_json(value, have[key]) for key, value in want.items())
    return bool(want == have)


def _declared_keys(desired: Desired) -> frozenset[str]:
    """Of the metadata, those that are to be there."""
    return frozenset(key for key, value in desired.metadata.items() if value is not None)


def _overridden(want: Mapping[Path, Any], have: Mapping[Path, Any], settled: frozenset[Path]) -> list[Difference]:
    """Placements in memory that others set, and that override one that is declared in the older way.

    They cannot be taken back, so they are set to what means the same.
    """
    found = []
    for row in MEMORY:
        for path, declared in want.items():
            if not row.covers(path) or not isinstance(declared, bool):
                continue
            placed = row.placement_of(path)
            hidden = placed in have and placed not in want and placed not in settled
            if hidden and have[placed] not in row.same_as[declared]:
                found.append(Difference(placed, row.same_as[declared][0], have[placed]))
    return found


def _agrees(path: Path, want: Any, have: Mapping[Path, Any]) -> bool:
    if want == {}:
        return any(other[: len(path)] == path for other in have)
    if path in have:
        return same(want, have[path])
    rule = rule_for(path)
    return rule.neutral is not None and len(rule.path) == len(path) and same(want, rule.neutral)


def _common(desired: Desired, observed: Observed) -> tuple[JsonObject, JsonObject]:
    """Both trees, with only those vectors that are in both."""
    want, have = desired.tree(), observed.tree()
    for kind in ("vectors", "sparse_vectors"):
        both = want[kind].keys() & have[kind].keys()
        want[kind] = {name: want[kind][name] for name in both}
        have[kind] = {name: have[kind][name] for name in both}
    return want, have


def _index_differences(desired: Desired, observed: Observed, settled: frozenset[Path]) -> dict[str, list[Difference]]:
    """What differs in the indexes that both have, by index; those without a difference left out."""
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


def _settled(desired: Desired, version: str, last: LastApplied) -> frozenset[Path]:
    """What need not be sent again. Another declaration or another server version deserves another try."""
    return last.settled if (last.spec, last.server) == (desired.hash, version) else frozenset()


def _as_they_are(held: Collection[str], wanted: Mapping[str, T], stored: Mapping[str, T]) -> dict[str, T]:
    """By the vector's name: what is wanted, and of those that are held back what is stored."""
    left = {name: value for name, value in wanted.items() if name not in held}
    return left | {name: stored[name] for name in held if name in stored}


def _sources_as_they_are(lock: Resolved | None) -> dict[str, str]:
    sources = lock.sources if lock is not None else {}
    return dict.fromkeys(("kind", "size", "distance", "datatype"), AS_IT_IS) | dict(sources)


def _resettable(desired: Desired) -> frozenset[Path]:
    found = ((path, rule_for(path)) for path in leaves(desired.tree()))
    return frozenset(path[: len(rule.path)] for path, rule in found if rule.resets)


def _full_tree(desired: Desired) -> JsonObject:
    return {**desired.tree(), INDEXES: dict(desired.indexes)}


def _at(tree: JsonObject, path: Path) -> Any:
    value: Any = tree
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


# ---------------------------------------------------------------------------------------------------------------- steps


def _create(desired: Desired) -> Step:
    indent = [f"  {_vector_words(name)}: {_schema_words(params)}" for name, params in sorted(desired.vectors.items())]
    indent += [f"  {_vector_words(name)}: sparse" for name in sorted(desired.sparse_vectors)]
    metadata = {key: desired.metadata[key] for key in sorted(_declared_keys(desired))}
    indent += [f"  metadata.{key}: {_shortened(value)}" for key, value in metadata.items()]
    lines = (f"create collection {desired.name}", *indent)
    body = create_body(desired.tree()) | ({"metadata": metadata} if metadata else {})
    return Step(Action.CREATE_COLLECTION, desired.name, lines, body)


def create_body(tree: JsonObject) -> JsonObject:
    """The body of a create: flat, where PATCH has `params`; a single unnamed vector flat too."""
    body = {key: value for key, value in tree.items() if key != "params" and value}
    vectors = {
        name: {key: value for key, value in params.items() if (key, value) != ("datatype", DATATYPE)}
        for name, params in tree["vectors"].items()
    }
    return {**tree.get("params", {}), **body, "vectors": vectors[UNNAMED] if vectors.keys() == {UNNAMED} else vectors}


def _update(desired: Desired, found: list[Difference], settled: frozenset[Path]) -> list[Step]:
    """One PATCH of the differing values alone; none if nothing differs, because even an empty one restarts the
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
            value = _without(_at(want, path), path, settled)
        _put(body, path, value)
    return [Step(Action.UPDATE_COLLECTION, desired.name, tuple(difference.line() for difference in found), body)]


def _put(body: JsonObject, path: Path, value: Any) -> None:
    for key in path[:-1]:
        body = body.setdefault(key, {})
    body[path[-1]] = value


def _without(value: Any, path: Path, settled: frozenset[Path]) -> Any:
    if not isinstance(value, Mapping):
        return value
    kept = {key: inner for key, inner in value.items() if (*path, key) not in settled}
    return {key: _without(inner, (*path, key), settled) for key, inner in kept.items()}


@dataclass(slots=True)
class _VectorSteps:
    """added: doable. held: what changes single vectors in place, and loses what they hold. impossible: lines about
    what neither can do on this server. since: which one can do all of that; None: none, or this one. unlike: see
    `Plan.held_vectors`.
    """

    added: list[Step] = field(default_factory=list)
    held: list[Step] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    since: Version | None = None
    unlike: frozenset[str] = frozenset()


def _vector_steps(
    desired: Desired, observed: Observed, changed: Mapping[str | None, list[str]], version: Version
) -> _VectorSteps:
    """What happens to whole vectors. changed: lines about those that both have, and that no PATCH makes alike."""
    want: dict[str, JsonObject] = {**desired.vectors, **desired.sparse_vectors}
    have: dict[str, JsonObject] = {**observed.vectors, **observed.sparse_vectors}
    steps, locks = _VectorSteps(), locks_of(observed.mark)
    newer: set[Version] = set()
    for name in sorted(want.keys() | have.keys()):
        words, before, after = _vector_words(name), _kind_words(observed, name), _kind_words(desired, name)
        whole, lines = f"{words}: {before} -> {after}", list(changed.get(name, ()))
        since = VECTORS_ARE_ADDED if before == "absent" else VECTORS_ARE_DELETED
        if name == UNNAMED:
            # It has no name that the request could carry.
            since = NEVER
        in_place = since != NEVER and version >= since
        if before == "absent" and in_place:
            added = f"add {words}: {after}"
            steps.added.append(Step(Action.CREATE_VECTOR, name, (added,), _vector_body(desired, name)))
            continue
        if after == "absent":
            if in_place:
                steps.held.append(Step(Action.DELETE_VECTOR, name, (f"delete {words}: {before}",)))
            else:
                steps.impossible.append(whole)
                newer.add(since)
            continue
        if before == "absent" or (before == "sparse") != (after == "sparse"):
            lines = [whole]
        model = _model_words(locks.get(name), desired.embedders.get(name), unlike=bool(lines))
        if lines and model:
            lines[0] += f", {model}"
        if lines and in_place:
            kept = _kept_options(desired, observed, name)
            steps.held.append(Step(Action.REPLACE_VECTOR, name, tuple(lines), kept))
        elif model and not lines:
            steps.held.append(Step(Action.REEMBED, name, (f"{words}: {model}",)))
        if lines and not in_place:
            steps.impossible += lines
            newer.add(since)
        if lines or model:
            steps.unlike |= {name}
    # Of the unnamed vector no server can.
    steps.since = max(newer, default=None) if all(newer) else None
    return steps


def _vector_of(difference: Difference) -> str | None:
    return difference.path[1] if difference.path[0] in VECTORS else None


def _model_words(locked: Resolved | None, wanted: Resolved | None, *, unlike: bool) -> str:
    """How the model changes, "" if it does not, or if nobody knows that it does.

    unlike: does the vector differ from the declared one? If not, and nothing tells which model made what is stored, it
    is taken for the declared one.
    """
    if wanted is None:
        return ""
    if locked is None:
        return f"as {wanted.words} gives it" if unlike else ""
    return change_of_model(locked, wanted)


def _kept_options(desired: Desired, observed: Observed, name: str) -> JsonObject:
    """A PATCH of what others have set on a vector that is to be replaced; what is declared is patched anyway."""
    if name not in desired.vectors:
        return {}
    kept = {key: value for key, value in observed.vectors.get(name, {}).items() if key not in IDENTITY}
    return {"vectors": {name: kept}} if kept else {}


def _vector_body(desired: Desired, name: str) -> JsonObject:
    """What a vector is made of when it is added; its other options follow with PATCH."""
    if name in desired.sparse_vectors:
        params = desired.sparse_vectors[name]
        datatype = params.get("index", {}).get("datatype")
        chosen = {"modifier": params.get("modifier"), "datatype": datatype}
        return {"sparse": {key: value for key, value in chosen.items() if value is not None}}
    return {"dense": {key: value for key, value in desired.vectors[name].items() if key in IDENTITY}}


def _shard_key_steps(desired: Desired, observed: Observed) -> list[Step]:
    if observed.exists and not observed.is_sharded_by_key:
        return []
    missing = desired.shard_keys.keys() - observed.shard_keys.keys()
    return [
        Step(Action.CREATE_SHARD_KEY, key, (f'create shard key "{key}"',), desired.shard_keys[key])
        for key in sorted(missing)
    ]


def _held_shard_key_steps(desired: Desired, observed: Observed, last: LastApplied) -> list[Step]:
    """What costs the points of single shard keys: of those that are no longer declared only the ones that are ours.

    How many replicas a key has, and where, changes by itself as nodes come and go; only its number of shards is fixed.
    """
    held = []
    for key, there in observed.shard_keys.items():
        if not isinstance(key, str):
            continue
        words, wanted = f'shard key "{key}"', desired.shard_keys.get(key)
        if wanted is None:
            if key in last.shard_keys:
                held.append(Step(Action.DELETE_SHARD_KEY, key, (f"delete {words}",), points=there.points))
        elif (shards := wanted.get("shards_number", there.shards)) != there.shards:
            line = f"{words}: shardsNumber {there.shards} -> {shards}"
            held.append(Step(Action.REPLACE_SHARD_KEY, key, (line,), wanted, points=there.points))
    return sorted(held, key=lambda step: step.target)


def _premature(desired: Desired, observed: Observed, steps: Collection[Step]) -> tuple[str, ...]:
    """Lines about indexes that must wait: Qdrant answers 400 to any change of them while there is no shard key."""
    params = (observed if observed.exists else desired).config.get("params") or {}
    if not is_sharded_by_key(params) or desired.shard_keys or observed.shard_keys:
        return ()
    return tuple(line for step in steps for line in step.lines)


def _index_steps(
    desired: Desired, observed: Observed, changed: Mapping[str, list[Difference]], last: LastApplied
) -> list[Step]:
    """Indexes are put over those that are there, and what goes is deleted last, so that filters never lack one.

    Where strict mode limits their number, what goes makes room first: at the limit Qdrant refuses every index, even one
    that is put over another (1.16.3).
    """
    gone = _outdated(desired, observed, last)
    deletions = [Step(Action.DELETE_INDEX, path, (f"delete payload index {path}",)) for path in sorted(gone)]
    added = [path for path in sorted(desired.indexes) if path not in observed.indexes]
    replaced = sorted(desired.indexes.keys() & changed.keys())
    limit, count = _index_limit(desired, observed), len(observed.indexes)
    if limit is None or count + max(len(added), bool(replaced)) <= limit:
        return [*_puts(desired, observed, replaced), *_puts(desired, observed, added), *deletions]
    count -= len(gone)
    steps = [*deletions]
    for path in replaced:
        if count == limit:
            # It lacks for a moment. Not where this would make no room: it could not be put again.
            steps.append(Step(Action.DELETE_INDEX, path, (f"delete payload index {path}, to make room",)))
        steps += _puts(desired, observed, [path])
    return [*steps, *_puts(desired, observed, added)]


def _puts(desired: Desired, observed: Observed, paths: Iterable[str]) -> list[Step]:
    steps = []
    for path in paths:
        schema, before = desired.indexes[path], observed.indexes.get(path)
        line = f"create payload index {path}: {shown(schema)}"
        if before is not None:
            line = f"replace payload index {path}: {shown(before)} -> {shown(schema)}"
        steps.append(Step(Action.PUT_INDEX, path, (line,), schema))
    return steps


def _outdated(desired: Desired, observed: Observed, last: LastApplied) -> frozenset[str]:
    """Indexes that are no longer declared, and ours."""
    return (last.indexes & observed.indexes.keys()) - desired.indexes.keys()


def _index_limit(desired: Desired, observed: Observed) -> int | None:
    """How many payload indexes strict mode allows once the configuration is as declared."""
    block = "strict_mode_config"
    strict = {**observed.config.get(block, {}), **desired.config.get(block, {})}
    limit = strict.get("max_payload_index_count")
    return limit if strict.get("enabled") is True and isinstance(limit, int) else None


def _alias_steps(desired: Desired, observed: Observed, last: LastApplied, passing: Passing) -> list[Step]:
    missing = desired.aliases - observed.holders.keys()
    ours = (last.aliases & observed.aliases) - desired.aliases - passing.left
    moved = {alias: at for alias, at in elsewhere(desired, observed).items() if passing.free.get(alias) == at}
    return [
        *(Step(Action.CREATE_ALIAS, alias, (f"create alias {alias}",)) for alias in sorted(missing)),
        *(
            Step(Action.MOVE_ALIAS, alias, (f"move alias {alias} here from collection {at}",), {"from": at})
            for alias, at in moved.items()
        ),
        *(Step(Action.DELETE_ALIAS, alias, (f"delete alias {alias}",)) for alias in sorted(ours)),
    ]


def _recreate(desired: Desired, observed: Observed, last: LastApplied, lines: list[str], since: str) -> Step:
    """Deletes the collection and creates it as desired, with all that others have set on it: only the data is lost."""
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
        if key != MARK_KEY and not key.startswith(REGISTRATION_PREFIX) and key not in last.metadata
    } | desired.metadata
    # In a create, a null is a value.
    metadata = {key: value for key, value in metadata.items() if value is not None}
    # Strict mode may leave no room for those.
    outdated = _outdated(desired, observed, last)
    merged = _merged(tree, desired.tree())
    shard_keys: dict[ShardKeyName, JsonObject] = {}
    if is_sharded_by_key(merged.get("params") or {}):
        for key, there in observed.shard_keys.items():
            if key not in last.shard_keys:
                shard_keys[key] = {"shards_number": there.shards, "replication_factor": there.replicas}
        shard_keys.update(desired.shard_keys)
    body = {
        "collection": create_body(merged) | ({"metadata": metadata} if metadata else {}),
        "shard_keys": shard_keys,
        "indexes": {path: schema for path, schema in observed.indexes.items() if path not in outdated}
        | dict(desired.indexes),
        "aliases": sorted(observed.aliases),
    }
    return Step(Action.RECREATE_COLLECTION, desired.name, tuple(lines), body, since=since)


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


# ---------------------------------------------------------------------------------------------------------------- words


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _vector_words(name: str) -> str:
    return "the vector" if name == UNNAMED else f'vector "{name}"'


def _kind_words(collection: Desired | Observed, name: str) -> str:
    if name in collection.sparse_vectors:
        return "sparse"
    return _schema_words(collection.vectors[name]) if name in collection.vectors else "absent"


def _schema_words(params: JsonObject) -> str:
    words = [str(params.get("size")), str(params.get("distance"))]
    words += [params["datatype"]] if params.get("datatype", DATATYPE) != DATATYPE else []
    words += ["multivector"] if "multivector_config" in params else []
    return " ".join(words)


def _shortened(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= SHOWN_METADATA else text[: SHOWN_METADATA - 1] + "…"


def _version_words(version: Version) -> str:
    return ".".join(map(str, version))


def _path_words(path: Path) -> str:
    if path[0] in VECTORS:
        return f"{_vector_words(path[1])}: {'.'.join(path[2:])}"
    return ".".join(path)

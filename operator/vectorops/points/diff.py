"""What must change for the stored points to be as declared, decided without talking to anyone.

`recover` first turns a ledger with an open window into what is known to be so; `diff` then compares declared,
remembered and stored points. `points.sync` carries the result out, `local.preview` prints it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from vectorops.api.meta import JsonObject
from vectorops.ledger.entries import ABSENT, UNKNOWN, EntriesById, Entry
from vectorops.ledger.records import LateWrites, Ledger
from vectorops.points.declared import Declaration, Declared
from vectorops.points.fingerprints import NotCanonical, fingerprint_payload, fingerprint_vector, unpredicted
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.qdrant.database import PayloadChange, PointId, StoredPoint
from vectorops.vectors import Sparse, VectorData

TOLERANCE: Final = {"float32": 1e-4, "float16": 5e-3, "uint8": 1.0}
"""Largest difference of a component that storing alone explains, relative to the largest one (uint8: absolute).
Cosine vectors come back normalized, float16 and uint8 rounded. Of other datatypes, which newer servers have, nothing
is known: that the vector is there is compared.
"""

LATE_SECONDS: Final = 600
"""For so long after a window was found open, a request of it may still arrive."""

SURELY_CLOSE: Final = 0.9 * TOLERANCE["float32"]
SURELY_LONG: Final = 1e-3
"""Of a vector whose length float32 tells precisely enough."""

SMALLEST_STEP: Final = {"float32": 1e-34, "float16": 2.0**-24, "uint8": 0.0}
"""Between two numbers of a datatype near zero: rounding explains so much, however small the components are."""

FLOAT_TOLERANCE: Final = 1e-12
"""Of a float in a payload, relative: Qdrant's own reading of JSON is off by up to three units in the last place."""

ROUGHLY: Final = 1e-6
"""The same where it is asked whose point this is: should another version read floats less exactly, it stays ours."""

Stored = Mapping[PointId, StoredPoint]


@dataclass(frozen=True, slots=True)
class Change:
    """What differs in one stored point that we own. vectors: to write; gone: to delete; payload: to change, by key.

    drifted: what is stored is visibly not what we wrote.
    """

    declared: Declared
    vectors: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    payload: PayloadChange | None = None
    drifted: bool = False

    @property
    def pending(self) -> Mapping[str, str]:
        """The texts that must be embedded before the change can be written: none of a vector that stays."""
        return {name: text for name, text in self.declared.pending.items() if name in self.vectors}

    def embedded(self, vectors: Mapping[str, VectorData]) -> Change:
        """The same change with the vectors of texts."""
        return replace(self, declared=self.declared.embedded(vectors))


@dataclass(frozen=True, slots=True)
class Diff:
    """insert: not stored, written whole; those also in `new` were never ours. conflicts: stored, and not ours.
    delete: ours, stored, no longer declared. forget: ours, no longer declared, and gone already.
    """

    insert: tuple[Declared, ...] = ()
    new: frozenset[PointId] = frozenset()
    change: tuple[Change, ...] = ()
    unchanged: int = 0
    conflicts: tuple[PointId, ...] = ()
    delete: tuple[PointId, ...] = ()
    forget: tuple[PointId, ...] = ()

    @property
    def empty(self) -> bool:
        """Is there nothing to write, neither points nor ledger? Conflicts are nothing to write."""
        return not (self.insert or self.change or self.delete or self.forget)

    @property
    def has_texts(self) -> bool:
        """Must texts be embedded before all can be written?"""
        return any(point.pending for point in self.insert) or any(change.pending for change in self.change)

    def without(self, hidden: Set[PointId]) -> Diff:
        """The same while nobody knows whether these points, which are not shown, are there: none of them is
        inserted, and those that leave the set are deleted, should they be there.
        """
        if not hidden:
            return self
        return replace(
            self,
            insert=tuple(point for point in self.insert if point.data.id not in hidden),
            new=self.new - hidden,
            delete=(*self.delete, *(id for id in self.forget if id in hidden)),
            forget=tuple(id for id in self.forget if id not in hidden),
        )


def entry_of(declared: Declared, names: tuple[str, ...]) -> Entry:
    """What the ledger says of a point that was written as declared."""
    return Entry(declared.payload, tuple([declared.vectors.get(name, ABSENT) for name in names]))


def recover(ledger: Ledger, declaration: Declaration, stored: Stored, schema: PointSchema) -> Ledger:
    """What is known after a window was left open: the same ledger without it.

    A point that the window was to create is ours if its content is what the window was to write: before the window
    it did not exist, and whoever else made it meanwhile would not have made the same. Of a vector that is made of a
    text, only that it is there can be compared.
    """
    slot = ledger.pending
    if slot is None:
        return ledger
    entries = dict(ledger.entries)
    for id, target in slot.entries.items():
        found = stored.get(id)
        if found is None:
            entries.pop(id, None)
        elif id not in slot.new or target.dying:
            entries[id] = blurred(entries.get(id, target), target)
        else:
            numeric = {name for name in ledger.names if id not in slot.texts.get(name, ())}
            if _is_content(found, target, declaration.points.get(id), ledger.names, schema, numeric):
                entries[id] = target
    return replace(ledger, entries=entries, through=slot.sequence, pending=None)


def expect_late(
    known: Ledger, recovered: Ledger, declaration: Declaration, stored: Stored, schema: PointSchema, now: int
) -> Ledger:
    """What `recover` made of a ledger, and of a window that was left open before and settled since: what arrived of it
    late is ours, by the same rule, and what may arrive later is kept in mind.

    now: seconds since 1970.
    """
    late, entries = known.late, dict(recovered.entries)
    for id, target in late.entries.items() if late is not None else ():
        numeric = {name for name in known.names if late is not None and id not in late.texts.get(name, ())}
        if id in stored and id not in entries and not target.dying:
            declared = declaration.points.get(id)
            if _is_content(stored[id], target, declared, known.names, schema, numeric):
                entries[id] = target
    if late is not None and late.until <= now:
        late = None
    if known.pending is not None and LATE_SECONDS > 0:
        late = (late or LateWrites({}, {}, 0)).join(known.pending, now + LATE_SECONDS)
    if late == known.late and len(entries) == len(recovered.entries):
        return recovered
    return replace(recovered, entries=entries, late=late)


def blurred(before: Entry, target: Entry) -> Entry:
    """What is known of a point whose change may or may not have happened. A deletion that was begun stays begun."""
    if target.dying:
        return target
    known = (old if old == new else UNKNOWN for old, new in zip(before.vectors, target.vectors, strict=True))
    return Entry(before.payload if before.payload == target.payload else UNKNOWN, tuple(known))


def _is_content(
    found: StoredPoint,
    target: Entry,
    declared: Declared | None,
    names: tuple[str, ...],
    schema: PointSchema,
    numeric: Set[str],
) -> bool:
    """numeric: names of vectors whose fingerprint in `target` is that of numbers, and not of a text."""
    if declared is not None and entry_of(declared, names) == target:
        return is_what_we_insert(found, declared, schema)
    if payload_fingerprint(found) != target.payload:
        return False
    known = {name: value for name, value in zip(names, target.vectors, strict=True) if value != ABSENT}
    return known.keys() == found.vectors.keys() and all(
        fingerprint_vector(vector) == known[name]
        for name, vector in found.vectors.items()
        if name in numeric and name in schema and schema[name].stores_exactly
    )


def is_what_we_insert(found: StoredPoint, declared: Declared, schema: PointSchema) -> bool:
    """Can what stands under an id that was free be what we inserted there?

    Payload and names of vectors decide, and the numbers that Qdrant keeps as they are. How it keeps the others is a
    prediction of ours, which may fail: it must not make our own point another writer's. Of a vector whose text was not
    embedded, only that it is there can be told.
    """
    wanted = declared.data
    return (
        _same_payload(wanted.payload, found.payload, ROUGHLY)
        and declared.vectors.keys() == found.vectors.keys()
        and all(
            _same(vector, found.vectors[name], schema[name])
            for name, vector in wanted.vectors.items()
            if schema[name].stores_exactly
        )
    )


def entry_read_back(
    target: Entry, declared: Declared, found: StoredPoint, names: tuple[str, ...], schema: PointSchema
) -> Entry | None:
    """What the ledger says of a point that was just written; None if somebody else has changed it since.

    found: the same point, read after it was written. Where the numbers are not as predicted, writing them again would
    not change them: they are not compared any more.
    """
    if not is_what_we_insert(found, declared, schema):
        return None
    numbers = {name: vector for name, vector in declared.data.vectors.items() if name not in declared.texts}
    odd = {name for name, vector in numbers.items() if not _same(vector, found.vectors[name], schema[name])}
    return Entry(
        target.payload if _same_payload(declared.data.payload, found.payload) else unpredicted(target.payload),
        tuple(unpredicted(known) if name in odd else known for name, known in zip(names, target.vectors, strict=True)),
    )


def entry_of_payload(target: Entry, declared: Declared, found: StoredPoint) -> Entry | None:
    """The same of a new point that was read without its vectors. found: with its payload alone."""
    wanted, stored = declared.data.payload, found.payload
    if _same_payload(wanted, stored):
        return target
    return target._replace(payload=unpredicted(target.payload)) if _same_payload(wanted, stored, ROUGHLY) else None


def diff(declaration: Declaration, ledger: Ledger, stored: Stored, schema: PointSchema) -> Diff:
    """Compares declared points with what the ledger remembers and with what is stored. ledger: without an open
    window.

    stored: payload and vectors of all points that are declared or remembered. A stored point that the ledger
    remembers but that was changed by others counts as changed.
    """
    insert: list[Declared] = []
    new: set[PointId] = set()
    changes: list[Change] = []
    conflicts: list[PointId] = []
    unchanged = 0
    for id, declared in declaration.points.items():
        entry, found = ledger.entries.get(id), stored.get(id)
        if found is None:
            insert.append(declared)
            new.update({id} if entry is None else ())
        elif entry is None:
            conflicts.append(id)
        elif (change := _change(declared, entry, found, ledger.names, schema)) is None:
            unchanged += 1
        else:
            changes.append(change)
    vanished = _vanished(declaration, ledger.entries)
    return Diff(
        insert=tuple(insert),
        new=frozenset(new),
        change=tuple(changes),
        unchanged=unchanged,
        conflicts=tuple(conflicts),
        delete=tuple(id for id in vanished if id in stored),
        forget=tuple(id for id in vanished if id not in stored),
    )


def adoptable(
    ids: Iterable[PointId], declaration: Declaration, stored: Stored, names: tuple[str, ...], schema: PointSchema
) -> EntriesById:
    """What the ledger would say of the stored points that equal the declared ones, by id; of no others.

    ids: declared and stored. The vector of a text cannot be compared with the text, and the ledger would say that our
    embedder made it. So a point that is declared with a text is never among them.
    """
    without_texts = {id: declared for id in ids if not (declared := declaration.points[id]).texts}
    return {
        id: entry_of(declared, names)
        for id, declared in without_texts.items()
        if _change(declared, entry_of(declared, names), stored[id], names, schema) is None
    }


def _vanished(declaration: Declaration, entries: EntriesById) -> list[PointId]:
    """Ours, and no longer declared. None at all while some declared id is unknown: any of them might be the one."""
    if not declaration.complete:
        return []
    return [id for id in entries if id not in declaration.points and id not in declaration.protected]


def _checked(
    entry: Entry, declared: Declared, found: StoredPoint, names: tuple[str, ...], schema: PointSchema
) -> Entry:
    """The entry, with UNKNOWN wherever the stored point is visibly not what we wrote. Numbers that Qdrant does not give
    back as predicted count as what we wrote.
    """
    if entry.dying:
        return Entry(UNKNOWN, (UNKNOWN,) * len(names))
    return Entry(
        _checked_payload(entry.payload, declared, found),
        tuple(
            _checked_vector(known, name, declared, found, schema)
            for name, known in zip(names, entry.vectors, strict=True)
        ),
    )


def _checked_payload(known: int, declared: Declared, found: StoredPoint) -> int:
    if payload_fingerprint(found) == known:
        return known
    if declared.payload == known:
        return known if _same_payload(declared.data.payload, found.payload) else UNKNOWN
    if known == unpredicted(declared.payload) and _same_payload(declared.data.payload, found.payload, ROUGHLY):
        return declared.payload
    return UNKNOWN


def _checked_vector(known: int, name: str, declared: Declared, found: StoredPoint, schema: PointSchema) -> int:
    if (known == ABSENT) != (name not in found.vectors):
        return UNKNOWN
    wanted = declared.vectors.get(name)
    if known != ABSENT and wanted is not None and known == unpredicted(wanted):
        return wanted
    if known == ABSENT or wanted != known or name not in declared.data.vectors:
        # Nothing to compare the numbers with; if they are to change, they are written anyway. Those of a text are known
        # only while it is being written.
        return known
    return known if _same(declared.data.vectors[name], found.vectors[name], schema[name]) else UNKNOWN


def parts_as_written(
    entry: Entry, declared: Declared | None, found: StoredPoint, names: tuple[str, ...], schema: PointSchema
) -> list[bool | None]:
    """Of the payload, and of each vector, whether it certainly is, or certainly is not, what we wrote last; None: it
    cannot be told. declared: as it is declared now, which tells more where it did not change.
    """
    payload = _payload_as_written(entry.payload, declared, found)
    vectors = (
        _vector_as_written(known, name, declared, found, schema)
        for name, known in zip(names, entry.vectors, strict=True)
    )
    return [payload, *vectors]


def _payload_as_written(known: int, declared: Declared | None, found: StoredPoint) -> bool | None:
    if known == UNKNOWN:
        return None
    if payload_fingerprint(found) == known:
        # That of a point without one is everybody's.
        return True if found.payload else None
    if declared is not None and known in (declared.payload, unpredicted(declared.payload)):
        return _same_payload(declared.data.payload, found.payload, ROUGHLY)
    # Floats may come back a bit off, and then the fingerprint is another one.
    return None if _has_float(found.payload) else False


def _vector_as_written(
    known: int, name: str, declared: Declared | None, found: StoredPoint, schema: PointSchema
) -> bool | None:
    if known == UNKNOWN:
        return None
    if (known == ABSENT) != (name not in found.vectors):
        return False
    if known == ABSENT:
        return None
    if declared is not None and declared.vectors.get(name) == known and name in declared.data.vectors:
        return _same(declared.data.vectors[name], found.vectors[name], schema[name])
    # The fingerprint may be that of a text.
    return True if fingerprint_vector(found.vectors[name]) == known else None


def _has_float(value: Any) -> bool:
    match value:
        case float():
            return True
        case dict():
            return any(map(_has_float, value.values()))
        case list():
            return any(map(_has_float, value))
    return False


def _change(
    declared: Declared, entry: Entry, found: StoredPoint, names: tuple[str, ...], schema: PointSchema
) -> Change | None:
    wanted, checked = entry_of(declared, names), _checked(entry, declared, found, names, schema)
    if checked == wanted:
        return None
    differing = [name for name, is_, to_be in zip(names, checked.vectors, wanted.vectors, strict=True) if is_ != to_be]
    before, now = (entry.payload, *entry.vectors), (checked.payload, *checked.vectors)
    return Change(
        declared,
        vectors=tuple(name for name in differing if name in declared.vectors),
        gone=tuple(name for name in differing if name not in declared.vectors),
        payload=_payload_change(declared, found) if checked.payload != wanted.payload else None,
        drifted=any(is_ == UNKNOWN != was for was, is_ in zip(before, now, strict=True)),
    )


def _payload_change(declared: Declared, found: StoredPoint) -> PayloadChange:
    """By top-level key: a blind overwrite moves the point out of its payload indexes and in again."""
    wanted, stored = declared.data.payload, found.payload
    put = {key: value for key, value in wanted.items() if key not in stored or not _same_json(value, stored[key])}
    return PayloadChange(declared.data.id, put, tuple(key for key in stored if key not in wanted))


def _same_payload(declared: JsonObject, stored: JsonObject, tolerance: float = FLOAT_TOLERANCE) -> bool:
    """See `_same_json`. Nearly all payloads are the same to the letter."""
    try:
        written = orjson.dumps(declared, option=orjson.OPT_SORT_KEYS)
        if written == orjson.dumps(stored, option=orjson.OPT_SORT_KEYS):
            return True
    except TypeError:
        # Others can store what we refuse to write.
        pass
    return _same_json(declared, stored, tolerance)


def _same_json(declared: Any, stored: Any, tolerance: float = FLOAT_TOLERANCE) -> bool:
    """Is it the same JSON, but for the last digits of floats? Qdrant reads every ninth of them a bit off."""
    match declared, stored:
        case (bool(), _) | (_, bool()):
            return declared is stored
        case (float(), int() | float()) | (int(), float()):
            return math.isclose(declared, stored, rel_tol=tolerance)
        case dict(), dict():
            return declared.keys() == stored.keys() and all(
                _same_json(declared[key], stored[key], tolerance) for key in declared
            )
        case (list() | tuple(), list()):
            return len(declared) == len(stored) and all(
                _same_json(one, other, tolerance) for one, other in zip(declared, stored, strict=True)
            )
    return bool(declared == stored)


def payload_fingerprint(found: StoredPoint) -> int:
    """Fingerprint of a payload as read back; UNKNOWN for what we would never write."""
    try:
        return fingerprint_payload(found.payload)
    except NotCanonical:
        # Others can store what we refuse to write.
        return UNKNOWN


def _same(declared: VectorData, found: VectorData, schema: VectorSchema) -> bool:
    """Is what is stored what would be stored for the declared vector, as far as numbers come back?"""
    if isinstance(declared, Sparse) or isinstance(found, Sparse):
        if not (isinstance(declared, Sparse) and isinstance(found, Sparse)):
            return False
        same_places = np.array_equal(declared.indices, found.indices)
        return same_places and bool(_close(declared.values, found.values, schema.datatype))
    if declared.shape != found.shape:
        return False
    if not schema.comes_back:
        return True
    if _is_surely_close(declared, found, schema):
        return True
    # For Cosine too: a server keeps uint8 as it is, and a folder that is opened again all that was inserted.
    close = _close(declared, found, schema.datatype)
    if schema.distance == "Cosine":
        # Row by row: a server leaves rows alone whose squared length is below 1.2e-7. A folder normalizes even uint8.
        datatype = "float32" if schema.datatype == "uint8" else schema.datatype
        close = close | _close(_normalized(declared), found, datatype)
    return bool(np.all(close))


def _is_surely_close(declared: NDArray[np.float32], found: NDArray[np.float32], schema: VectorSchema) -> bool:
    """One float32 vector, a little more strictly and in a third of the time. False: compare closely."""
    if schema.datatype != "float32" or declared.ndim != 1 or not declared.size:
        return False
    if np.array_equal(declared, found):
        return True
    length = math.sqrt(float(np.dot(declared, declared))) if schema.distance == "Cosine" else 1.0
    if not SURELY_LONG < length < math.inf:
        return False
    expected = declared / np.float32(length)
    distance = np.abs(expected - found).max()
    return bool(distance <= SURELY_CLOSE * np.abs(expected).max())


def _normalized(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.sqrt(np.sum(vector.astype(np.float64) ** 2, axis=-1, keepdims=True))
    normal: NDArray[np.float32] = (vector / np.where(length > 0, length, 1.0)).astype(np.float32)
    return normal


def _close(expected: NDArray[np.float32], found: NDArray[np.float32], datatype: str) -> NDArray[np.bool_]:
    """For each row (one vector is one row) whether storing alone explains the difference."""
    distance = np.max(np.abs(expected.astype(np.float64) - found.astype(np.float64)), axis=-1, initial=0.0)
    if datatype not in TOLERANCE:
        return np.ones_like(distance, dtype=bool)
    scale = 1.0 if datatype == "uint8" else np.max(np.abs(expected), axis=-1, initial=0.0)
    close: NDArray[np.bool_] = np.asarray(distance <= TOLERANCE[datatype] * scale + SMALLEST_STEP[datatype])
    return close

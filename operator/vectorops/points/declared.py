"""From the points of a spec to points that can be written, or to the reason why one cannot.

One bad point never stops the others. What it protects differs: a point that cannot be written keeps what is
stored under its id, and a point whose id is unknown stops all deletions, because any stored point might be the
one it means.
"""

from __future__ import annotations

import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from vectorops.api.pointset import Point, SparseValues, VectorValue
from vectorops.points.fingerprints import (
    NotCanonical,
    canonical_json,
    fingerprint_payload,
    fingerprint_text,
    fingerprint_vector,
)
from vectorops.points.identity import IdFormat, UnusableId, point_id
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.qdrant.database import UNNAMED, PointData, PointId
from vectorops.vectors import Sparse, VectorData
from vectorops.words import counted

SHOWN_ID = 80
"""Characters of an id that status shows."""

TWICE = "this id is declared more than once, with different content, or beside one that cannot be written"

LARGEST = {"float32": float(np.finfo(np.float32).max), "float16": 65504.0, "uint8": 255.0}
"""Largest component that a datatype holds; float32's for one that is not here. Qdrant clamps uint8 and overflows
float16 without a word.
"""

SURELY = 30_000.0
"""Components up to here overflow neither float16 nor, by the squares of 2^32 of them, float32."""

LONGEST_SQUARED = 0.99 * LARGEST["float32"]
"""Of a vector that Qdrant normalizes: it adds the squares up as float32, and stores zeros when the sum overflows. A
little less than what float32 holds, because its sum is rounded at each step.
"""


@dataclass(frozen=True, slots=True)
class Declared:
    """A point as it should be, with the fingerprints of its parts.

    data: its vectors are those whose numbers are known. texts: what the other ones are to be made of, by the vector's
    name. vectors: the fingerprint of each vector, whichever of the two it is.
    """

    data: PointData
    shown_id: str
    payload: int
    vectors: Mapping[str, int]
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def pending(self) -> Mapping[str, str]:
        """The texts that must be embedded before the point can be written whole."""
        if not self.texts:
            return {}
        return {name: text for name, text in self.texts.items() if name not in self.data.vectors}

    def embedded(self, vectors: Mapping[str, VectorData]) -> Declared:
        """The same point with the vectors of texts."""
        return replace(self, data=replace(self.data, vectors={**self.data.vectors, **vectors}))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a declared point cannot be written, or was not. id: None if not even the point is known that is meant."""

    shown_id: str
    reason: str
    id: PointId | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """All points of a set. complete: is every id known, so that what is not among them may be deleted?"""

    points: Mapping[PointId, Declared]
    failures: tuple[Failure, ...] = ()
    complete: bool = True
    protected: frozenset[PointId] = frozenset()

    @property
    def total(self) -> int:
        """Declared points, the same one declared twice counted once."""
        return len(self.points) + len(self.failures)


class BadPoint(ValueError):
    """What is wrong with one point, and where in it. Never content."""


def declare(
    points: Iterable[Point],
    schema: PointSchema,
    *,
    embedders: Mapping[str, str] = MappingProxyType({}),
    left_out: Collection[str] = (),
    id_format: IdFormat = "Auto",
    store_id_as: str | None = None,
) -> Declaration:
    """Checks every point against the schema of the collection. Embeds nothing.

    embedders: by the vector's name, the identity of what makes vectors of its texts. left_out: names of vectors that
    points may have, and the collection has not.
    """
    good: dict[PointId, Declared] = {}
    failed: dict[PointId, Failure] = {}
    untold: list[Failure] = []
    for point in points:
        shown = shorten_id(point.id)
        try:
            id = point_id(point.id, id_format)
        except UnusableId as error:
            untold.append(Failure(shown, str(error)))
            continue
        before = good.get(id)
        try:
            found = _declared(point, id, shown, schema, embedders, left_out, store_id_as)
        except (BadPoint, NotCanonical) as error:
            found, reason = None, str(error)
        # One id is one point, however often it is declared: it is written once, or fails once.
        if id in failed or (before is not None and not _is_same(before, found)):
            found, reason = None, TWICE
        if found is None:
            failed[id] = Failure(shown, reason, id)
            good.pop(id, None)
        else:
            good.setdefault(id, found)
    return Declaration(good, (*untold, *failed.values()), complete=not untold, protected=frozenset(failed))


def _is_same(first: Declared, second: Declared | None) -> bool:
    return second is not None and (first.payload, first.vectors) == (second.payload, second.vectors)


def vectors_of_texts(points: Iterable[Point]) -> frozenset[str]:
    """Names of the vectors that some point gives as text."""
    return frozenset(name for point in points for name, value in _given(point).items() if value.text is not None)


def _declared(
    point: Point,
    id: PointId,
    shown: str,
    schema: PointSchema,
    embedders: Mapping[str, str],
    left_out: Collection[str],
    store_id_as: str | None,
) -> Declared:
    payload = dict(point.payload or {})
    if store_id_as is not None:
        if store_id_as in payload:
            raise BadPoint(f"payload.{store_id_as}: storeIdAs keeps the id in this field, so it cannot be declared")
        payload[store_id_as] = point.id
    try:
        payload_fingerprint = fingerprint_payload(payload)
    except NotCanonical as error:
        raise BadPoint(f"payload: {error}") from None
    vectors: dict[str, VectorData] = {}
    texts: dict[str, str] = {}
    fingerprints: dict[str, int] = {}
    for name, value in _values(point, schema, left_out).items():
        expected = schema.get(name)
        if expected is None:
            raise BadPoint(f"{place(name)}: the collection has no vector of this name, but {_names(schema)}")
        if value.text is None:
            vectors[name] = _vector(place(name), value, expected)
            fingerprints[name] = fingerprint_vector(vectors[name])
        else:
            texts[name] = value.text
            fingerprints[name] = _fingerprint_of_text(f"{place(name)}.text", value.text, embedders.get(name))
    return Declared(
        data=PointData(id, vectors, payload),
        shown_id=shown,
        payload=payload_fingerprint,
        vectors=fingerprints,
        texts=texts,
    )


def place(vector: str) -> str:
    """Where in a point a vector is declared."""
    return f"vectors.{vector}" if vector != UNNAMED else "vector"


def _fingerprint_of_text(where: str, text: str, identity: str | None) -> int:
    if identity is None:
        raise BadPoint(f"{where}: the vector has no embedder; give numbers, or name a model in the QdrantCollection")
    if not text.strip():
        raise BadPoint(f"{where}: empty text")
    try:
        return fingerprint_text(text, identity)
    except NotCanonical as error:
        raise BadPoint(f"{where}: {error}") from None


def _given(point: Point) -> Mapping[str, VectorValue]:
    """The vectors as declared, by name, whatever the collection has."""
    unnamed = {UNNAMED: point.vector} if point.vector is not None else {}
    return unnamed | (point.vectors or {})


def _values(point: Point, schema: PointSchema, left_out: Collection[str]) -> Mapping[str, VectorValue]:
    """The same without those that are left out, if the collection takes the unnamed vector, or named ones."""
    given = {name: value for name, value in _given(point).items() if name not in left_out}
    if UNNAMED in given and UNNAMED not in schema:
        raise BadPoint(f"vector: the collection has no unnamed vector, but {_names(schema)}; use `vectors`")
    return given


def _vector(where: str, value: VectorValue, expected: VectorSchema) -> VectorData:
    if value.sparse is not None:
        return _sparse(f"{where}.sparse", value.sparse, expected)
    if expected.kind == "sparse":
        raise BadPoint(f"{where}: this is a sparse vector; give it as `sparse`")
    if value.rows is not None:
        return _multivector(f"{where}.rows", value.rows, expected)
    form = "packed" if value.packed is not None else "values"
    numbers = _unpacked(f"{where}.packed", value.packed) if value.packed is not None else to_float32(value.values or [])
    check_components(f"{where}.{form}", numbers, expected)
    # One row of a multi-vector may be given as a dense vector; Qdrant takes it so as well.
    return numbers.reshape(1, -1) if expected.kind == "multivector" else numbers


def _multivector(where: str, rows: list[list[float]], expected: VectorSchema) -> NDArray[np.float32]:
    if expected.kind != "multivector":
        raise BadPoint(f"{where}: this is no multi-vector; give it as `values` or `packed`")
    if not rows:
        raise BadPoint(f"{where}: a multi-vector needs at least one row")
    checked = []
    for index, row in enumerate(rows):
        numbers = to_float32(row)
        check_components(f"{where}[{index}]", numbers, expected)
        checked.append(numbers)
    return np.stack(checked)


def _sparse(where: str, value: SparseValues, expected: VectorSchema) -> Sparse:
    if expected.kind != "sparse":
        raise BadPoint(f"{where}: this is a {expected.kind} vector, not a sparse one")
    return make_sparse(where, value.indices, to_float32(value.values), expected)


def make_sparse(where: str, indices: Sequence[int], values: NDArray[np.float32], expected: VectorSchema) -> Sparse:
    """A sparse vector. indices: each from 0 to 2^32-1. Raises BadPoint."""
    if len(indices) != len(values):
        raise BadPoint(f"{where}: {counted(len(indices), 'index', 'indices')}, but {counted(len(values), 'value')}")
    if len(set(indices)) != len(indices):
        raise BadPoint(f"{where}.indices: an index is given twice")
    check_range(f"{where}.values", values, expected)
    places = np.asarray(indices, dtype=np.uint32)
    order = np.argsort(places)
    return Sparse(places[order], values[order])


def check_components(where: str, numbers: NDArray[np.float32], expected: VectorSchema) -> None:
    """Are these the components of a vector of the collection? numbers: shape (components,). Raises BadPoint."""
    if len(numbers) != expected.size:
        raise BadPoint(f"{where}: {counted(len(numbers), 'component')}, but the vector's size is {expected.size}")
    check_range(where, numbers, expected)


def check_range(where: str, numbers: NDArray[np.float32], expected: VectorSchema) -> None:
    """Can the datatype hold all components, and their length? numbers: any shape. Raises BadPoint."""
    if _is_surely_in_range(numbers, expected):
        return
    # After rounding: 1e39 is finite as JSON, and infinite as the float32 that Qdrant would store.
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise BadPoint(f"{where}[{bad[0]}]: not a finite float32 number")
    if expected.is_normalized and np.any(np.sum(np.square(numbers, dtype=np.float64), axis=-1) > LONGEST_SQUARED):
        raise BadPoint(f"{where}: too long to be normalized: its squared length overflows float32; scale it down")
    largest = LARGEST["float32"] if expected.is_normalized else LARGEST.get(expected.datatype, LARGEST["float32"])
    lowest = 0.0 if expected.datatype == "uint8" else -largest
    bad = np.flatnonzero((numbers < lowest) | (numbers > largest))
    if bad.size:
        raise BadPoint(f"{where}[{bad[0]}]: outside the range of datatype {expected.datatype}")


def _is_surely_in_range(numbers: NDArray[np.float32], expected: VectorSchema) -> bool:
    """False: compare closely. It saves nine tenths of the time for nearly all vectors there are."""
    if expected.datatype not in {"float32", "float16"} or not numbers.size:
        return False
    # No square is larger than their sum. Of a NaN the sum is one, and neither larger nor smaller.
    flat = numbers.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.dot(flat, flat) <= SURELY * SURELY)


def to_float32(numbers: Sequence[float]) -> NDArray[np.float32]:
    """Rounded once; infinite where float32 cannot hold it."""
    with np.errstate(over="ignore"):
        return np.asarray(numbers, dtype=np.float64).astype(np.float32)


def _unpacked(where: str, packed: str) -> NDArray[np.float32]:
    try:
        raw = binascii.a2b_base64(packed, strict_mode=True)
    except ValueError:
        raise BadPoint(f"{where}: not base64") from None
    if len(raw) % 4:
        raise BadPoint(f"{where}: {counted(len(raw), 'byte')}, no whole number of float32 components")
    return np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)


def _names(schema: PointSchema) -> str:
    if not schema:
        return "no vectors at all"
    return ", ".join(repr(name) if name != UNNAMED else "the unnamed vector" for name in sorted(schema))


def shorten_id(declared: object) -> str:
    """A declared id as status shows it."""
    try:
        text = declared if isinstance(declared, str) else canonical_json(declared).decode()
    except NotCanonical:
        text = "(not valid text)"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= SHOWN_ID else text[: SHOWN_ID - 1] + "…"

"""Takes vectors of texts that are stored already, so that these texts are not embedded.

A `VectorSource` is a place that may hold the vector of a text. The texts of a pass that still need a vector are looked
up in all sources, one source after another, before any of them goes to the embedder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from vectorops import metrics
from vectorops.points.declared import Declared
from vectorops.points.diff import Change, Diff
from vectorops.points.schema import PointSchema, VectorSchema
from vectorops.qdrant.database import PointId
from vectorops.vectors import VectorData

TextPoint = Declared | Change
"""A point to insert, or what to change in one."""

WINDOW_BYTES: Final = 32 * 2**20
"""Of the vectors of one window, estimated. A window holds one point at least."""
CHARACTERS_OF_A_ROW: Final = 4
"""Of a text, for one row of its multi-vector, or one number of its sparse vector: about a token."""


@dataclass(frozen=True, slots=True)
class WantedText:
    """A text that needs a vector."""

    vector: str
    """Name of the vector, `UNNAMED` for the unnamed one."""
    id: PointId
    """Of the point that declares the text."""
    fingerprint: int
    """Of the text and the identity of its embedder, see `fingerprints.fingerprint_text`. It has 64 bits, and is not
    cryptographic: two texts of one point that have the same one count as the same text, two texts of different points
    do not.
    """
    text: str = field(repr=False)


class VectorSource(Protocol):
    """A place that may hold vectors of texts. What it cannot tell, or cannot read, it does not have."""

    async def known(self, wanted: Sequence[WantedText], schema: PointSchema) -> Set[WantedText]:
        """Those of the texts of which `find` would have the vector, as far as it can be told without reading one.

        schema: of the collection that the vectors are for. Raises Transient.
        """

    async def find(self, wanted: Sequence[WantedText], schema: PointSchema) -> Mapping[WantedText, VectorData]:
        """The vectors of those of the texts that are there. The collection stores each of them as it would store the
        vector that the embedder makes.

        schema: of the collection that the vectors are for. Raises Transient.
        """


@dataclass(slots=True)
class Reuse:
    """Looks texts up in all sources of one pass, and counts what was found."""

    sources: Sequence[VectorSource]
    schema: PointSchema
    """Of the collection that the points go to."""
    reused: int = 0
    """Texts whose vector was taken from a source."""

    async def fill(self, points: Sequence[TextPoint]) -> list[TextPoint]:
        """The same points in the same order, with the vectors of those of their texts that a source has."""
        vectors: dict[PointId, dict[str, VectorData]] = {}
        missing = _wanted_texts(points) if self.sources else []
        for source in self.sources:
            if not missing:
                break
            found = await source.find(missing, self.schema)
            for wanted, vector in found.items():
                vectors.setdefault(wanted.id, {})[wanted.vector] = vector
            missing = [wanted for wanted in missing if wanted not in found]
            self.reused += len(found)
            metrics.TEXTS_REUSED.inc(len(found))
        return [point.embedded(vectors[id_of(point)]) if id_of(point) in vectors else point for point in points]

    async def windows(self, found: Diff) -> list[list[TextPoint]]:
        """The points with texts all of whose vectors some source seems to have, in windows of `WINDOW_BYTES`."""
        if not self.sources:
            return []
        both: list[TextPoint] = [*found.insert, *found.change]
        wanted = [_wanted_texts([point]) for point in both]
        known = await self._known([text for texts in wanted for text in texts])
        whole = [point for point, texts in zip(both, wanted, strict=True) if texts and known.issuperset(texts)]
        return list(_cut_by_bytes(whole, self.schema))

    async def known(self, points: Sequence[TextPoint]) -> set[WantedText]:
        """The texts of the points whose vectors some source seems to have."""
        return await self._known(_wanted_texts(points)) if self.sources else set()

    async def _known(self, missing: list[WantedText]) -> set[WantedText]:
        known = set[WantedText]()
        for source in self.sources:
            if not missing:
                break
            known |= await source.known(missing, self.schema)
            missing = [wanted for wanted in missing if wanted not in known]
        return known


def take_out(found: Diff, done: Set[PointId], points: Mapping[PointId, TextPoint]) -> Diff:
    """The same without what was done. points: what takes the place of some that were not."""

    def left(some: Iterable[TextPoint]) -> Iterator[TextPoint]:
        return (points.get(id_of(point), point) for point in some if id_of(point) not in done)

    insert = tuple(point for point in left(found.insert) if isinstance(point, Declared))
    change = tuple(point for point in left(found.change) if isinstance(point, Change))
    return replace(found, insert=insert, change=change)


def id_of(point: TextPoint) -> PointId:
    """Of the point that is inserted or changed."""
    return (point.declared if isinstance(point, Change) else point).data.id


def _wanted_texts(points: Iterable[TextPoint]) -> list[WantedText]:
    found = []
    for point in points:
        declared = point.declared if isinstance(point, Change) else point
        found += [
            WantedText(name, declared.data.id, declared.vectors[name], text) for name, text in point.pending.items()
        ]
    return found


def _cut_by_bytes(points: Sequence[TextPoint], schema: PointSchema) -> Iterator[list[TextPoint]]:
    window, room = list[TextPoint](), WINDOW_BYTES
    for point in points:
        size = sum(_vector_bytes(text, schema[name]) for name, text in point.pending.items())
        if window and size > room:
            yield window
            window, room = [], WINDOW_BYTES
        window.append(point)
        room -= size
    if window:
        yield window


def _vector_bytes(text: str, schema: VectorSchema) -> int:
    """About how many bytes the vector of a text takes."""
    rows = 1 if schema.kind == "dense" else 1 + len(text) // CHARACTERS_OF_A_ROW
    return rows * 4 * (schema.size or 2)

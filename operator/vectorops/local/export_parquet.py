"""The points of a collection as a Parquet file that the mapping of a PointSet reads as just these points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from vectorops.api.meta import JsonObject
from vectorops.api.source import Mapping as DeclaredMapping
from vectorops.formats.base import ArrowRows
from vectorops.local.export_manifests import NotExportable, list_lines, require_adoptable
from vectorops.points.block import Block
from vectorops.points.declared import Declaration, Declared
from vectorops.points.fingerprints import fingerprint_payload, fingerprint_vector
from vectorops.points.mapping import Mapper
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import UNNAMED, Database, PointData, StoredPoint
from vectorops.vectors import VectorData

ID, PAYLOAD = "id", "payload"
"""Names of columns."""
PAGE_POINTS: Final = 500
"""So many are read at a time."""
GROUP_BYTES: Final = 32 * 2**20
"""Of a row group, at least; it is in memory as a whole."""

ARROW_TYPES: Final[Mapping[str, pa.DataType]] = {
    "dense": pa.list_(pa.float32()),
    "multivector": pa.list_(pa.list_(pa.float32())),
    "sparse": pa.struct({"indices": pa.list_(pa.uint32()), "values": pa.list_(pa.float32())}),
}
"""By kind of a vector."""


@dataclass(frozen=True, slots=True)
class IdsFound:
    """What ids a collection has."""

    has_integers: bool
    has_uuids: bool

    @property
    def column_type(self) -> pa.DataType:
        """Integers and UUIDs side by side are JSON: `7`, and `"..."` in quotes."""
        return pa.string() if self.has_uuids else pa.uint64()

    def cover(self, points: Sequence[StoredPoint]) -> bool:
        """Are the ids of these points of no other kind?"""
        kinds = {type(point.id) for point in points}
        return (self.has_integers or int not in kinds) and (self.has_uuids or UUID not in kinds)

    def cells(self, points: Sequence[StoredPoint]) -> list[Any]:
        """Of the column."""
        if not self.has_uuids:
            return [point.id for point in points]
        texts = [str(point.id) for point in points]
        if not self.has_integers:
            return texts
        return [f'"{text}"' if isinstance(point.id, UUID) else text for point, text in zip(points, texts, strict=True)]


async def find_ids(database: Database, collection: str) -> IdsFound:
    """Looks through all points."""
    kinds: set[type] = set()
    async for ids in database.id_pages(collection, 10 * PAGE_POINTS):
        kinds |= {type(ids[0]), type(ids[-1])} if ids else set()
    return IdsFound(int in kinds, UUID in kinds)


def column_of(vector: str) -> str:
    """The column of a vector. No vector has the name of another column."""
    return f"vector_{vector}" if vector != UNNAMED else "vector"


def mapping_of(schema: PointSchema, ids: IdsFound) -> JsonObject:
    """The mapping that reads the file."""
    vectors = [{"column": column_of(name)} | ({"name": name} if name != UNNAMED else {}) for name in sorted(schema)]
    types = {"types": {ID: "JSON"}} if ids.has_integers and ids.has_uuids else {}
    return {"vectors": vectors, "payload": {"column": PAYLOAD}, **types}


async def write_parquet(
    database: Database, collection: str, schema: PointSchema, ids: IdsFound, path: Path, where: str
) -> None:
    """Writes all points, some at a time. where: for messages.

    Raises NotExportable if a point would not be the same when the file is read, and then leaves no file behind.
    """
    mapper = Mapper(DeclaredMapping.model_validate(mapping_of(schema, ids)), schema)
    columns = {ID: ids.column_type, PAYLOAD: pa.string()}
    columns |= {column_of(name): ARROW_TYPES[schema[name].kind] for name in sorted(schema)}
    with _new_parquet(path, pa.schema(columns)) as groups:
        async for page in database.id_pages(collection, PAGE_POINTS):
            stored = await database.points(collection, page, payload=True, vectors=True)
            points = [stored[id] for id in page if id in stored]
            if not ids.cover(points):
                raise NotExportable(f"{where}: another program adds points meanwhile; try again")
            cells: dict[str, list[Any]] = {
                ID: ids.cells(points),
                PAYLOAD: [orjson.dumps(point.payload).decode() for point in points],
                **{column_of(name): [_vector_cell(point.vectors.get(name)) for point in points] for name in schema},
            }
            arrays = [pa.array(cells[name], type) for name, type in columns.items()]
            batch = pa.record_batch(arrays, schema=groups.schema)
            block = mapper.map(ArrowRows(range(1, len(points) + 1), batch))
            _require_same(points, block, schema, where)
            groups.add(batch)


class _Groups:
    """Gathers batches to row groups."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.schema = schema
        self._writer = writer
        self._waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        if sum(each.nbytes for each in self._waiting) >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        table = pa.Table.from_batches(self._waiting, self.schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._waiting = []


@contextmanager
def _new_parquet(path: Path, schema: pa.Schema) -> Iterator[_Groups]:
    """A file that has its name only once it is whole."""
    beside = path.with_name(f"{path.name}.part")
    try:
        with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
            groups = _Groups(writer, schema)
            yield groups
            groups.flush()
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _vector_cell(vector: VectorData | None) -> Any:
    if vector is None:
        return None
    if isinstance(vector, np.ndarray):
        return vector if vector.ndim == 1 else list(vector)
    return {"indices": vector.indices, "values": vector.values}


def _require_same(points: Sequence[StoredPoint], block: Block, schema: PointSchema, where: str) -> None:
    """Would the set take each point as it is? Asked of what `apply` asks, with what it would read."""
    if block.failures:
        raise NotExportable(f"{where}: {list_lines([failure.reason for failure in block.failures])}")
    declared = {}
    for row, (id, shown, payload) in enumerate(zip(block.ids, block.shown_ids, block.payloads, strict=True)):
        cells = {name: column[row] for name, column in block.vectors.items()}
        vectors = {name: vector for name, vector in cells.items() if vector is not None}
        data = PointData(id, vectors, payload)
        fingerprints = {name: fingerprint_vector(vector) for name, vector in vectors.items()}
        declared[id] = Declared(data, shown, fingerprint_payload(payload), fingerprints)
    require_adoptable(points, Declaration(declared), schema, where)

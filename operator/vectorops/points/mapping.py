"""Rows of a source to points: which column is what, by the mapping of a PointSet or by default (docs/mapping.md).

What is wrong with a column is one error for its file; what is wrong with a row is a failure of that row alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vectorops.api.source import Mapping, PayloadMapping
from vectorops.errors import Terminal
from vectorops.formats.base import BadRow, JsonRows, Rows
from vectorops.points.block import Block
from vectorops.points.identity import IdFormat
from vectorops.points.mapping_arrow import BatchMapper
from vectorops.points.mapping_columns import json_path
from vectorops.points.mapping_json import explain_bad_row, map_objects
from vectorops.points.mapping_spec import MappingSpec, list_columns, unfit_mapping
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import UNNAMED


class Mapper:
    """Makes points of the rows of one source. Not for two threads at once.

    mapping: None for the defaults.
    schema: the vectors that points of the collection may have.
    embedded: names of the vectors that have an embedder. left_out: names of vectors that the collection does not have,
    and that are no part of the payload either.
    Raises Terminal SourceInvalid where the mapping does not fit the collection.
    """

    def __init__(
        self,
        mapping: Mapping | None,
        schema: PointSchema,
        *,
        embedded: Collection[str] = (),
        left_out: Collection[str] = (),
        id_format: IdFormat = "Auto",
        store_id_as: str | None = None,
    ) -> None:
        self._spec = MappingSpec.resolve(
            _leave_out_vectors(mapping or Mapping(), left_out),
            schema,
            embedded=embedded,
            id_format=id_format,
            store_id_as=store_id_as,
        )
        self._batches: BatchMapper | None = None
        self._names: Sequence[str] = ()
        self._fields: dict[str, None] = {}
        self._unseen = set(self._spec.named_columns)

    def wanted(self, names: Sequence[str]) -> Sequence[str]:
        """Which of the columns of a file are needed, for `read_rows`: all but those that are left out."""
        self._names = names
        return self._spec.wanted(names)

    def map(self, rows: Rows, *, file: str = "") -> Block:
        """The points of some rows, and the failures among them. file: its name, for messages.

        Raises Terminal SourceInvalid: a column is missing, or cannot be what it is to be.
        """
        if isinstance(rows, BadRow):
            return Block((), (), (), (), failures=(explain_bad_row(self._spec, rows),))
        if isinstance(rows, JsonRows):
            if self._unseen:
                self._fields = self._fields or dict.fromkeys(name for row in rows.rows for name in row)
                self._unseen -= {
                    one for one in self._unseen if any(json_path(one[1], row) is not None for row in rows.rows)
                }
            return map_objects(self._spec, rows)
        try:
            # Most files of a source have the same schema, and all batches of a file.
            if self._batches is None or not self._batches.schema.equals(rows.batch.schema, check_metadata=True):
                self._batches = BatchMapper(self._spec, rows.batch.schema, self._names)
                self._unseen.clear()
            return self._batches.map_batch(rows)
        except Terminal as error:
            raise error.at(file) if file else error from None

    def check_columns(self) -> None:
        """To call after the last row. A JSON object may leave a field out, but a column that no row has is a slip.

        Raises Terminal SourceInvalid.
        """
        if self._unseen and self._fields:
            where, column = min(self._unseen)
            raise unfit_mapping(f"{where} names the column {column}, which no row has. {list_columns(self._fields)}")


def _leave_out_vectors(mapping: Mapping, names: Collection[str]) -> Mapping:
    """The same mapping without these vectors, and without their columns."""
    if not names:
        return mapping
    declared = mapping.vectors
    if declared is None:
        # A column that is named as a vector is that vector.
        vectors, columns = None, [name for name in names if name != UNNAMED]
    else:
        vectors = [one for one in declared if (one.name or UNNAMED) not in names]
        columns = [one.column for one in declared if one not in vectors and one.column is not None]
    payload = mapping.payload or PayloadMapping()
    payload = payload.model_copy(update={"exclude": [*(payload.exclude or ()), *columns]})
    return mapping.model_copy(update={"vectors": vectors, "payload": payload})

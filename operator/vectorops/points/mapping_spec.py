"""A mapping with its defaults: which column is what, before a file is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from vectorops.api.meta import JsonObject
from vectorops.api.nesting import LEVELS, WORDS, is_deeper
from vectorops.api.reasons import Reason
from vectorops.api.source import ColumnType, PayloadMapping, VectorMapping
from vectorops.api.source import Mapping as DeclaredMapping
from vectorops.errors import Terminal
from vectorops.points.declared import place, shorten_id
from vectorops.points.identity import IdFormat, UnusableId, point_id
from vectorops.points.mapping_columns import MISSING, BadTemplate, Template, top_of
from vectorops.points.mapping_failures import RowFailures
from vectorops.points.schema import PointSchema
from vectorops.qdrant.database import UNNAMED, PointId

INDEX_PREFIX: Final = "__index_level_"
SHOWN_COLUMNS: Final = 20


def unfit_mapping(reason: str) -> Terminal:
    """The error for a mapping that fits the collection, or a file, not. reason: what is wrong, and what helps."""
    return Terminal(Reason.SOURCE_INVALID, reason)


@dataclass(frozen=True, slots=True)
class MappingSpec:
    """What the columns of all files of a source are."""

    schema: PointSchema
    id_columns: Sequence[str]
    is_composite: bool
    """Is the id the list of the columns' values?"""
    id_format: IdFormat
    store_id_as: str | None
    types: Mapping[str, ColumnType]
    payload: PayloadMapping
    vectors: Sequence[VectorMapping] | None
    """None: by the names of the columns."""
    templates: Mapping[str, Template]
    """What is embedded, by the vector's name."""

    @classmethod
    def resolve(
        cls,
        mapping: DeclaredMapping,
        schema: PointSchema,
        *,
        embedded: Collection[str],
        id_format: IdFormat,
        store_id_as: str | None,
    ) -> Self:
        """Raises Terminal SourceInvalid where the mapping does not fit the collection."""
        if mapping.id_from is not None and id_format == "Integer":
            raise unfit_mapping("mapping.idFrom makes a text of several columns, which idFormat: Integer does not take")
        names = [source.name or UNNAMED for source in mapping.vectors or ()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise unfit_mapping(f"mapping.vectors: {place(twice)} is given twice")
        templates = {}
        for name, source in zip(names, mapping.vectors or (), strict=True):
            if name not in schema:
                has = ", ".join(place(one) for one in sorted(schema)) or "no vectors at all"
                raise unfit_mapping(f"mapping.vectors: the collection has no {place(name)}, but {has}")
            if source.column is not None:
                continue
            if name not in embedded:
                raise unfit_mapping(
                    f"mapping.vectors: {place(name)} has no embedder: name a column with numbers, or a model in the "
                    "QdrantCollection"
                )
            try:
                templates[name] = (
                    Template([source.embed], ["", ""]) if source.embed else Template.parse(source.template or "")
                )
            except BadTemplate as error:
                raise unfit_mapping(f"mapping.vectors: the template of {place(name)}: {error}") from None
        spec = cls(
            schema=schema,
            id_columns=mapping.id_from or [mapping.id or "id"],
            is_composite=mapping.id_from is not None,
            id_format=id_format,
            store_id_as=store_id_as,
            types=mapping.types or {},
            payload=mapping.payload or PayloadMapping(),
            vectors=mapping.vectors,
            templates=templates,
        )
        spec.check_fields(spec.rename.values())
        return spec

    @property
    def rename(self) -> Mapping[str, str]:
        """Columns, and the fields of the payload that they become."""
        return self.payload.rename or {}

    @property
    def constants(self) -> JsonObject:
        """Fields that every point gets."""
        return self.payload.constants or {}

    def check_fields(self, columns: Collection[str]) -> None:
        """Raises Terminal SourceInvalid if a field of the payload would be there twice. columns: fields that columns
        become.
        """
        fields = [*columns, *self.constants, *([self.store_id_as] if self.store_id_as is not None else [])]
        if twice := next((one for one in fields if fields.count(one) > 1), None):
            raise unfit_mapping(
                f"the payload would get the field {twice} twice: leave a column out with mapping.payload.exclude, or "
                "give it another name with rename, constants or storeIdAs"
            )

    @property
    def named_columns(self) -> list[tuple[str, str]]:
        """Columns that the mapping names, and that therefore must be there; each behind the field that names it.

        Not those of the id: a row without one is a failure. Not what is left out.
        """
        payload = self.payload
        found = [("mapping.vectors", one.column) for one in self.vectors or () if one.column is not None]
        found += [("mapping.vectors", column) for one in self.templates.values() for column in one.columns]
        found += [("mapping.payload.column", payload.column)] if payload.column is not None else []
        found += [("mapping.payload.include", column) for column in payload.include or ()]
        found += [("mapping.payload.rename", column) for column in self.rename]
        # A type for a column that is not there is a slip, unless the column was left out on purpose.
        return [*found, *(("mapping.types", column) for column in self.types if column not in (payload.exclude or ()))]

    def vector_columns(self, names: Collection[str]) -> list[tuple[str, str, str | None]]:
        """Vector, column and encoding of the vectors that are given as numbers. names: of the columns of a file."""
        if self.vectors is not None:
            return [(one.name or UNNAMED, one.column, one.encoding) for one in self.vectors if one.column is not None]
        found: list[tuple[str, str, str | None]] = [
            (name, name, None) for name in self.schema if name != UNNAMED and name in names
        ]
        only = UNNAMED if UNNAMED in self.schema else next(iter(self.schema)) if len(self.schema) == 1 else None
        if only is not None and "vector" in names and not {only, "vector"} & {name for name, _, _ in found}:
            found.append((only, "vector", None))
        return found

    def wanted(self, names: Sequence[str]) -> Sequence[str]:
        """Which of the top columns of a file are needed, in their order."""
        read = [*self.id_columns, *(column for one in self.templates.values() for column in one.columns)]
        read += [column for _, column, _ in self.vector_columns(names)]
        if self.payload.column is not None:
            read.append(self.payload.column)
        elif self.payload.include is None:
            left_out = {*(self.payload.exclude or ()), *index_columns(names, ())}
            read += [name for name in names if name not in left_out]
        read += [*(self.payload.include or ()), *self.rename]
        tops = {top_of(name, names) for name in read}
        return [name for name in names if name in tops]

    def spread(self, value: Any, row: int, failures: RowFailures) -> JsonObject:
        """The payload of a row whose column holds the whole of it. value: JSON, or `MISSING`."""
        if value is None or value is MISSING:
            value = {}
        if not isinstance(value, dict):
            failures.add({row: f"column {self.payload.column}: no object, which a payload is"})
            value = {}
        if is_deeper(value, LEVELS):
            failures.add({row: f"column {self.payload.column}: the payload is {WORDS}"})
        if twice := next((one for one in (*self.constants, self.store_id_as) if one in value), None):
            failures.add({row: f"the payload would get the field {twice} twice: see mapping.payload and storeIdAs"})
        return {**value, **self.constants}

    def identify(self, declared: Sequence[Any], failures: RowFailures) -> list[PointId | None]:
        """The ids of rows; None, and a failure, for those without a usable one. declared: lists if it is composite."""
        return [self._identify(value, row, failures) for row, value in enumerate(declared)]

    def _identify(self, declared: Any, row: int, failures: RowFailures) -> PointId | None:
        for column, value in zip(self.id_columns, declared if self.is_composite else (declared,), strict=True):
            if value is None or value is MISSING or value == "":
                failures.add({row: f"column {column}: the row has no id"})
                return None
        try:
            return point_id(declared, self.id_format)
        except UnusableId as error:
            failures.add({row: f"column {', '.join(self.id_columns)}: {error}"})
            return None

    def fill_templates(self, values: Mapping[str, Sequence[Sequence[Any]]], failures: RowFailures) -> Any:
        """The texts to embed, by the vector's name. values: of each row, those of the template's columns."""
        found: dict[str, list[str | None]] = {}
        for name, rows in values.items():
            found[name] = []
            for row, one in enumerate(rows):
                text = None
                try:
                    text = self.templates[name].fill(one)
                except TypeError:
                    failures.add({row: f"{place(name)}: a list or an object is no text"})
                if text is not None and not text.strip():
                    failures.add({row: f"{place(name)}: empty text"})
                found[name].append(text)
        return found


def list_columns(names: Collection[str]) -> str:
    """The sentence that says which columns there are."""
    shown = [shorten_id(name) for name in names]
    more = f" and {len(shown) - SHOWN_COLUMNS:,} more" if len(shown) > SHOWN_COLUMNS else ""
    return f"The columns are {', '.join(shown[:SHOWN_COLUMNS])}{more}"


def index_columns(names: Collection[str], pandas_index: Collection[str]) -> list[str]:
    """Columns that writers add by themselves, and pandas only to some of the files of one job.

    pandas_index: what pandas says is its index. fastparquet calls it `index`; a CSV of pandas has no name for it.
    """
    return [
        name
        for name in names
        if name.startswith(INDEX_PREFIX) or not name or (name == "index" and name in pandas_index)
    ]

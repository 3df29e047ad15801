"""Columns of Arrow as JSON values: what each type becomes in a payload, as docs/mapping.md says it.

What a type cannot become is decided once for a column, before a row is read; what a value cannot become is the failure
of its row. No value changes: fractions of seconds, zones, digits of decimals and integers of 64 bits are kept.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vectorops.api.nesting import LEVELS, WORDS, is_deeper
from vectorops.api.source import ColumnType
from vectorops.formats.json_text import BadJson, load_exact_json
from vectorops.points.fingerprints import EXACT_INTEGER
from vectorops.points.mapping_columns import ColumnPath


class RefusedColumn(ValueError):
    """No value of a column can be used as it is declared. The text says the type, and what helps."""


class Unfit(ValueError):
    """One value cannot be used. Never content."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The values of a column."""

    values: list[Any]
    """JSON; whatever for those that are bad."""
    bad: dict[int, str] = field(default_factory=dict)
    """What is wrong, by position."""


CellReader = Callable[[Any], Cells]
"""Makes JSON of an Arrow array of one type."""

PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FIRST_SECOND: Final = -62_135_596_800
"""Of the year 1, as seconds since 1970."""
LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999."""
UTC: Final = frozenset({"UTC", "Etc/UTC", "Z", "+00:00", "Zulu", "Etc/Zulu", "UCT", "Universal"})

NEEDS_TEXT: Final = "make it text before it is written, or leave it out with mapping.payload.exclude"
KNOWN_EXTENSIONS: Final = frozenset({"arrow.json", "arrow.uuid", "arrow.bool8"})


def cell_reader(
    of: Any, kind: ColumnType | None = None, inner: Mapping[ColumnPath, ColumnType] | None = None, level: int = 2
) -> CellReader:
    """How the values of a column become JSON.

    of: the column's pa.Field, with the name that messages call it. kind: what mapping.types says of it, and inner: of
    what is nested in it. level: how deep it lies itself.
    Raises RefusedColumn.
    """
    if kind is not None and is_bytes(of.type):
        # ClickHouse writes text so, and Parquet's enums.
        return converted(kind, lambda array: read_texts(array.cast(pa.large_binary()).view(pa.large_string())))
    read = _reader(of, level, inner or {})
    return read if kind is None else converted(kind, read)


def converted(kind: ColumnType, read: CellReader) -> CellReader:
    """The reader whose values are of the kind."""

    def convert(array: Any) -> Cells:
        cells = read(array)
        return Cells(*convert_values(kind, cells.values, cells.bad))

    return convert


def convert_values(kind: ColumnType, values: Iterable[Any], bad: dict[int, str]) -> tuple[list[Any], dict[int, str]]:
    """The values as the kind, and what is wrong with those that cannot be."""
    found, bad = [], dict(bad)
    for index, value in enumerate(values):
        try:
            found.append(None if value is None or index in bad else convert_value(kind, value))
        except Unfit as error:
            found.append(None)
            bad[index] = str(error)
    return found, bad


def is_bytes(type: Any) -> bool:
    """Is it one of Arrow's types for bytes?"""
    return bool(
        pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_fixed_size_binary(type)
        or pa.types.is_binary_view(type)
    )


def is_text(type: Any) -> bool:
    """Is it one of Arrow's types for text, perhaps in a dictionary?"""
    if pa.types.is_dictionary(type):
        type = type.value_type
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type))


def extension_name(of: Any) -> str:
    """Name of a field's extension type, whether or not pyarrow knows the type; "" if it has none."""
    if isinstance(of.type, pa.BaseExtensionType):
        return str(of.type.extension_name)
    return str((of.metadata or {}).get(b"ARROW:extension:name", b"").decode())


def _reader(of: Any, level: int, inner: Mapping[ColumnPath, ColumnType]) -> CellReader:  # noqa: C901, PLR0911, PLR0912 - a table of types
    type, extension = of.type, extension_name(of)
    if level > LEVELS + 1:
        raise RefusedColumn(f"is {WORDS}")
    if extension:
        if extension not in KNOWN_EXTENSIONS:
            raise RefusedColumn(f"has the extension type {extension}, whose meaning is unknown: {NEEDS_TEXT}")
        return _EXTENSIONS[extension]
    t = pa.types
    if t.is_null(type) or t.is_boolean(type) or t.is_integer(type):
        return lambda array: Cells(array.to_pylist())
    if t.is_floating(type):
        return _fractions
    if t.is_string(type) or t.is_large_string(type) or t.is_string_view(type):
        return read_texts
    if t.is_decimal(type):
        return lambda array: Cells([None if one is None else format(one, "f") for one in array.to_pylist()])
    if t.is_timestamp(type):
        try:
            pc.local_timestamp(pa.array([0], type)) if type.tz else None
        except pa.ArrowInvalid:
            raise RefusedColumn(f"is {type}, whose time zone is unknown here: convert it to UTC") from None
        return _timestamps
    if t.is_date(type):
        return _dates
    if t.is_time(type):
        return lambda array: Cells(_trimmed(array.cast(pa.string()), PER_SECOND[type.unit]).to_pylist())
    if t.is_duration(type):
        each = PER_SECOND[type.unit]
        return lambda array: Cells([_span(one, each) for one in array.cast(pa.int64()).to_pylist()])
    if t.is_interval(type):
        return lambda array: Cells([_interval(one) for one in array.to_pylist()])
    if t.is_dictionary(type):
        read_entries = _reader(pa.field(of.name, type.value_type), level, inner)
        return lambda array: _dictionary(array, read_entries)
    if t.is_run_end_encoded(type):
        plain = _reader(pa.field(of.name, type.value_type), level, inner)
        return lambda array: plain(pc.run_end_decode(array))
    if is_list(type):
        items = _reader(type.value_field.with_name(""), level + 1, {})
        return lambda array: _lists(array, items)
    if t.is_map(type):
        if not is_text(type.key_type):
            raise RefusedColumn(f"is a {type}, whose keys are no text: {NEEDS_TEXT}")
        keys, values = (
            _reader(part.with_name(""), deeper, {})
            for part, deeper in ((type.key_field, level), (type.item_field, level + 1))
        )
        return lambda array: _maps(array, keys, values)
    if t.is_struct(type):
        return _struct_reader(of, level, inner)
    if is_bytes(type):
        # What is nested in a list has no name.
        helps = f" (or `types: {{{of.name}: Text}}` if it is UTF-8)" if of.name else ""
        raise RefusedColumn(
            f"is {type}, and JSON has no bytes: make it text{helps}, or leave it out with mapping.payload.exclude"
        )
    raise RefusedColumn(f"is {type}, which is no JSON: {NEEDS_TEXT}")


def _struct_reader(of: Any, level: int, inner: Mapping[ColumnPath, ColumnType]) -> CellReader:
    fields = [of.type.field(index) for index in range(of.type.num_fields)]
    names = [one.name for one in fields]
    if {"metadata", "value"} <= set(names) and is_bytes(fields[names.index("metadata")].type):
        raise RefusedColumn("is a VARIANT: cast it to JSON or text before it is written, or leave it out")
    if names[:1] == ["element1"] and fields[0].type == pa.uint8():
        raise RefusedColumn("is a UNION of DuckDB: cast it to JSON or text before it is written, or leave it out")
    if len(set(names)) < len(names):
        raise RefusedColumn(f"is a struct with two fields of one name: {NEEDS_TEXT}")
    readers = []
    for one in fields:
        try:
            named = one.with_name(f"{of.name}.{one.name}" if of.name else "")
            deeper = {path[1:]: kind for path, kind in inner.items() if path[0] == one.name and len(path) > 1}
            readers.append(cell_reader(named, inner.get((one.name,)), deeper, level + 1))
        except RefusedColumn as error:
            raise RefusedColumn(f"has a field {one.name} that {error}") from None

    def read(array: Any) -> Cells:
        children = [one(array.field(index)) for index, one in enumerate(readers)]
        values: list[Any] = (
            [dict(zip(names, row, strict=True)) for row in zip(*(child.values for child in children), strict=True)]
            if names
            else [{} for _ in range(len(array))]
        )
        bad = {
            index: f"{name}: {reason}"
            for name, child in zip(names, children, strict=True)
            for index, reason in child.bad.items()
        }
        return _nulled(array, values, bad)

    return read


def _nulled(array: Any, values: list[Any], bad: dict[int, str]) -> Cells:
    if array.null_count:
        valid = array.is_valid().to_pylist()
        values = [value if there else None for value, there in zip(values, valid, strict=True)]
        bad = {index: reason for index, reason in bad.items() if valid[index]}
    return Cells(values, bad)


def read_texts(array: Any) -> Cells:
    """Reads an Arrow array of text. What is no UTF-8 is bad."""
    if pa.types.is_dictionary(array.type):
        return _dictionary(array, read_texts)
    try:
        return Cells(array.to_pylist())
    except UnicodeDecodeError:
        values: list[str | None] = []
        bad = {}
        for index, raw in enumerate(array.cast(pa.large_binary()).to_pylist()):
            try:
                values.append(None if raw is None else raw.decode())
            except UnicodeDecodeError:
                values.append(None)
                bad[index] = "no UTF-8"
        return Cells(values, bad)


def _dictionary(array: Any, read: CellReader) -> Cells:
    # pyarrow's own `dictionary_decode` knows no views, which polars writes.
    entries, places = read(array.dictionary), array.indices.to_pylist()
    values = [None if place is None else entries.values[place] for place in places]
    bad = {row: entries.bad[place] for row, place in enumerate(places) if place in entries.bad}
    return Cells(values, bad)


def _fractions(array: Any) -> Cells:
    finite = pc.is_finite(array.cast(pa.float64()))
    bad = dict.fromkeys(np.flatnonzero(~bools(finite, True)).tolist(), "NaN or infinite, which is no JSON")
    # The shortest decimal that means the same float32 (0.1, not 0.10000000149011612), as other writers print it.
    if pa.types.is_float16(array.type):
        texts = array.to_numpy(zero_copy_only=False).astype(str).tolist()
        return Cells(
            [None if not there else float(one) for one, there in zip(texts, array.is_valid().to_pylist(), strict=True)],
            bad,
        )
    if pa.types.is_float32(array.type):
        array = array.cast(pa.string()).cast(pa.float64())
    return Cells(array.to_pylist(), bad)


def _timestamps(array: Any) -> Cells:
    each = PER_SECOND[array.type.unit]
    array, bad = _within(array, array.cast(pa.int64()), FIRST_SECOND * each, (LAST_SECOND + 1) * each - 1)
    zone = array.type.tz
    local = array if zone is None else pc.local_timestamp(array)
    text = pc.binary_replace_slice(local.cast(pa.string()), 10, 11, "T")
    text = _trimmed(text, each)
    if zone is not None:
        end = "Z" if zone in UTC else pc.strftime(array, "%Ez")
        text = pc.binary_join_element_wise(text, end, "")
    return Cells(text.to_pylist(), bad)


def _dates(array: Any) -> Cells:
    # A date64 counts milliseconds, which some writer may not have made whole days.
    days = array.cast(pa.date32(), safe=False)
    days, bad = _within(days, days.cast(pa.int32()), FIRST_SECOND // 86400, LAST_SECOND // 86400)
    return Cells(days.cast(pa.string()).to_pylist(), bad)


def _within(array: Any, numbers: Any, lowest: int, highest: int) -> tuple[Any, dict[int, str]]:
    """The array with nulls for what lies outside, and where that is."""
    lowest, highest = max(lowest, -(2**63)), min(highest, 2**63 - 1)
    outside = pc.or_(pc.less(numbers, lowest), pc.greater(numbers, highest))
    where = np.flatnonzero(bools(outside, False)).tolist()
    if where:
        array = pc.if_else(outside, pa.scalar(None, array.type), array)
    return array, dict.fromkeys(where, "outside of the years 1 to 9999")


def _trimmed(text: Any, per_second: int) -> Any:
    """Without zeros at the end of the fraction: what is the same moment in ms and in ns is the same text."""
    return text if per_second == 1 else pc.replace_substring_regex(text, r"\.?0+$", "")


def _span(units: int | None, per_second: int) -> str | None:
    """A duration in ISO 8601."""
    if units is None:
        return None
    seconds, rest = divmod(abs(units), per_second)
    fraction = f".{rest:0{len(str(per_second)) - 1}}".rstrip("0") if rest else ""
    return f"{'-' if units < 0 else ''}PT{seconds}{fraction}S"


def _interval(value: Any) -> str | None:
    if value is None:
        return None
    return f"P{value.months}M{value.days}D" + str(_span(value.nanoseconds, 10**9)).replace("-PT", "PT-").removeprefix(
        "P"
    )


def _uuids(array: Any) -> Cells:
    return Cells([None if one is None else str(one) for one in array.to_pylist()])


def _json_texts(array: Any) -> Cells:
    cells = read_texts(array.storage if isinstance(array.type, pa.BaseExtensionType) else array)
    return Cells(*convert_values("JSON", cells.values, cells.bad))


def _bool8(array: Any) -> Cells:
    storage = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
    return Cells(storage.cast(pa.bool_()).to_pylist())


_EXTENSIONS: Final[dict[str, CellReader]] = {"arrow.json": _json_texts, "arrow.uuid": _uuids, "arrow.bool8": _bool8}


def is_list(type: Any) -> bool:
    """Is it one of Arrow's five types of lists?"""
    t = pa.types
    return bool(
        t.is_list(type)
        or t.is_large_list(type)
        or t.is_fixed_size_list(type)
        or t.is_list_view(type)
        or t.is_large_list_view(type)
    )


def is_nested(type: Any) -> bool:
    """Is it one of Arrow's types that have others within? (pyarrow's own answer for run-end encoded differs by
    version.)
    """
    t = pa.types
    return bool(is_list(type) or t.is_struct(type) or t.is_map(type) or t.is_union(type))


def list_layout(array: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], Any]:
    """Where each list of an array begins in its values, how many it has (0 if it is null), and the values.

    The values are no more than is needed, unless the type is a list view.
    """
    t, count = pa.types, len(array)
    if t.is_fixed_size_list(array.type):
        size = array.type.list_size
        starts = np.arange(count, dtype=np.int64) * size
        lengths = np.full(count, size, dtype=np.int64)
        values = array.values.slice(array.offset * size, count * size)
    elif t.is_list_view(array.type) or t.is_large_list_view(array.type):
        starts = array.offsets.to_numpy().astype(np.int64)
        lengths = array.sizes.to_numpy().astype(np.int64)
        values = array.values
    else:
        offsets = array.offsets.to_numpy().astype(np.int64)
        first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
        starts, lengths = offsets[:-1] - first, np.diff(offsets)
        values = array.values.slice(first, last - first)
    if array.null_count:
        lengths = np.where(bools(array.is_valid(), True), lengths, 0)
    return starts, lengths, values


def bools(array: Any, null: bool) -> NDArray[np.bool_]:
    """An Arrow array of booleans. null: what a null is."""
    found: NDArray[np.bool_] = (array.fill_null(null) if array.null_count else array).to_numpy(zero_copy_only=False)
    return found


def _lists(array: Any, read: CellReader) -> Cells:
    starts, lengths, values = list_layout(array)
    items = read(values)
    begins, ends = starts.tolist(), (starts + lengths).tolist()
    found = [items.values[begin:end] for begin, end in zip(begins, ends, strict=True)]
    return _nulled(array, found, _of_owners(items.bad, begins, ends))


def _of_owners(bad: dict[int, str], begins: Sequence[int], ends: Sequence[int]) -> dict[int, str]:
    """What is wrong with the items of lists, as what is wrong with the lists."""
    if not bad:
        return {}
    places = sorted(bad)
    found = {}
    for index, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        nearest = bisect_right(places, begin - 1)
        if nearest < len(places) and places[nearest] < end:
            found[index] = bad[places[nearest]]
    return found


def _maps(array: Any, read_keys: CellReader, read_values: CellReader) -> Cells:
    offsets = array.offsets.to_pylist()
    first = offsets[0] if offsets else 0
    span = (first, (offsets[-1] if offsets else 0) - first)
    keys, values = read_keys(array.keys.slice(*span)), read_values(array.items.slice(*span))
    begins, ends = [one - first for one in offsets[:-1]], [one - first for one in offsets[1:]]
    found = [
        dict(zip(keys.values[begin:end], values.values[begin:end], strict=True))
        for begin, end in zip(begins, ends, strict=True)
    ]
    bad = _of_owners(keys.bad | values.bad, begins, ends)
    for index, (one, begin, end) in enumerate(zip(found, begins, ends, strict=True)):
        if len(one) < end - begin:
            bad.setdefault(index, "a key is given twice")
    return _nulled(array, found, bad)


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_BOOLEANS: Final = {"true": True, "false": False}


def convert_value(kind: ColumnType, value: Any) -> Any:
    """A JSON value as what mapping.types says. Empty text is null, unless it is to be Text. Raises Unfit."""
    if kind == "Text":
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
    if kind == "JSON":
        return _parsed(value)
    found = _CONVERSIONS[kind](value)
    if found is None:
        raise Unfit(f"no {kind}")
    return found


def _integer(value: Any) -> int | None:
    digits = isinstance(value, str) and _INTEGER.fullmatch(value)
    whole = isinstance(value, float) and value.is_integer() and abs(value) < EXACT_INTEGER
    if digits or whole:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if not -(2**63) <= value < 2**64:
        raise Unfit("an integer beyond 64 bits")
    return value


def _number(value: Any) -> int | float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _boolean(value: Any) -> bool | None:
    return _BOOLEANS.get(value.lower()) if isinstance(value, str) else value if isinstance(value, bool) else None


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = load_exact_json(value.encode())
    except BadJson as error:
        raise Unfit(str(error)) from None
    if is_deeper(found, LEVELS - 1):
        raise Unfit(WORDS)
    return found


_CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {"Integer": _integer, "Number": _number, "Boolean": _boolean}

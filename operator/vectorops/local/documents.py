"""Parses a file into its documents, as kubectl does.

Tested against kubectl 1.31 and 1.34 (`annotate --local`): YAML 1.1 booleans, but dates and `1:30` stay strings; `1.0`
is the integer 1, because kubectl converts to JSON; keys become strings. A file that begins with `{` is JSON. If that
fails and at most one object was read, the rest is YAML (since 1.33). It is intentionally stricter than kubectl: a
repeated key, a custom tag, and a second object in one document (of which kubectl reads only the first) are refused,
because they hide mistakes. Integers keep all 64 bits.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import yaml

from vectorops.api.nesting import READ_LEVELS, is_deeper

WORDS: Final[dict[str, bool | None]] = {
    spelling: value
    for words, value in (
        (("y", "yes", "true", "on"), True),
        (("n", "no", "false", "off"), False),
        (("null",), None),
    )
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
} | {"": None, "~": None}
"""Plain scalars with a special meaning in YAML 1.1."""

NOT_JSON: Final = frozenset(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")) | {
    ".nan",
    ".NaN",
    ".NAN",
}
"""Plain scalars that YAML reads as numbers and JSON cannot carry."""

YAML_TAG: Final = "tag:yaml.org,2002:"
CORE_TAGS: Final = frozenset(YAML_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))

TOO_DEEP: Final = f"nested more than {READ_LEVELS} levels deep"
"""The limit for any object in a file. For free JSON in our kinds the limit is `api.nesting.LEVELS`."""
SHOWN: Final = 60
"""Most characters of a key or tag in a message."""

NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
BASES: Final = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]{1,16}"), 16),
    (re.compile(r"[-+]?0[oO]?[0-7]{1,22}"), 8),
    (re.compile(r"[-+]?0[bB][01]{1,64}"), 2),
)


@dataclass(frozen=True, slots=True)
class Document:
    """One document."""

    value: object
    line: int
    """Where it begins, from 1."""


class Unreadable(Exception):
    """The text cannot be parsed. line: where, from 1."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line
        self.words = words


def parse_documents(text: str) -> Iterator[Document]:
    """The documents of a YAML or JSON text, without empty ones. Raises Unreadable at the first that cannot be read."""
    if text.lstrip().startswith("{"):
        return _parse_json(text)
    return _parse_yaml(text)


# ---- YAML ----


def _parse_yaml(text: str) -> Iterator[Document]:
    events = yaml.CSafeLoader(text)
    # Ten times as many values as the text could hold without aliases: this allows some aliases, but no alias bomb.
    reader = _EventReader(events, values_left=10 * len(text) + 1000)
    try:
        while not isinstance(event := events.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                yield from reader.document()
    except yaml.YAMLError as error:
        raise _yaml_problem(error, text) from None
    finally:
        events.dispose()


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: object = None
    size: int = 0
    """Number of values in it; 0 while it is being parsed."""


ValueEvent = yaml.ScalarEvent | yaml.AliasEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent
"""The beginning of a value, or a whole scalar or alias."""


class _EventReader:
    """Turns libyaml's events into JSON values.

    Its nodes are not used: recursive C code builds them, and a deeply nested file would crash the process.
    """

    def __init__(self, events: yaml.CSafeLoader, values_left: int) -> None:
        self._events = events
        self._values_left = values_left
        self._anchors: dict[str, _Anchored] = {}

    def document(self) -> Iterator[Document]:
        """Parses the document that has just begun; yields nothing if it is empty."""
        self._anchors.clear()
        event = self._next_event()
        value = self._parse_value(event, READ_LEVELS)
        if value is not None:
            yield Document(value, _line_of(event))

    def _next_event(self) -> ValueEvent:
        return cast("ValueEvent", self._events.get_event())

    def _parse_value(self, event: ValueEvent, deeper: int) -> object:
        self._values_left -= 1
        if isinstance(event, yaml.ScalarEvent):
            value: object = _parse_scalar(event)
            self._set_anchor(event, value, 1)
            return value
        if isinstance(event, yaml.AliasEvent):
            return self._resolve_alias(event)
        if not deeper:
            raise Unreadable(_line_of(event), TOO_DEEP)
        if event.tag is not None and event.tag not in CORE_TAGS:
            raise Unreadable(_line_of(event), f"the tag {_quote(event.tag)} is not supported")
        before = self._values_left
        self._set_anchor(event, None, 0)
        read = self._parse_sequence if isinstance(event, yaml.SequenceStartEvent) else self._parse_mapping
        found = read(deeper - 1)
        self._set_anchor(event, found, before - self._values_left + 1)
        return found

    def _set_anchor(self, event: ValueEvent, value: object, size: int) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, size)

    def _resolve_alias(self, event: yaml.AliasEvent) -> object:
        anchored = self._anchors.get(str(event.anchor))
        if anchored is None:
            raise Unreadable(_line_of(event), f"the anchor {event.anchor!r} is unknown")
        if not anchored.size:
            raise Unreadable(_line_of(event), f"the anchor {event.anchor!r} contains itself")
        self._values_left -= anchored.size
        if self._values_left < 0:
            raise Unreadable(_line_of(event), "aliases repeat too many values")
        return anchored.value

    def _parse_sequence(self, deeper: int) -> list[object]:
        found = []
        while not isinstance(event := self._events.get_event(), yaml.SequenceEndEvent):
            found.append(self._parse_value(cast("ValueEvent", event), deeper))
        return found

    def _parse_mapping(self, deeper: int) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        first_on: dict[str, int] = {}
        while not isinstance(following := self._events.get_event(), yaml.MappingEndEvent):
            event = cast("ValueEvent", following)
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                merged = {**self._parse_merge(deeper), **merged}
                continue
            key = _json_key(event, self._parse_value(event, deeper))
            if key in own:
                raise Unreadable(
                    _line_of(event), f"the key {_quote(key)} is given twice, first on line {first_on[key]}"
                )
            first_on[key] = _line_of(event)
            own[key] = self._parse_value(self._next_event(), deeper)
        return {**merged, **own}

    def _parse_merge(self, deeper: int) -> dict[str, object]:
        """The members that `<<` adds: of a mapping, or of several, of which the first has priority."""
        event = self._next_event()
        value = self._parse_value(event, deeper)
        found: dict[str, object] = {}
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                raise Unreadable(_line_of(event), "<< needs a mapping")
            found = {**one, **found}
        return found


def _json_key(event: ValueEvent, value: object) -> str:
    """The key of a mapping in JSON. Like kubectl, it turns numbers and booleans into strings, and refuses the rest."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise Unreadable(_line_of(event), "a key must be a string")


def _parse_scalar(event: yaml.ScalarEvent) -> bool | int | float | str | None:
    text: str = event.value
    plain, quoted = event.implicit
    if not plain:
        if quoted or event.tag in {"!", f"{YAML_TAG}str"}:
            return text
        if event.tag not in CORE_TAGS:
            raise Unreadable(_line_of(event), f"the tag {_quote(str(event.tag))} is not supported")
    if text in NOT_JSON:
        raise Unreadable(_line_of(event), f"{text} is not a number that JSON can carry")
    return _parse_plain(text)


def _parse_plain(text: str) -> bool | int | float | str | None:
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    for pattern, base in BASES:
        if pattern.fullmatch(digits):
            return _json_integer(int(digits, base))
    return parse_number(digits) if NUMBER.fullmatch(digits) else text


def _line_of(event: ValueEvent) -> int:
    assert event.start_mark is not None, "libyaml marks every event"
    return int(event.start_mark.line) + 1


def _quote(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _yaml_problem(error: yaml.YAMLError, text: str) -> Unreadable:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.problem, error.context) if part)
        # libyaml places what is missing at the end behind the text.
        last_line = text.rstrip().count("\n") + 1
        return Unreadable(min(mark.line + 1, last_line) if mark else 1, f"not YAML: {words}")
    position = getattr(error, "position", 0)
    return Unreadable(text.count("\n", 0, position) + 1, f"not YAML: {getattr(error, 'reason', 'unreadable')}")


# ---- JSON ----


class _NotStrict(ValueError):
    """JSON that Python's decoder accepts, but Kubernetes does not."""


def _parse_json(text: str) -> Iterator[Document]:
    decoder = json.JSONDecoder(
        object_pairs_hook=_refuse_repeated_keys,
        parse_constant=_refuse_constant,
        parse_float=_json_number,
        parse_int=_json_number,
    )
    end = 0
    for read in itertools.count():
        start = len(text) - len(text[end:].lstrip())
        if start == len(text):
            return
        line = text.count("\n", 0, start) + 1
        try:
            value, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            not_json = Unreadable(error.lineno, f"not JSON: {error.msg}, column {error.colno}")
            if read > 1:
                raise not_json from None
            yield from _parse_rest_as_yaml(text, end, not_json)
            return
        except _NotStrict as error:
            raise Unreadable(line, f"in the object that begins here, {error}") from None
        except RecursionError:
            raise Unreadable(line, TOO_DEEP) from None
        if is_deeper(value, READ_LEVELS):
            raise Unreadable(line, TOO_DEEP)
        yield Document(value, line)


def _parse_rest_as_yaml(text: str, start: int, not_json: Unreadable) -> Iterator[Document]:
    """Parses the text from `start` on as YAML. not_json: its problem as JSON."""
    rest = text[start:]
    try:
        # With the same number of lines before it, so that messages name the lines of the file.
        yield from _parse_yaml("\n" * text.count("\n", 0, start) + rest)
    except Unreadable as not_yaml:
        raise (not_yaml if rest.lstrip().startswith("---") else not_json) from None


def _refuse_repeated_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _NotStrict(f"the key {_quote(twice)} is given twice")
    return found


def _refuse_constant(name: str) -> object:
    raise _NotStrict(f"{name} is not a number that JSON can carry")


def _json_number(text: str) -> int | float:
    value = parse_number(text)
    if isinstance(value, str):
        raise _NotStrict(f"{text[:40]} is larger than any number")
    return value


# ---- numbers ----


def parse_number(text: str) -> int | float | str:
    """A decimal number as the cluster receives it: whole numbers become integers in any spelling; numbers that are too
    large for a float stay text.
    """
    # At most the digits of a 64-bit integer: Python refuses to convert thousands of digits.
    if len(text) <= 21 and text.lstrip("+-").isdigit():
        return _json_integer(int(text))
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return text
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _json_integer(value: int) -> int | float:
    return value if -(2**63) <= value < 2**64 else float(value)

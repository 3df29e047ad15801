"""From the text of a file to its documents, read as kubectl reads them. Called by `manifests` for each file.

What kubectl does was tried out with kubectl 1.31 and 1.34 (`annotate --local`): YAML 1.1 booleans, dates and `1:30`
stay strings, `1.0` is the integer 1 (its way through JSON), keys become strings. A file that begins with `{` is JSON;
where that fails and at most one object was read, it is YAML from there on (since 1.33).
Stricter than kubectl on purpose: a key given twice, a tag of one's own, and a second object in one document (of which
kubectl reads the first alone) are refused, since all hide a mistake. Integers keep all 64 bits.
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
"""Plain scalars with a meaning of their own in YAML 1.1."""

NOT_JSON: Final = frozenset(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")) | {
    ".nan",
    ".NaN",
    ".NAN",
}
"""Plain scalars that YAML reads as numbers and JSON cannot carry."""

YAML_TAG: Final = "tag:yaml.org,2002:"
CORE_TAGS: Final = frozenset(YAML_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))

TOO_DEEP: Final = f"nested more than {READ_LEVELS} levels deep"
"""Of a whole file, whatever kind of object it holds; for free JSON in our kinds `api.nesting.LEVELS` is the limit."""
SHOWN: Final = 60
"""Characters of a key or tag that a message shows."""

NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
BASES: Final = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]{1,16}"), 16),
    (re.compile(r"[-+]?0[oO]?[0-7]{1,22}"), 8),
    (re.compile(r"[-+]?0[bB][01]{1,64}"), 2),
)


@dataclass(frozen=True, slots=True)
class Document:
    """One document. line: where it begins, from 1."""

    value: object
    line: int


class Unreadable(Exception):
    """The text is not what it should be. line: where, from 1."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line
        self.words = words


def documents(text: str) -> Iterator[Document]:
    """The documents of a YAML or JSON text, empty ones left out. Raises Unreadable at the first that cannot be read."""
    if text.lstrip().startswith("{"):
        return _json_documents(text)
    return _yaml_documents(text)


# ---- YAML ----


def _yaml_documents(text: str) -> Iterator[Document]:
    events = yaml.CSafeLoader(text)
    # Ten times what the text could hold without aliases: a few aliases are fine, a bomb of them is not.
    reader = _EventReader(events, values_left=10 * len(text) + 1000)
    try:
        while not isinstance(event := events.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                yield from reader.document()
    except yaml.YAMLError as error:
        raise _unreadable(error, text) from None
    finally:
        events.dispose()


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an anchor stands for. size: how many values are in it; 0 while it is still being read."""

    value: object = None
    size: int = 0


Event = yaml.ScalarEvent | yaml.AliasEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent
"""The beginning of a value, or all of it."""


class _EventReader:
    """Turns libyaml's events into JSON values.

    Not its nodes: they are built by C code that calls itself, and a deeply nested file would end the process.
    """

    def __init__(self, events: yaml.CSafeLoader, values_left: int) -> None:
        self._events = events
        self._values_left = values_left
        self._anchors: dict[str, _Anchored] = {}

    def document(self) -> Iterator[Document]:
        """The document that just began, unless it is empty."""
        self._anchors.clear()
        event = self._next()
        value = self._value(event, READ_LEVELS)
        if value is not None:
            yield Document(value, _line(event))

    def _next(self) -> Event:
        return cast("Event", self._events.get_event())

    def _value(self, event: Event, deeper: int) -> object:
        self._values_left -= 1
        if isinstance(event, yaml.ScalarEvent):
            value: object = _scalar(event)
            self._remember(event, value, 1)
            return value
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if not deeper:
            raise Unreadable(_line(event), TOO_DEEP)
        if event.tag is not None and event.tag not in CORE_TAGS:
            raise Unreadable(_line(event), f"the tag {_shown(event.tag)} is not supported")
        before = self._values_left
        self._remember(event, None, 0)
        read = self._sequence if isinstance(event, yaml.SequenceStartEvent) else self._mapping
        found = read(deeper - 1)
        self._remember(event, found, before - self._values_left + 1)
        return found

    def _remember(self, event: Event, value: object, size: int) -> None:
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, size)

    def _alias(self, event: yaml.AliasEvent) -> object:
        anchored = self._anchors.get(str(event.anchor))
        if anchored is None:
            raise Unreadable(_line(event), f"the anchor {event.anchor!r} is not known")
        if not anchored.size:
            raise Unreadable(_line(event), f"the anchor {event.anchor!r} contains itself")
        self._values_left -= anchored.size
        if self._values_left < 0:
            raise Unreadable(_line(event), "aliases repeat too much")
        return anchored.value

    def _sequence(self, deeper: int) -> list[object]:
        found = []
        while not isinstance(event := self._events.get_event(), yaml.SequenceEndEvent):
            found.append(self._value(cast("Event", event), deeper))
        return found

    def _mapping(self, deeper: int) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        first_on: dict[str, int] = {}
        while not isinstance(following := self._events.get_event(), yaml.MappingEndEvent):
            event = cast("Event", following)
            if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
                merged = {**self._merge(deeper), **merged}
                continue
            key = _key(event, self._value(event, deeper))
            if key in own:
                raise Unreadable(_line(event), f"the key {_shown(key)} is given twice, first on line {first_on[key]}")
            first_on[key] = _line(event)
            own[key] = self._value(self._next(), deeper)
        return {**merged, **own}

    def _merge(self, deeper: int) -> dict[str, object]:
        """What `<<` brings in: a mapping, or several, of which the first wins."""
        event = self._next()
        value = self._value(event, deeper)
        found: dict[str, object] = {}
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                raise Unreadable(_line(event), "<< needs a mapping")
            found = {**one, **found}
        return found


def _key(event: Event, value: object) -> str:
    """The key of a mapping as JSON has it. kubectl writes numbers and booleans as strings, and refuses the rest."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise Unreadable(_line(event), "a key must be a string")


def _scalar(event: yaml.ScalarEvent) -> bool | int | float | str | None:
    text: str = event.value
    plain, quoted = event.implicit
    if not plain:
        if quoted or event.tag in {"!", f"{YAML_TAG}str"}:
            return text
        if event.tag not in CORE_TAGS:
            raise Unreadable(_line(event), f"the tag {_shown(str(event.tag))} is not supported")
    if text in NOT_JSON:
        raise Unreadable(_line(event), f"{text} is not a number that JSON can carry")
    return _plain(text)


def _plain(text: str) -> bool | int | float | str | None:
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    for pattern, base in BASES:
        if pattern.fullmatch(digits):
            return _integer(int(digits, base))
    return number(digits) if NUMBER.fullmatch(digits) else text


def _line(event: Event) -> int:
    assert event.start_mark is not None, "libyaml marks every event"
    return int(event.start_mark.line) + 1


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _unreadable(error: yaml.YAMLError, text: str) -> Unreadable:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.problem, error.context) if part)
        # What is missing at the end is noticed behind it.
        last_line = text.rstrip().count("\n") + 1
        return Unreadable(min(mark.line + 1, last_line) if mark else 1, f"not YAML: {words}")
    position = getattr(error, "position", 0)
    return Unreadable(text.count("\n", 0, position) + 1, f"not YAML: {getattr(error, 'reason', 'unreadable')}")


# ---- JSON ----


class _NotStrict(ValueError):
    """What Python's decoder takes and Kubernetes would not."""


def _json_documents(text: str) -> Iterator[Document]:
    decoder = json.JSONDecoder(
        object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_json_number, parse_int=_json_number
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
            yield from _the_rest(text, end, not_json)
            return
        except _NotStrict as error:
            raise Unreadable(line, f"in the object that begins here, {error}") from None
        except RecursionError:
            raise Unreadable(line, TOO_DEEP) from None
        if is_deeper(value, READ_LEVELS):
            raise Unreadable(line, TOO_DEEP)
        yield Document(value, line)


def _the_rest(text: str, start: int, not_json: Unreadable) -> Iterator[Document]:
    """What follows the first object, or all, as YAML. not_json: what is wrong with it as JSON."""
    rest = text[start:]
    try:
        # With as many lines before it, so that places are those in the file.
        yield from _yaml_documents("\n" * text.count("\n", 0, start) + rest)
    except Unreadable as not_yaml:
        raise (not_yaml if rest.lstrip().startswith("---") else not_json) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _NotStrict(f"the key {_shown(twice)} is given twice")
    return found


def _no_constant(name: str) -> object:
    raise _NotStrict(f"{name} is not a number that JSON can carry")


def _json_number(text: str) -> int | float:
    value = number(text)
    if isinstance(value, str):
        raise _NotStrict(f"{text[:40]} is larger than any number")
    return value


# ---- numbers ----


def number(text: str) -> int | float | str:
    """A decimal number as it arrives in the cluster: whole numbers are integers, however they are written; what no
    float can hold is text.
    """
    # No more digits than any integer that is kept: Python refuses to convert thousands of them.
    if len(text) <= 21 and text.lstrip("+-").isdigit():
        return _integer(int(text))
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return text
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _integer(value: int) -> int | float:
    return value if -(2**63) <= value < 2**64 else float(value)

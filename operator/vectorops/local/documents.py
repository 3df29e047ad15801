"""From the text of a file to its documents, read as kubectl reads them. Called by `manifests` for each file.

What kubectl does was tried out with kubectl 1.31 (`annotate --local`): YAML 1.1 booleans, dates and `1:30` stay strings, `1.0` is the
integer 1 (its way through JSON), keys become strings, a file that begins with `{` is JSON. Stricter than kubectl on purpose: a key
given twice and a tag of one's own are refused, since both hide a mistake. Integers keep all 64 bits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import yaml

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

NOT_JSON: Final = frozenset(
    sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
) | {".nan", ".NaN", ".NAN"}
"""Plain scalars that YAML reads as numbers and JSON cannot carry."""

CORE_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))
PLAIN, TEXT = "plain", "text"
"""What the parser below puts in place of a scalar's tag: unquoted, or quoted."""

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


class _Parser(yaml.CSafeLoader):
    """libyaml's parser; it only tells unquoted scalars from quoted ones, what they mean is decided by `_plain`."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:  # type: ignore[override]  # untyped there
        if kind is yaml.ScalarNode:
            return PLAIN if implicit[0] else TEXT
        return "tag:yaml.org,2002:map" if kind is yaml.MappingNode else "tag:yaml.org,2002:seq"


def _yaml_documents(text: str) -> Iterator[Document]:
    parser = _Parser(text)
    # Ten times what the text could hold without aliases: a few aliases are fine, a bomb of them is not.
    reader = _NodeReader(values_left=10 * len(text) + 1000)
    try:
        while parser.check_node():
            node = parser.get_node()
            if node is None:
                continue
            value = reader.value(node)
            if value is not None:
                yield Document(value, _line(node))
    except yaml.YAMLError as error:
        raise _unreadable(error, text) from None
    except RecursionError:
        raise Unreadable(1, "nested too deeply") from None
    finally:
        parser.dispose()


class _NodeReader:
    """Turns the nodes of one file into JSON values."""

    def __init__(self, values_left: int) -> None:
        self._values_left = values_left
        self._within: set[int] = set()

    def value(self, node: yaml.Node) -> object:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._within:
            raise Unreadable(_line(node), "an anchor contains itself")
        self._check(node)
        self._within.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            # Most of a file of vectors is read here: plain numbers, by the thousands.
            found: object = [
                _plain(item) if item.tag is PLAIN and item.value not in NOT_JSON else self.value(item)
                for item in node.value
            ]
        else:
            found = self._mapping(cast("yaml.MappingNode", node))
        self._within.discard(id(node))
        return found

    def _check(self, node: yaml.Node) -> None:
        if node.tag not in CORE_TAGS:
            raise Unreadable(_line(node), f"the tag {node.tag} is not supported")
        self._values_left -= 1 + len(node.value)
        if self._values_left < 0:
            raise Unreadable(_line(node), "aliases repeat too much")

    def _mapping(self, node: yaml.MappingNode) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        first_on: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag is PLAIN and key_node.value == "<<":
                merged = {**self._merge(value_node), **merged}
                continue
            key = _key(key_node)
            if key in own:
                raise Unreadable(_line(key_node), f"the key {key!r} is given twice, first on line {first_on[key]}")
            first_on[key] = _line(key_node)
            own[key] = self.value(value_node)
        return {**merged, **own}

    def _merge(self, node: yaml.Node) -> dict[str, object]:
        """What `<<` brings in: a mapping, or several, of which the first wins."""
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, object] = {}
        for one in several:
            value = self.value(one)
            if not isinstance(value, dict):
                raise Unreadable(_line(one), "<< needs a mapping")
            found = {**value, **found}
        return found


def _key(node: yaml.Node) -> str:
    """The key of a mapping as JSON has it. kubectl writes numbers and booleans as strings, and refuses the rest."""
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if value is None:
        raise Unreadable(_line(node), "a key must be a string")
    return value if isinstance(value, str) else json.dumps(value)


def _scalar(node: yaml.ScalarNode) -> bool | int | float | str | None:
    if node.tag not in (PLAIN, TEXT) and node.tag not in CORE_TAGS:
        raise Unreadable(_line(node), f"the tag {node.tag} is not supported")
    if node.tag in (TEXT, "tag:yaml.org,2002:str"):
        return cast("str", node.value)
    if node.value in NOT_JSON:
        raise Unreadable(_line(node), f"{node.value} is not a number that JSON can carry")
    return _plain(node)


def _plain(node: yaml.ScalarNode) -> bool | int | float | str | None:
    text: str = node.value
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    plain = text.replace("_", "")
    for pattern, base in BASES:
        if pattern.fullmatch(plain):
            return _integer(int(plain, base))
    return number(plain) if NUMBER.fullmatch(plain) else text


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _unreadable(error: yaml.YAMLError, text: str) -> Unreadable:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.problem, error.context) if part)
        return Unreadable(mark.line + 1 if mark else 1, f"not YAML: {words}")
    position = getattr(error, "position", 0)
    return Unreadable(text.count("\n", 0, position) + 1, f"not YAML: {getattr(error, 'reason', 'unreadable')}")


# ---- JSON ----


class _NotStrict(ValueError):
    """What Python's decoder takes and Kubernetes would not."""


def _json_documents(text: str) -> Iterator[Document]:
    decoder = json.JSONDecoder(
        object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_json_number, parse_int=_json_number
    )
    position = 0
    while True:
        position += len(text[position:]) - len(text[position:].lstrip())
        if position == len(text):
            return
        line = text.count("\n", 0, position) + 1
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise Unreadable(error.lineno, f"not JSON: {error.msg}, column {error.colno}") from None
        except _NotStrict as error:
            raise Unreadable(line, f"in the object that begins here, {error}") from None
        except RecursionError:
            raise Unreadable(line, "nested too deeply") from None
        yield Document(value, line)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _NotStrict(f"the key {twice!r} is given twice")
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
    """A decimal number as it arrives in the cluster: whole numbers are integers, however they are written; what no float can hold is
    text."""
    # No more digits than any integer that is kept: Python refuses to convert thousands of them.
    if len(text) <= 21 and text.lstrip("+-").isdigit():
        return _integer(int(text))
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return text
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _integer(value: int) -> int | float:
    return value if -(2**63) <= value < 2**64 else float(value)

"""What must hold between fields, said twice: in CEL for the API server, in Python for everybody else.

The models carry these as data; `crd` writes the CEL into the CRDs, the base model and `validation` walk the Python. The
corpus in tests/corpus holds the two to each other. Rules of one field alone (bounds, patterns, enums) are the field's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over an object.

    holds: the same as `cel`, over the model.
    field: the field (camelCase) that the message is about; "" for the object itself.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """One rule over the old and the new state of an object (`oldSelf` and `self` in CEL).

    holds: the same as `cel`; called with the old model, then the new one.
    """

    cel: str
    message: str
    holds: Callable[[Any, Any], bool]
    field: str = ""


@dataclass(frozen=True, slots=True)
class Matches:
    """Marks a string that must match an expression, and says in words what that means.

    A schema's `pattern` would be told as it stands, and few can read it. Give the string a longest length too: the API
    server bounds what a rule may cost.
    pattern: `^...$`, in what Python's `re` and RE2 have in common, without one of the two kinds of quotes.
    words: what the value must be.
    """

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        quote = "'" if '"' in self.pattern else '"'
        rule = f"self.matches(r{quote}{self.pattern}{quote})"
        return {**handler(schema), "x-kubernetes-validations": [{"rule": rule, "message": self.words}]}

    def _check(self, value: str) -> str:
        # Not `match`: to it, `$` is also what stands before a last line break.
        if not re.fullmatch(self.pattern.removeprefix("^").removesuffix("$"), value):
            raise PydanticCustomError("mismatch", "Invalid value: {words}", {"words": self.words})
        return value


@dataclass(frozen=True, slots=True)
class Unique:
    """Marks a list whose items all differ: by their field `key`, or as they are when there is none."""

    key: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if not self.key:
            return {**handler(schema), "x-kubernetes-list-type": "set"}
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}

    def _check(self, items: list[Any]) -> list[Any]:
        seen = set()
        for index, item in enumerate(items):
            value = getattr(item, self.key) if self.key else item
            if value in seen:
                raise PydanticCustomError("duplicate", "Duplicate value: {value}", {"value": value, "index": index})
            seen.add(value)
        return items


def broken(rules: Iterable[Rule], model: object) -> list[Rule]:
    """The rules that this object breaks."""
    return [rule for rule in rules if not rule.holds(model)]


def schemas(rules: Iterable[Rule], update_rules: Iterable[UpdateRule]) -> list[dict[str, str]]:
    """The rules as the value of x-kubernetes-validations."""
    every: list[Rule | UpdateRule] = [*rules, *update_rules]
    return [
        {"rule": rule.cel, "message": rule.message, **({"fieldPath": f".{rule.field}"} if rule.field else {})}
        for rule in every
    ]

"""The API server's verdict on a manifest, without an API server. The command line asks before it applies anything.

The words are the API server's, so that what a person finds about one message helps with the other. tests/corpus runs
through both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vectorops.api import metadata
from vectorops.api.kinds import BY_NAME, KindInfo, Named
from vectorops.api.meta import API_VERSION, JsonObject, Model
from vectorops.api.rules import Rule, UpdateRule, broken

_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")

# What pydantic finds, in the API server's words. {given} is the JSON type of what was given.
_WORDS: Final = {
    "missing": "Required value",
    "greater_than_equal": "should be greater than or equal to {ge}",
    "less_than_equal": "should be less than or equal to {le}",
    "string_too_short": "should be at least {min_length} chars long",
    "string_too_long": "Too long: may not be more than {max_length} characters",
    "mismatch": "{words}",
    "too_short": "should have at least {min_length} items",
    "too_long": "Too many: {actual_length}: must have at most {max_length} items",
    "literal_error": "Unsupported value: {value}: supported values: {expected}",
    "int_type": 'must be of type integer: "{given}"',
    "int_from_float": 'must be of type integer: "{given}"',
    "float_type": 'must be of type number: "{given}"',
    "string_type": 'must be of type string: "{given}"',
    "bool_type": 'must be of type boolean: "{given}"',
    "list_type": 'must be of type array: "{given}"',
    "dict_type": 'must be of type object: "{given}"',
    "model_type": 'must be of type object: "{given}"',
}


def validate(manifest: JsonObject) -> list[str]:
    """What is wrong with a manifest of one of our kinds: a line each, as `spec.vectors[1].size: should be ...`."""
    if problems := list(_not_json(manifest, "")):
        return problems
    kind = manifest.get("kind")
    info = BY_NAME.get(kind) if isinstance(kind, str) else None
    if manifest.get("apiVersion") != API_VERSION:
        problems.append(
            f'apiVersion: Unsupported value: {_show_value(manifest.get("apiVersion"))}: must be "{API_VERSION}"'
        )
    if info is None:
        known = ", ".join(f'"{kind}"' for kind in BY_NAME)
        return [*problems, f"kind: Unsupported value: {_show_value(kind)}: supported values: {known}"]
    problems += [f'unknown field "{field}"' for field in manifest if field not in _FIELDS]
    problems += metadata.problems(manifest.get("metadata"))
    problems += _status_problems(manifest.get("status"), info)
    try:
        spec = _parse(info.spec, manifest.get("spec"))
    except ValidationError as error:
        return [*problems, *explain(error)]
    if not problems:
        problems += [_line(rule) for rule in broken(info.rules, _named(manifest, spec))]
    return problems


def validate_update(old: JsonObject, new: JsonObject) -> list[str]:
    """What is wrong with a change from `old` to `new`, two valid manifests of the same resource: a line each."""
    info = BY_NAME[new["kind"]]
    before, after = (_named(manifest, _parse(info.spec, manifest["spec"])) for manifest in (old, new))
    inner = [
        f"spec.{rule.field}: {rule.message}"
        for rule in info.spec.update_rules
        if not rule.holds(before.spec, after.spec)
    ]
    return inner + [_line(rule) for rule in info.update_rules if not rule.holds(before, after)]


def explain(error: ValidationError, root: str = "spec") -> list[str]:
    """What a model found wrong with the content of `root`: a line each."""
    return [line for details in error.errors(include_url=False) for line in _lines(details, root)]


def _parse(model: type[Model], value: Any) -> Any:
    # The names of the Python fields are no names in a manifest.
    return model.model_validate(value, by_alias=True, by_name=False)


def _named(manifest: JsonObject, spec: Any) -> Named:
    return Named(name=manifest["metadata"]["name"], spec=spec)


def _line(rule: Rule | UpdateRule) -> str:
    return f"{rule.field}: {rule.message}"


def _status_problems(status: object, info: KindInfo) -> list[str]:
    """The API server drops the status of a manifest, but not before it has looked for unknown fields."""
    if not isinstance(status, dict):
        return []
    try:
        _parse(info.status, status)
    except ValidationError as error:
        return [line for line in explain(error, "status") if line.startswith("unknown field")]
    return []


def _lines(details: ErrorDetails, root: str) -> Iterator[str]:
    kind, loc, given, context = details["type"], details["loc"], details["input"], details.get("ctx", {})
    path = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    if kind == "extra_forbidden":
        yield f'unknown field "{path}"'
    elif kind == "rules":
        for rule in context["rules"]:
            yield f"{path}.{rule.field}: {rule.message}" if rule.field else f"{path}: {rule.message}"
    elif kind == "duplicate":
        yield f"{path}[{context['index']}]: Duplicate value: {_show_value(context['value'])}"
    elif given is None and (not loc or isinstance(loc[-1], str)):
        # The API server drops the null of a field, and then misses the field.
        yield f"{path}: Required value"
    else:
        names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
        shown = _show_value(given) if kind == "literal_error" else ""
        words = {**context, "given": names.get(type(given), "null"), "value": shown}
        yield f"{path}: {_WORDS[kind].format_map(words) if kind in _WORDS else details['msg']}"


def _not_json(value: object, path: str) -> Iterator[str]:
    """What YAML can say and JSON cannot: it would not reach an API server."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{path or 'manifest'}: the key {key!r} must be of type string: quote it"
            else:
                yield from _not_json(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{path}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{path}: {value} is no number in JSON"
    elif value is not None and not isinstance(value, str | int):
        yield f"{path}: a {type(value).__name__} is no value in JSON: quote it"


def _show_value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."

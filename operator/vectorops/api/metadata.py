"""What the API server checks in any object's metadata, for manifests that no API server sees. See `validation`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from vectorops.api.meta import JsonObject

_FIELDS: Final = frozenset((
    "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "generateName", "uid", "generation",
    "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
    "selfLink",
))  # fmt: skip

_CHARACTERS: Final = "alphanumeric characters, '-', '_' or '.'"
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def problems(metadata: object) -> Iterator[str]:
    """What is wrong, in the API server's words; nothing if all is well."""
    if metadata is not None and not isinstance(metadata, dict):
        yield "metadata: must be an object"
        return
    metadata = metadata or {}
    yield from (f'unknown field "metadata.{field}"' for field in metadata if field not in _FIELDS)
    yield from _name(metadata.get("name"))
    yield from _namespace(metadata.get("namespace"))
    yield from _map(metadata, "labels")
    yield from _map(metadata, "annotations")


def _name(name: object) -> Iterator[str]:
    if name is None or name == "":
        yield "metadata.name: Required value"
    elif not isinstance(name, str):
        yield "metadata.name: must be of type string"
    elif not _SUBDOMAIN.fullmatch(name):
        yield (
            f"metadata.name: Invalid value: {name!r}: a lowercase RFC 1123 subdomain must consist of lower case "
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        )
    elif len(name) > 253:
        yield "metadata.name: must be no more than 253 characters"


def _namespace(namespace: object) -> Iterator[str]:
    if namespace is None or namespace == "":
        return
    if not isinstance(namespace, str) or not _LABEL.fullmatch(namespace) or len(namespace) > 63:
        yield f"metadata.namespace: Invalid value: {namespace!r}: must be a lowercase RFC 1123 label of up to 63 chars"


def _map(metadata: JsonObject, field: str) -> Iterator[str]:
    values: Any = metadata.get(field)
    if values is None:
        return
    if not isinstance(values, dict):
        yield f"metadata.{field}: must be an object"
        return
    for key, value in values.items():
        if not _is_qualified(key.lower() if field == "annotations" else key):
            yield f"metadata.{field}: Invalid value: {key!r}: name part must consist of {_CHARACTERS}"
        if value is None:
            # The API server reads it as the empty string.
            continue
        if not isinstance(value, str):
            yield f"metadata.{field}: {key}: the value must be of type string: quote it"
        elif field == "labels" and value and (len(value) > 63 or not _QUALIFIED.fullmatch(value)):
            yield f"metadata.labels: Invalid value: {value!r}: a valid label must be at most 63 {_CHARACTERS}"


def _is_qualified(key: str) -> bool:
    """`name` or `prefix/name`, as keys of labels and annotations are."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and _QUALIFIED.fullmatch(name) is not None

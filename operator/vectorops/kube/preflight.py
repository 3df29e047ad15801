"""What must be so before the operator begins, or stands by: asked once, so that its first lines say what is missing.

A standby that could not lead must be seen when it is made, not in the hour of need.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from vectorops.api.crd import resource_schema
from vectorops.api.kinds import KindInfo, within
from vectorops.api.meta import GROUP, VERSION, JsonObject
from vectorops.errors import Transient
from vectorops.kube import permissions
from vectorops.kube.calls import NOT_FOUND, TABLE, Calls, Refused, resource_path

logger = logging.getLogger(__name__)

OLDEST_KUBERNETES: Final = (1, 30)
"""Where rules of CRDs are checked as ours need it: validation ratchets since then."""
NAMED_FIELDS: Final = 5


class CannotStart(Exception):
    """Something that the operator cannot do without is missing; the message says what, and often how to get it."""


async def check(calls: Calls, namespaces: Sequence[str], rights: Sequence[permissions.Right]) -> None:
    """Raises CannotStart.

    namespaces: to be watched; none means all. rights: that it needs.
    """
    try:
        _require_supported(await calls.call("GET", "/version"))
        missing = await permissions.missing(calls, rights)
        if missing:
            raise CannotStart(permissions.describe_rights(missing))
        for info in within(namespaces):
            await _require_served(calls, info, namespaces)
        absent = await _absent_fields(calls, namespaces)
    except Transient as error:
        raise CannotStart(error.message) from error
    if absent:
        logger.warning(
            "the installed CustomResourceDefinitions are older than the operator: they drop %s%s; upgrade them with: "
            "vectorops crds | kubectl apply --server-side -f -",
            ", ".join(absent[:NAMED_FIELDS]),
            f" and {len(absent) - NAMED_FIELDS} more fields" if len(absent) > NAMED_FIELDS else "",
        )


def not_installed(info: KindInfo) -> str:
    """What to do about a missing CRD."""
    return (
        f"the CustomResourceDefinition {info.plural}.{GROUP} is not installed, or does not serve {VERSION}; "
        "install all of them with: vectorops crds | kubectl apply --server-side -f -"
    )


def _require_supported(version: JsonObject) -> None:
    # "30+", as some vendors write it.
    numbers = [re.match(r"\d+", str(version.get(part, ""))) for part in ("major", "minor")]
    found = tuple(int(number.group()) for number in numbers if number)
    if len(found) == len(OLDEST_KUBERNETES) and found < OLDEST_KUBERNETES:
        shown = str(version.get("gitVersion", ".".join(map(str, found)))).removeprefix("v")
        oldest = ".".join(map(str, OLDEST_KUBERNETES))
        raise CannotStart(f"Kubernetes {shown} is older than {oldest}, the oldest supported")


async def _require_served(calls: Calls, info: KindInfo, namespaces: Sequence[str]) -> None:
    try:
        path = resource_path(info.kind, namespaces[0] if namespaces else None)
        await calls.call("GET", path, query={"limit": 1}, accept=TABLE)
    except Refused as error:
        if error.status == NOT_FOUND:
            raise CannotStart(not_installed(info)) from error
        raise


async def _absent_fields(calls: Calls, namespaces: Sequence[str]) -> list[str]:
    """Fields that we know and the API server does not: it drops them from what users apply, and says nothing."""
    try:
        found = await calls.call("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")
    except Refused:
        # Not published, or not to us: then nobody can tell.
        return []
    served = {
        schema.get("title", name).rsplit(".", 1)[-1]: schema for name, schema in found["components"]["schemas"].items()
    }
    return [
        f"{info.kind} {path}"
        for info in within(namespaces)
        for path in sorted(set(_fields(resource_schema(info))) - set(_fields(served.get(info.kind, {}))))
    ]


def _fields(schema: JsonObject, path: str = "") -> Iterator[str]:
    """All paths of fields below a schema: `spec.vectors[].size`."""
    properties: dict[str, Any] = schema.get("properties") or {}
    for name, inner in properties.items():
        # The API server describes metadata by a reference, and completely.
        if not path and name == "metadata":
            continue
        here = f"{path}.{name}" if path else name
        yield here
        yield from _fields(inner, here)
    for key, brackets in (("items", "[]"), ("additionalProperties", "{}")):
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield from _fields(inner, path + brackets)

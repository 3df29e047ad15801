"""Whether RBAC lets the operator do what it cannot do without, asked of the API server before anything begins.

Without this a missing `watch` ends the process with a traceback, and a missing `patch` shows at the
first write. What only some resources need is reported where it is missing, such as a Secret in the status of its
connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from vectorops.api.kinds import within
from vectorops.api.meta import GROUP
from vectorops.kube.calls import FORBIDDEN, Calls, Refused

REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Right(NamedTuple):
    """One verb on one resource (or its subresource), in one namespace or in all. name: if it is about one object."""

    resource: str
    verb: str
    namespace: str | None
    subresource: str = ""
    group: str = GROUP
    name: str = ""

    @property
    def place(self) -> str:
        """What it is about, for people."""
        name = f"{self.resource}.{self.group}" + (f"/{self.subresource}" if self.subresource else "")
        name += f" {self.name}" if self.name else ""
        return f"{name} in {f'namespace {self.namespace}' if self.namespace else 'all namespaces'}"


def needed(namespaces: Sequence[str]) -> list[Right]:
    """All that the operator needs to watch these namespaces (none: all)."""
    return [
        right
        for namespace in namespaces or (None,)
        for resource in (info.plural for info in within(namespaces))
        for right in (
            *(Right(resource, verb, namespace) for verb in ("get", "list", "watch", "patch")),
            Right(resource, "patch", namespace, "status"),
        )
    ]


def needed_to_lead(namespace: str, name: str) -> list[Right]:
    """All that it needs to be one of several replicas: a Lease."""
    group = "coordination.k8s.io"
    on_ours = (Right("leases", verb, namespace, group=group, name=name) for verb in ("get", "update"))
    # RBAC cannot limit a right to create to a name.
    return [Right("leases", "create", namespace, group=group), *on_ours]


def needed_to_read_config_maps(namespace: str | None) -> list[Right]:
    """All that it needs where rows are in ConfigMaps of this namespace, or of any."""
    return [Right("configmaps", verb, namespace, group="") for verb in ("list", "watch")]


async def missing(calls: Calls, rights: Sequence[Right]) -> list[Right]:
    """Those that RBAC does not grant; none if it does not even let us ask. Raises Transient."""
    try:
        answers = await asyncio.gather(*(_is_granted(calls, right) for right in rights))
    except Refused as error:
        if error.status != FORBIDDEN:
            raise
        return []
    return [right for right, granted in zip(rights, answers, strict=True) if not granted]


def describe_rights(rights: Sequence[Right]) -> str:
    """What is missing, for people: `patch on pointsets.vectorops.dev/status in namespace team`."""
    verbs: dict[str, list[str]] = {}
    for right in rights:
        verbs.setdefault(right.place, []).append(right.verb)
    lines = [f"{', '.join(found)} on {place}" for place, found in verbs.items()]
    return f"RBAC does not let the operator do what it must; grant its service account: {'; '.join(lines)}"


async def _is_granted(calls: Calls, right: Right) -> bool:
    attributes = {
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "name": right.name,
        "verb": right.verb,
    }
    if right.namespace:
        attributes["namespace"] = right.namespace
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await calls.call("POST", REVIEWS, body=body)
    return bool(answer["status"]["allowed"])

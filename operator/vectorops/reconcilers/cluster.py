"""What reconcilers may ask of Kubernetes. Small on purpose: one implementation is the API server, the other one the
files that are given to the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from vectorops.api.meta import JsonObject, Ref, Resource

MAX_CONFIG_MAPS_BYTES: Final = 64 * 2**20
"""Most characters of content in the ConfigMaps of one source: they are in memory together."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as read. Its repr shows no value."""

    data: Mapping[str, bytes] = field(repr=False)
    """Decoded values."""
    resource_version: str
    """Changes with the content."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace as read."""

    terminating_seconds: float | None
    """For how long it has been terminating; None if it is not."""
    labels: Mapping[str, str] | None = None
    """None: not known, since the operator may not read namespaces."""


class Cluster(Protocol):
    """The objects of one cluster."""

    async def get(self, ref: Ref) -> Resource | None:
        """The object as it is now (not from a cache), or None."""

    async def list(self, kind: str, *, refers_to: Ref) -> list[Resource]:
        """All objects of a kind that need `refers_to` (`references.refers`), never from a cache."""

    async def secret(self, namespace: str, name: str) -> Secret | None: ...

    async def config_maps(self, namespace: str, labels: Mapping[str, str]) -> Sequence[JsonObject]:
        """The ConfigMaps of a namespace that have all of these labels, and `vectorops.dev/source: "true"`, whole, as
        Kubernetes gives them.

        Raises Terminal: SourceRefused if we have no right to read ConfigMaps, SourceInvalid if these are no labels, or
        if there are more than MAX_CONFIG_MAPS_BYTES.
        """

    async def keep_config_map(self, resource: Resource, name: str, data: Mapping[str, str]) -> bool:
        """Makes a ConfigMap in the namespace of the resource, which owns it, have exactly this data; nothing is written
        if it has. Returns whether there is one then: without a cluster there is none.

        Raises Terminal: NotAllowed if we have no right to, OwnedByAnother if there is one that the resource does not
        own. Raises Transient if it is being deleted, or changed meanwhile.
        """

    async def delete_config_map(self, resource: Resource, name: str) -> None:
        """Deletes a ConfigMap if there is one that the resource owns. Raises Terminal NotAllowed."""

    async def namespace(self, name: str) -> Namespace | None: ...

    async def set_finalizer(self, resource: Resource, present: bool) -> Resource:
        """Adds or removes our finalizer, if need be; returns the object as it is then.

        Raises Transient if it changed meanwhile.
        """

    async def write_status(self, resource: Resource, status: JsonObject) -> None:
        """Replaces the status if the object is still the one that was read."""

    async def event(self, resource: Resource, reason: str, message: str, *, warning: bool) -> None:
        """Best effort; never raises."""

"""The `Cluster` of the command line: what the files say, in memory. Made by `apply` and `plan`, asked by
reconcilers and `runner`.

It behaves as an API server with one client: nobody changes an object between a read and a write, so writes never
conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from vectorops.api.kinds import rank
from vectorops.api.meta import FINALIZER, GROUP, SOURCE_LABEL, JsonObject, ObjectMeta, Ref, Resource
from vectorops.reconcilers.cluster import Namespace, Secret
from vectorops.reconcilers.references import refers

NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server gives each namespace this label."""

Tell = Callable[[Ref, str, str], None]
"""Told of an event: whom it is about, its reason, its message."""


def first_day(ref: Ref, **given: object) -> ObjectMeta:
    """The metadata of a new object. The same name gives the same UID: it informs people, and must not change with
    each run.
    """
    uid = uuid5(NAMESPACE_URL, f"{GROUP}/{ref.kind}/{ref.namespace}/{ref.name}")
    meta = ObjectMeta(name=ref.name, namespace=ref.namespace, uid=str(uid), generation=1)
    return meta.model_copy(update=given)


class LocalCluster:
    """Resources and Secrets by name.

    labels: of namespaces. tell: shows events as they happen, for a person who watches. config_maps: as in the files.
    """

    def __init__(
        self,
        resources: Iterable[Resource],
        secrets: Mapping[tuple[str, str], Mapping[str, bytes]],
        tell: Tell = lambda *_: None,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        config_maps: Sequence[JsonObject] = (),
    ) -> None:
        self._resources = {resource.ref: resource for resource in resources}
        self._secrets = secrets
        self._tell = tell
        self._labels = labels or {}
        self._config_maps = config_maps

    @property
    def refs(self) -> list[Ref]:
        """All objects, in the order in which they were given."""
        return list(self._resources)

    def in_order(self) -> list[Ref]:
        """The same, each kind after what it needs."""
        return sorted(self._resources, key=lambda ref: rank(ref.kind))

    def with_others(self, resources: Iterable[Resource]) -> LocalCluster:
        """A cluster of other resources with the same Secrets."""
        return LocalCluster(resources, self._secrets, self._tell, self._labels, self._config_maps)

    def add(self, resource: Resource) -> None:
        """One that no file holds: a connection that `--qdrant` stands in for, or an object that `--prune` removes."""
        self._resources[resource.ref] = resource

    def now(self, ref: Ref) -> Resource | None:
        """The object as it is now; `get` without the wait that a real cluster needs."""
        return self._resources.get(ref)

    async def get(self, ref: Ref) -> Resource | None:
        return self.now(ref)

    async def list(self, kind: str, *, refers_to: Ref) -> list[Resource]:
        return [one for ref, one in self._resources.items() if ref.kind == kind and refers(one, refers_to)]

    async def secret(self, namespace: str, name: str) -> Secret | None:
        places = [place for place in self._secrets if place == (namespace or place[0], name)]
        if len(places) != 1:
            # Of two with this name, where no namespace is known, neither may be the right one.
            return None
        data = self._secrets[places[0]]
        content = b"\0".join(part for key in sorted(data) for part in (key.encode(), data[key]))
        return Secret(data, resource_version=sha256(content).hexdigest())

    async def config_maps(self, namespace: str, labels: Mapping[str, str]) -> Sequence[JsonObject]:
        wanted = {**labels, SOURCE_LABEL: "true"}.items()
        return [
            config_map
            for config_map in self._config_maps
            if config_map["metadata"]["namespace"] == namespace and wanted <= config_map["metadata"]["labels"].items()
        ]

    async def keep_config_map(self, resource: Resource, name: str, data: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Where would it be? `manifests` has said so."""
        return False

    async def delete_config_map(self, resource: Resource, name: str) -> None:
        """There is none."""

    async def namespace(self, name: str) -> Namespace | None:
        """Every namespace is there, and stays."""
        labels = {**self._labels.get(name, {}), NAME_LABEL: name}
        return Namespace(terminating_seconds=None, labels=labels)

    async def set_finalizer(self, resource: Resource, present: bool) -> Resource:
        kept = [name for name in resource.meta.finalizers if name != FINALIZER]
        current = self._resources.get(resource.ref, resource)
        meta = current.meta.model_copy(update={"finalizers": [*kept, FINALIZER] if present else kept})
        changed = replace(current, meta=meta)
        if changed.deleting and not changed.meta.finalizers:
            self._resources.pop(resource.ref, None)
        else:
            self._resources[resource.ref] = changed
        return changed

    async def write_status(self, resource: Resource, status: JsonObject) -> None:
        current = self._resources.get(resource.ref)
        if current is not None:
            self._resources[resource.ref] = replace(current, status=status)

    async def event(self, resource: Resource, reason: str, message: str, *, warning: bool) -> None:  # noqa: ARG002
        self._tell(resource.ref, reason, message)

"""The one reader of Secrets: in which namespace they are, and what is missing or cannot be used, in words.

A namespaced resource names Secrets of its own namespace. A cluster-scoped connection has none: its Secrets are in the
operator's own namespace, or in one that whoever installed the operator allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vectorops.api.meta import Resource, SecretKeyRef
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.reconcilers.cluster import Cluster

ANY_NAMESPACE: Final = ""
"""In place of a namespace, without a cluster: the Secret of that name, in whichever namespace the files have it."""


@dataclass(frozen=True, slots=True)
class SecretNamespaces:
    """Where the Secrets of a resource are, if it is cluster-scoped."""

    own: str | None = None
    """The operator's own namespace; None: it does not know."""
    allowed: frozenset[str] | None = frozenset()
    """Other namespaces that a connection may name; None: all."""

    def of(self, resource: Resource) -> str:
        """The namespace of the Secrets that a resource names. Raises Terminal NotAllowed or InvalidSpec."""
        if resource.meta.namespace:
            return resource.meta.namespace
        named: str | None = resource.spec.get("secretNamespace")
        if named is not None and named != self.own and self.allowed is not None and named not in self.allowed:
            raise Terminal(
                Reason.NOT_ALLOWED,
                f"spec.secretNamespace: this operator reads no Secret of connections in {named!r}; its installation "
                "allows namespaces with --secret-namespace (chart: clusterConnections.secretNamespaces)",
            )
        namespace = named or self.own
        if namespace is None:
            raise Terminal(
                Reason.INVALID_SPEC,
                "spec.secretNamespace is required: the operator does not know its own namespace (--own-namespace)",
            )
        return namespace


OWN_SECRETS: Final = SecretNamespaces()
"""Those of namespaced resources, and no others."""
ANY_SECRETS: Final = SecretNamespaces(ANY_NAMESPACE, None)
"""Of the command line: whoever runs it may read what its files hold."""


@dataclass(slots=True)
class SecretReader:
    """Reads Secrets for one resource."""

    cluster: Cluster
    resource: Resource
    namespaces: SecretNamespaces = OWN_SECRETS
    versions: list[str] = field(default_factory=list)
    """Of what was read, in order: they change with the content."""

    async def read(self, place: str, name: str, key: str) -> bytes:
        """One value. place: the field that names the Secret, for messages.

        Raises Transient SecretNotFound, and what `SecretNamespaces.of` raises.
        """
        values = await self.read_all(place, name)
        if key not in values:
            raise self._missing(place, f"the Secret {name!r} has no key {key!r}")
        return values[key]

    async def read_all(self, place: str, name: str) -> Mapping[str, bytes]:
        """All values of a Secret, by key. place: the field that names it. Raises what `read` raises."""
        secret = await self.cluster.secret(self.namespaces.of(self.resource), name)
        if secret is None:
            raise self._missing(place, f"there is no Secret {name!r}")
        self.versions.append(f"{place}={secret.resource_version}")
        return secret.data

    def _missing(self, place: str, what: str) -> Transient:
        namespace = self.namespaces.of(self.resource)
        where = (
            "this namespace"
            if self.resource.meta.namespace
            else f"namespace {namespace!r}"
            if namespace
            else "the files"
        )
        return Transient(Reason.SECRET_NOT_FOUND, f"{place}: {what} in {where}")

    async def read_api_key(self, place: str, ref: SecretKeyRef) -> str:
        """The same for an API key. Raises Terminal SecretInvalid as well."""
        try:
            # A key that was put into the Secret with `echo` ends in a line break, which no header may carry.
            key = (await self.read(place, ref.name, ref.key)).decode("ascii").strip()
        except UnicodeDecodeError:
            key = ""
        if not key or not key.isprintable():
            raise Terminal(Reason.SECRET_INVALID, f"{place}: the value is not printable ASCII text")
        return key

"""The open databases, one for each connection: opened with what the connection and its Secrets say, and kept.

The connection's reconciler opens them anew at each look (`fresh`), so that a rotated key is noticed; all other
reconcilers take what is open. The last good one is kept even when the Secret is gone: a dying namespace may lose it
first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient, VectorOpsError
from vectorops.qdrant.connect import Credentials
from vectorops.qdrant.database import Database
from vectorops.reconcilers.cluster import Cluster
from vectorops.reconcilers.spec import parse


class Connect(Protocol):
    """`qdrant.connect.connect`, or what the command line puts in its place for `--qdrant`."""

    def __call__(self, spec: QdrantConnectionSpec, credentials: Credentials) -> Database: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """version: what the database was opened with (uid, generation and Secret versions); another one means another
    client.
    """

    version: tuple[str, ...]
    database: Database


class Databases:
    """All open databases of this process, by connection."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._opened: dict[Ref, Opened] = {}

    async def of(self, cluster: Cluster, connection: Resource, *, fresh: bool = False) -> Database:
        """The database of a connection.

        fresh: read the Secrets again even if nothing else changed.
        Raises Transient (SecretNotFound, Unreachable) or Terminal (SecretInvalid, InvalidSpec).
        """
        opened = self._opened.get(connection.ref)
        identity = (connection.meta.uid, str(connection.meta.generation))
        if opened is not None and not fresh and opened.version[:2] == identity:
            return opened.database
        spec = parse(QdrantConnectionSpec, connection)
        credentials, versions = await self._credentials(cluster, connection.meta.namespace, spec)
        version = (*identity, *versions)
        # Another reconciler may have opened it while the Secrets were read.
        opened = self._opened.get(connection.ref)
        if opened is not None and opened.version == version:
            return opened.database
        database = self._connect(spec, credentials)
        self._opened[connection.ref] = Opened(version, database)
        if opened is not None:
            await opened.database.close()
        return database

    async def to_the_end(self, cluster: Cluster, connection: Resource, *, fresh: bool = False) -> Database:
        """The same for cleaning up: where the Secrets are gone, the database that was opened last."""
        try:
            return await self.of(cluster, connection, fresh=fresh)
        except VectorOpsError:
            last = self.last_good(connection.ref)
            if last is None:
                raise
            return last

    def last_good(self, ref: Ref) -> Database | None:
        """The database that was opened last for this connection, for cleaning up when the connection itself is gone."""
        opened = self._opened.get(ref)
        return opened.database if opened else None

    async def close(self, ref: Ref) -> None:
        """The connection is gone, and nobody needs it any more."""
        opened = self._opened.pop(ref, None)
        if opened is not None:
            await opened.database.close()

    async def close_all(self) -> None:
        """At the end of the process."""
        for ref in list(self._opened):
            await self.close(ref)

    async def _credentials(
        self, cluster: Cluster, namespace: str, spec: QdrantConnectionSpec
    ) -> tuple[Credentials, list[str]]:
        versions: list[str] = []

        async def read(field: str, name: str, key: str) -> bytes:
            secret = await cluster.secret(namespace, name)
            if secret is None:
                raise Transient(Reason.SECRET_NOT_FOUND, f"spec.{field}: there is no Secret {name!r} in this namespace")
            if key not in secret.data:
                raise Transient(Reason.SECRET_NOT_FOUND, f"spec.{field}: the Secret {name!r} has no key {key!r}")
            versions.append(f"{field}={secret.resource_version}")
            return secret.data[key]

        api_key = ca = pair = None
        if (key_ref := spec.api_key_secret_ref) is not None:
            api_key = text("spec.apiKeySecretRef", await read("apiKeySecretRef", key_ref.name, key_ref.key))
        if spec.tls is not None and (ca_ref := spec.tls.ca_secret_ref) is not None:
            ca = await read("tls.caSecretRef", ca_ref.name, ca_ref.key)
        if spec.tls is not None and (own := spec.tls.client_certificate_secret_ref) is not None:
            field = "tls.clientCertificateSecretRef"
            pair = (await read(field, own.name, "tls.crt"), await read(field, own.name, "tls.key"))
        return Credentials(api_key=api_key, ca=ca, client_certificate=pair), versions


def text(field: str, value: bytes) -> str:
    """An API key out of a Secret. Raises Terminal SecretInvalid."""
    try:
        # A key that was put into the Secret with `echo` ends in a line break, which no header may carry.
        key = value.decode("ascii").strip()
    except UnicodeDecodeError:
        key = ""
    if not key or not key.isprintable():
        raise Terminal(Reason.SECRET_INVALID, f"{field}: the value is not printable ASCII text")
    return key

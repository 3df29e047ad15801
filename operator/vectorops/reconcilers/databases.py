"""The open databases, one for each connection: opened with what the connection and its Secrets say, and kept.

The connection's reconciler opens them again each time (`fresh`), so that a rotated key is noticed; all other
reconcilers take what is open. The last good one is kept even when the Secret is gone: a dying namespace may lose it
first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import Ref, Resource
from vectorops.errors import VectorOpsError
from vectorops.qdrant.connect import Credentials
from vectorops.qdrant.database import Database
from vectorops.reconcilers.cluster import Cluster
from vectorops.reconcilers.secrets import OWN_SECRETS, SecretNamespaces, SecretReader
from vectorops.reconcilers.spec import parse_connection


class Connect(Protocol):
    """`qdrant.connect.connect`, or what the command line puts in its place for `--qdrant`."""

    def __call__(self, spec: QdrantConnectionSpec, credentials: Credentials) -> Database: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """An open database."""

    version: tuple[str, ...]
    """What it was opened with (uid, generation and Secret versions); another version means another client."""
    database: Database


class Databases:
    """All open databases of this process, by connection."""

    def __init__(self, connect: Connect, secret_namespaces: SecretNamespaces = OWN_SECRETS) -> None:
        self._connect = connect
        self._secret_namespaces = secret_namespaces
        self._opened: dict[Ref, Opened] = {}

    async def of(self, cluster: Cluster, connection: Resource, *, fresh: bool = False) -> Database:
        """The database of a connection.

        fresh: read the Secrets again even if nothing else changed.
        Raises Transient (SecretNotFound, Unreachable) or Terminal (SecretInvalid, InvalidSpec, NotAllowed).
        """
        opened = self._opened.get(connection.ref)
        identity = (connection.meta.uid, str(connection.meta.generation))
        if opened is not None and not fresh and opened.version[:2] == identity:
            return opened.database
        spec = parse_connection(connection)
        credentials, versions = await self._credentials(cluster, connection, spec)
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
        self, cluster: Cluster, connection: Resource, spec: QdrantConnectionSpec
    ) -> tuple[Credentials, list[str]]:
        reader = SecretReader(cluster, connection, self._secret_namespaces)
        api_key = ca = pair = None
        if (key_ref := spec.api_key_secret_ref) is not None:
            api_key = await reader.read_api_key("spec.apiKeySecretRef", key_ref)
        if spec.tls is not None and (ca_ref := spec.tls.ca_secret_ref) is not None:
            ca = await reader.read("spec.tls.caSecretRef", ca_ref.name, ca_ref.key)
        if spec.tls is not None and (own := spec.tls.client_certificate_secret_ref) is not None:
            place = "spec.tls.clientCertificateSecretRef"
            pair = (await reader.read(place, own.name, "tls.crt"), await reader.read(place, own.name, "tls.key"))
        return Credentials(api_key=api_key, ca=ca, client_certificate=pair), reader.versions

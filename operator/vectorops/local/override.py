"""What `--qdrant` means: one server or one folder in place of what all QdrantConnections say. Used by `apply`,
`plan` and `prune`.

The resources themselves are rewritten before anything runs, so that reconcilers, messages and status speak of what
is really used.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from errno import EACCES
from pathlib import Path
from typing import Final

from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.kinds import BY_NAME, CONNECTION_KINDS
from vectorops.api.meta import QDRANT_COLLECTION, JsonObject, Ref, Resource
from vectorops.local.cluster import LocalCluster, first_day
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database
from vectorops.reconcilers.cluster import Cluster
from vectorops.reconcilers.databases import Connect
from vectorops.reconcilers.references import target
from vectorops.reconcilers.secrets import ANY_SECRETS

API_KEY_VARIABLE: Final = "VECTOROPS_QDRANT_API_KEY"
"""The key for `--qdrant URL`. Without it, the Secret that a connection names is used if the files hold it."""

KEPT: Final = ("timeoutSeconds", "ledgerCollectionName", "suspend", "allowedNamespaces", "collectionNames")
"""Fields of a connection that hold for any server."""

UNUSED_URL: Final = "http://localhost:6333"
"""A QdrantConnection must have a URL; nobody asks for it when a folder stands in."""


class WrongTarget(ValueError):
    """What was given to `--qdrant` can be neither a server nor a folder."""


@dataclass(frozen=True, slots=True)
class Override:
    """url or folder: exactly one. api_key: for the URL, or None for what the connections name."""

    url: str | None = None
    folder: Path | None = None
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, given: str, api_key: str | None) -> Override:
        """Raises WrongTarget."""
        if not given:
            # A variable that is not set, most likely. As a path it would be the working directory.
            raise WrongTarget("a URL or a folder is expected; for the working directory, write .")
        if re.match(r"[a-z][a-z0-9+.-]*://", given, re.IGNORECASE):
            if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", given):
                raise WrongTarget("a URL as http://localhost:6333 is expected, without a key or a query in it")
            return cls(url=given, api_key=api_key)
        if re.fullmatch(r"[\w.-]+:\d+", given):
            raise WrongTarget(f"is it http://{given}? For a folder of this name, write ./{given}")
        folder = Path(given)
        if folder.exists() and not folder.is_dir():
            raise WrongTarget(f"{given} is a file; a URL or a folder is expected")
        return cls(folder=folder)

    def make_folder(self) -> None:
        """Raises WrongTarget if the folder cannot be made or written: that is no trouble which passes."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(EACCES, os.strerror(EACCES))
        except OSError as error:
            raise WrongTarget(f"{self.folder}: {error.strerror}") from None

    async def rewrite(self, cluster: LocalCluster) -> None:
        """Makes every connection lead here, and adds those that collections name and the files lack."""
        for ref in [*cluster.refs, *missing_connections(cluster)]:
            if ref.kind not in CONNECTION_KINDS:
                continue
            there = cluster.now(ref) or Resource(ref.kind, first_day(ref), _allows_all(cluster, ref), {})
            kept: JsonObject = {key: there.spec[key] for key in KEPT if key in there.spec}
            # The gRPC port of this server is not known, and often not reachable (`docker run -p 6333:6333`).
            spec: JsonObject = {**kept, "url": self.url or there.spec.get("url") or UNUSED_URL, "preferGrpc": False}
            if self.url is not None:
                spec |= await self._secrets_at_hand(cluster, there)
            cluster.add(replace(there, spec=spec))

    async def _secrets_at_hand(self, cluster: Cluster, there: Resource) -> JsonObject:
        """What the connection says of key and certificates, as far as the files hold the Secrets: those of a
        cluster are rarely in Git.
        """
        kept: JsonObject = {}
        key = there.spec.get("apiKeySecretRef")
        namespace = ANY_SECRETS.of(there)
        if key and self.api_key is None and await cluster.secret(namespace, key["name"]):
            kept["apiKeySecretRef"] = key
        if str(self.url).startswith("https:"):
            tls = dict(there.spec.get("tls") or {})
            for name in ("caSecretRef", "clientCertificateSecretRef"):
                if name in tls and not await cluster.secret(namespace, tls[name]["name"]):
                    del tls[name]
            if tls:
                kept["tls"] = tls
        if kept and "secretNamespace" in there.spec:
            kept["secretNamespace"] = there.spec["secretNamespace"]
        return kept

    def connect(self) -> Connect:
        """In place of `qdrant.connect.connect`."""
        if self.folder is not None:
            return _SharedFolder(self.folder)

        def connect_with_key(spec: QdrantConnectionSpec, credentials: Credentials) -> Database:
            return connect(spec, replace(credentials, api_key=self.api_key or credentials.api_key))

        return connect_with_key


class _SharedFolder:
    """One open folder for all connections: it can be opened once only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database: Database | None = None

    def __call__(self, spec: QdrantConnectionSpec, credentials: Credentials) -> Database:  # noqa: ARG002
        # Here, because it brings the whole of qdrant-client along.
        from vectorops.qdrant.local import LocalQdrant

        self._database = self._database or LocalQdrant(self._folder)
        return self._database


def missing_connections(cluster: LocalCluster) -> set[Ref]:
    """Connections that collections name and that are not there."""
    named = {target(collection) for collection in _collections(cluster)}
    return {ref for ref in named if ref is not None and cluster.now(ref) is None}


def _collections(cluster: LocalCluster) -> list[Resource]:
    return [one for ref in cluster.refs if ref.kind == QDRANT_COLLECTION and (one := cluster.now(ref)) is not None]


def _allows_all(cluster: LocalCluster, ref: Ref) -> JsonObject:
    """What a connection that the files lack allows: all that they declare. Whoever gives the key decides that."""
    if BY_NAME[ref.kind].is_namespaced:
        return {}
    users = {collection.meta.namespace for collection in _collections(cluster) if target(collection) == ref}
    return {"allowedNamespaces": {"names": sorted(users)}, "collectionNames": ["*"]}

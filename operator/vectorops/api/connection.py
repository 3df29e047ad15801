"""QdrantConnection: how to reach one Qdrant. Its name is the stable key of that database; its details may change."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from vectorops.api.meta import CollectionName, LocalRef, Model, SecretKeyRef, Status, Whole
from vectorops.api.rules import Matches, Rule, UpdateRule

LEDGER_COLLECTION = "vectorops-ledger"
"""Default of `QdrantConnectionSpec.ledger_collection_name`."""


class ConnectionTLS(Model):
    """How the server proves itself to us, and we to it."""

    ca_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Certificates (PEM) that sign the server's, in place of the system's authorities."
    )
    client_certificate_secret_ref: LocalRef | None = Field(
        default=None,
        description="A Secret of type kubernetes.io/tls (keys tls.crt and tls.key) to present to the server.",
    )
    server_name: (
        Annotated[
            str,
            Field(min_length=1, max_length=253),
            Matches(
                r"^[A-Za-z0-9_]([-.:A-Za-z0-9_]*[A-Za-z0-9])?$",
                "must be a host name or an IP address, without scheme and port",
            ),
        ]
        | None
    ) = Field(default=None, description="Name to expect in the server's certificate, if not the URL's host.")
    insecure_skip_verify: bool | None = Field(
        default=None,
        description="Accept any certificate. For experiments: whoever answers gets the API key. Points are then "
        "written over REST. Default: false.",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.insecureSkipVerify) && self.insecureSkipVerify) || "
            "!(has(self.caSecretRef) || has(self.serverName))",
            "insecureSkipVerify checks nothing: remove it, or remove caSecretRef and serverName",
            lambda tls: not tls.insecure_skip_verify or (tls.ca_secret_ref is None and tls.server_name is None),
        ),
    )


class QdrantConnectionSpec(Model):
    """How to reach one Qdrant server or cluster."""

    url: Annotated[
        str,
        Matches(
            r"^https?://([-._A-Za-z0-9]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[-._~%!$&'()*+,;=:/A-Za-z0-9]*)?$",
            "must be http:// or https://, a host, and if need be a port and a path: no credentials, query or fragment",
        ),
    ] = Field(
        min_length=1,
        max_length=2048,
        description="REST address, as https://qdrant.search.svc:6333. No credentials, query or fragment in it.",
    )
    grpc_port: Annotated[int, Field(ge=1, le=65535), Whole] | None = Field(
        default=None, description="gRPC port of the same host. Default: 6334."
    )
    prefer_grpc: bool | None = Field(
        default=None,
        description="Write points over gRPC (about twice as fast). Set false where only the REST port is reachable. "
        "Default: true.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None, description="API key. It needs write access to the whole database. Rotated without a restart."
    )
    tls: ConnectionTLS | None = Field(default=None, description="Certificates, for an https URL.")
    timeout_seconds: Annotated[int, Field(ge=1, le=600), Whole] | None = Field(
        default=None, description="Longest wait for one answer, in seconds. Default: 60."
    )
    ledger_collection_name: CollectionName | None = Field(
        default=None,
        description="Collection in which the operator remembers which points it owns. Immutable. "
        f"Default: {LEDGER_COLLECTION}.",
    )
    suspend: bool | None = Field(
        default=None,
        description="Leave everything that uses this connection as it is, deletions included. Default: false.",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.tls) || self.url.startsWith('https://')",
            "tls needs a url that starts with https://",
            lambda spec: spec.tls is None or spec.url.startswith("https://"),
            field="tls",
        ),
    )
    update_rules: ClassVar[tuple[UpdateRule, ...]] = (
        UpdateRule(
            f"(has(self.ledgerCollectionName) ? self.ledgerCollectionName : '{LEDGER_COLLECTION}') == "
            f"(has(oldSelf.ledgerCollectionName) ? oldSelf.ledgerCollectionName : '{LEDGER_COLLECTION}')",
            "ledgerCollectionName is immutable",
            lambda old, new: old.effective_ledger_collection_name == new.effective_ledger_collection_name,
            field="ledgerCollectionName",
        ),
    )

    @property
    def effective_grpc_port(self) -> int:
        return self.grpc_port or 6334

    @property
    def effective_prefer_grpc(self) -> bool:
        return self.prefer_grpc is not False

    @property
    def effective_timeout_seconds(self) -> int:
        return self.timeout_seconds or 60

    @property
    def effective_ledger_collection_name(self) -> str:
        return self.ledger_collection_name or LEDGER_COLLECTION


class ServerStatus(Model):
    """What the server says of itself."""

    version: str = Field(description="Version of the Qdrant server.")
    distributed: bool = Field(description="Does it run as a cluster of its own?")


class QdrantConnectionStatus(Status):
    """What was found at the last look."""

    server: ServerStatus | None = Field(default=None, description="The server that answered last.")
    last_handled_reconcile_at: str | None = Field(
        default=None, description="Value of the last handled annotation vectorops.dev/reconcile."
    )

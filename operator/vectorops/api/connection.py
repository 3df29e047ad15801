"""QdrantConnection: how to reach one Qdrant. Its name is the stable key of that database; its details may change.

ClusterQdrantConnection: the same for several namespaces, with rules which of them may use it, and for which names in
Qdrant. Their users see neither the connection nor its Secrets, nor each other; of the connection they learn its
address at most, from the ConfigMap for readers.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from vectorops.api.meta import (
    CollectionName,
    Model,
    NamespaceName,
    OneOf,
    SecretKeyRef,
    SecretRef,
    Status,
    Whole,
    WithoutNulls,
)
from vectorops.api.rules import Matches, Rule, Unique, UpdateRule

LEDGER_COLLECTION = "vectorops-ledger"
"""Default of `QdrantConnectionSpec.ledger_collection_name`."""


class ConnectionTLS(Model):
    """How the server proves itself to us, and we to it."""

    ca_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Certificates (PEM) that sign the server's, in place of the system's authorities."
    )
    client_certificate_secret_ref: SecretRef | None = Field(
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


COLLECTION_NAMES: Final = ("{namespace}-*",)
"""Default of `ClusterQdrantConnectionSpec.collection_names`."""

NamePattern = Annotated[
    str,
    Field(min_length=1, max_length=255),
    Matches(
        r"""^([^{}/\\:?"<>|\x00-\x1f]|\{namespace\})+$""",
        'must be a pattern of names that Qdrant takes: {namespace} and * have a meaning, and none of / \\ : ? " < > | '
        "and no other { or } may be in it",
    ),
]
"""A pattern of names in Qdrant. `{namespace}`: the user's namespace. `*`: any characters, also none."""


class LabelRequirement(Model):
    """What a label must be like (metav1.LabelSelectorRequirement)."""

    key: Annotated[str, Field(min_length=1, max_length=317)] = Field(description="The label's key.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="In: there is the label, with one of the values. NotIn: there is no such label, or with another "
        "value. Exists: there is the label. DoesNotExist: there is no such label."
    )
    values: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=64)] | None = Field(
        default=None, description="For In and NotIn."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "values are required for In and NotIn, and forbidden for Exists and DoesNotExist",
            lambda requirement: (requirement.operator in ("In", "NotIn")) == bool(requirement.values),
            field="values",
        ),
    )


class LabelSelector(Model):
    """Selects by labels, as in Kubernetes: all that is said must hold; an empty selector selects everything."""

    match_labels: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=63, description="The label's value.")]],
            WithoutNulls,
            Field(max_length=64),
        ]
        | None
    ) = Field(default=None, description="Labels that must be there, with these values.")
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=64)] | None = Field(
        default=None, description="What else must hold of labels."
    )


class AllowedNamespaces(OneOf):
    """Which namespaces may use a connection: exactly one of the two."""

    names: Annotated[list[NamespaceName], Field(max_length=256), Unique()] | None = Field(
        default=None, description="These."
    )
    selector: LabelSelector | None = Field(
        default=None,
        description="Those with these labels. Kubernetes gives each namespace the label kubernetes.io/metadata.name. "
        "Whoever may label a namespace lets it in.",
    )


class ClusterQdrantConnectionSpec(QdrantConnectionSpec):
    """How to reach one Qdrant server or cluster, and who may."""

    allowed_namespaces: AllowedNamespaces | None = Field(
        default=None, description="The namespaces whose collections may use this connection. Default: none."
    )
    collection_names: Annotated[list[NamePattern], Field(min_length=1, max_length=64), Unique()] | None = Field(
        default=None,
        description="Patterns of names in Qdrant: those that a namespace may use for collections and aliases, whoever "
        "manages the collection. {namespace} stands for the namespace, * for any characters. {namespace}-* lets the "
        "namespace a use names of a namespace a-b too; {namespace}.* does not. The collection of ledgers is out of "
        f"reach. Default: {', '.join(COLLECTION_NAMES)}.",
    )
    secret_namespace: NamespaceName | None = Field(
        default=None,
        description="Namespace of the Secrets that this connection names. Others than the operator's own must be "
        "allowed where the operator is installed. Default: the operator's own.",
    )


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

"""The one table of kinds: what there is to know of each besides its fields.

A kind comes after those that it may refer to. So the order of the table is the order of applying, and its reverse the
order of deleting. There is no other list of kinds in the package (`tests/unit/api/test_kinds.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from vectorops.api.collection import QdrantCollectionSpec, QdrantCollectionStatus
from vectorops.api.connection import ClusterQdrantConnectionSpec, QdrantConnectionSpec, QdrantConnectionStatus
from vectorops.api.meta import CLUSTER_QDRANT_CONNECTION, POINT_SET, QDRANT_COLLECTION, QDRANT_CONNECTION, Model, Ref
from vectorops.api.pointset import PointSetSpec, PointSetStatus
from vectorops.api.rules import Rule, UpdateRule


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`. None may show what other writers move, or the table would never be at rest.

    The operator reads some of them, too, where it lists and watches (`OUTLINE`).
    """

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False
    """Shown with `-o wide` only."""


@dataclass(frozen=True, slots=True)
class Named:
    """A resource as root rules see it."""

    name: str
    spec: Any


@dataclass(frozen=True, slots=True)
class Reference:
    """How a kind refers to another one."""

    field: str
    """Field of the spec, an object with `name`, and with `kind` where several kinds can be named."""
    kinds: tuple[str, ...]
    """Kinds that it can name; the first one if it names no kind."""


@dataclass(frozen=True, slots=True)
class KindInfo:
    """One kind."""

    kind: str
    plural: str
    short_name: str
    summary: str
    spec: type[Model]
    status: type[Model]
    columns: tuple[Column, ...]
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"
    refers_to: Reference | None = None
    """None: a connection, which others refer to."""
    selectable: tuple[str, ...] = ()
    """Fields that `kubectl get --field-selector` takes (Kubernetes 1.31; older API servers leave them out)."""
    rules: tuple[Rule, ...] = ()
    """Over the whole resource (`Named`); only what needs its name belongs here. The API server checks them at every
    write, of status and finalizers too, whatever was stored before: a rule tightened here would block deletion.
    """
    update_rules: tuple[UpdateRule, ...] = ()
    """As `rules`, over the old and the new resource."""

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def is_namespaced(self) -> bool:
        return self.scope == "Namespaced"


def effective_name(resource: Named) -> str:
    """The name of a QdrantCollection in Qdrant."""
    name: str = resource.spec.collection_name or resource.name
    return name


def _condition(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


_READY: Final = (Column("Ready", _condition("status")), Column("Reason", _condition("reason")))
_LAST: Final = (
    Column("Message", _condition("message"), wide=True),
    Column("Observed", ".status.observedGeneration", type="integer", wide=True),
    Column("Age", ".metadata.creationTimestamp", type="date"),
)

_EFFECTIVE: Final = "(has({0}.spec.collectionName) ? {0}.spec.collectionName : {0}.metadata.name)"

OUTLINE: Final = frozenset(
    {
        _condition("status"),
        ".status.observedGeneration",
        ".spec.url",
        ".spec.connectionRef.name",
        ".spec.connectionRef.kind",
        ".spec.collectionRef.name",
        ".status.target.connection",
        ".status.target.connectionKind",
    }
)
"""Paths of the columns that the operator must know of *all* resources: who is Ready, and who needs whom."""

KINDS: Final = (
    KindInfo(
        kind=QDRANT_CONNECTION,
        plural="qdrantconnections",
        short_name="qconn",
        summary="How to reach one Qdrant. Its name is the stable key of that database; its details may change.",
        spec=QdrantConnectionSpec,
        status=QdrantConnectionStatus,
        columns=(*_READY, Column("URL", ".spec.url"), Column("Version", ".status.server.version"), *_LAST),
    ),
    KindInfo(
        kind=CLUSTER_QDRANT_CONNECTION,
        plural="clusterqdrantconnections",
        short_name="cqconn",
        summary="How to reach one Qdrant, for all namespaces that it allows. Cluster-scoped.",
        scope="Cluster",
        spec=ClusterQdrantConnectionSpec,
        status=QdrantConnectionStatus,
        columns=(*_READY, Column("URL", ".spec.url"), Column("Version", ".status.server.version"), *_LAST),
    ),
    KindInfo(
        kind=QDRANT_COLLECTION,
        plural="qdrantcollections",
        short_name="qcol",
        summary="A collection, its vectors, and how far the operator may go to keep it as declared.",
        spec=QdrantCollectionSpec,
        status=QdrantCollectionStatus,
        columns=(
            *_READY,
            Column("Connection", ".spec.connectionRef.name"),
            Column("Collection", ".status.collection.name"),
            Column("Schema", ".status.schema.summary"),
            Column("Migration", ".status.migration.phase"),
            Column("ConnectionKind", ".spec.connectionRef.kind", wide=True),
            *_LAST,
        ),
        refers_to=Reference("connectionRef", (QDRANT_CONNECTION, CLUSTER_QDRANT_CONNECTION)),
        selectable=(".spec.connectionRef.name",),
        rules=(
            Rule(
                f"!has(self.spec.aliases) || !({_EFFECTIVE.format('self')} in self.spec.aliases)",
                "an alias must differ from the collection's own name",
                lambda new: effective_name(new) not in (new.spec.aliases or ()),
                field="spec.aliases",
            ),
        ),
        update_rules=(
            UpdateRule(
                f"{_EFFECTIVE.format('self')} == {_EFFECTIVE.format('oldSelf')}",
                "collectionName is immutable",
                lambda old, new: effective_name(old) == effective_name(new),
                field="spec.collectionName",
            ),
        ),
    ),
    KindInfo(
        kind=POINT_SET,
        plural="pointsets",
        short_name="pset",
        summary="Points as they should be: new ones are upserted, changed ones updated, removed ones deleted.",
        spec=PointSetSpec,
        status=PointSetStatus,
        columns=(
            *_READY,
            Column("Collection", ".spec.collectionRef.name"),
            Column("Points", ".status.points.desired", type="integer"),
            Column("Synced", ".status.points.synced", type="integer"),
            Column("Connection", ".status.target.connection", wide=True),
            Column("ConnectionKind", ".status.target.connectionKind", wide=True),
            *_LAST,
        ),
        refers_to=Reference("collectionRef", (QDRANT_COLLECTION,)),
        selectable=(".spec.collectionRef.name",),
    ),
)

BY_NAME: Final = {info.kind: info for info in KINDS}

CONNECTION_KINDS: Final = tuple(info.kind for info in KINDS if info.refers_to is None)
"""Kinds of connections: the breakers for all that use them."""

REFERRING_KINDS: Final = tuple(info.kind for info in KINDS if info.refers_to is not None)
"""Kinds that need a connection, directly or not."""


def rank(kind: str) -> int:
    """The place of a kind in the table: smaller than that of any kind that may refer to it."""
    return list(BY_NAME).index(kind)


def ref_to(kind: str, namespace: str, name: str) -> Ref:
    """An object as one of a namespace names it: without a namespace if its kind is cluster-scoped."""
    return Ref(kind, namespace if BY_NAME[kind].is_namespaced else "", name)


def within(namespaces: Collection[str]) -> tuple[KindInfo, ...]:
    """The kinds that somebody who sees only these namespaces (none: all of them) works with."""
    return tuple(info for info in KINDS if info.is_namespaced or not namespaces)

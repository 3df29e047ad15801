"""What there is to know of each kind besides its fields: names, columns, and the rules that need the resource's name.

`crd` makes a CRD of each row, `validation` checks manifests against it, the API reference has a chapter for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from vectorops.api.collection import QdrantCollectionSpec, QdrantCollectionStatus
from vectorops.api.connection import QdrantConnectionSpec, QdrantConnectionStatus
from vectorops.api.meta import Model
from vectorops.api.pointset import PointSetSpec, PointSetStatus
from vectorops.api.rules import Rule, UpdateRule


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`. None may show what other writers move, or the table would never be at rest.

    The operator reads some of them, too, where it lists and watches (`OUTLINE`).
    wide: shown with `-o wide` only.
    """

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A resource as root rules see it."""

    name: str
    spec: Any


@dataclass(frozen=True, slots=True)
class KindInfo:
    """One kind.

    selectable: fields that `kubectl get --field-selector` takes (Kubernetes 1.31; older API servers leave them out).
    rules, update_rules: over the whole resource (`Named`); only what needs its name belongs here. The API server checks
    them at every write, of status and finalizers too, whatever was stored before: a rule tightened here would block
    deletion.
    """

    kind: str
    plural: str
    short_name: str
    summary: str
    spec: type[Model]
    status: type[Model]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    update_rules: tuple[UpdateRule, ...] = ()

    @property
    def singular(self) -> str:
        return self.kind.lower()


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
        ".spec.collectionRef.name",
        ".status.target.connection",
    }
)
"""Paths of the columns that the operator must know of *all* resources: who is Ready, and who needs whom."""

KINDS: Final = (
    KindInfo(
        kind="QdrantConnection",
        plural="qdrantconnections",
        short_name="qconn",
        summary="How to reach one Qdrant. Its name is the stable key of that database; its details may change.",
        spec=QdrantConnectionSpec,
        status=QdrantConnectionStatus,
        columns=(*_READY, Column("URL", ".spec.url"), Column("Version", ".status.server.version"), *_LAST),
    ),
    KindInfo(
        kind="QdrantCollection",
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
            *_LAST,
        ),
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
        kind="PointSet",
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
            *_LAST,
        ),
        selectable=(".spec.collectionRef.name",),
    ),
)

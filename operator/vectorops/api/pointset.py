"""PointSet: points as they should be. New ones are upserted, changed ones updated, removed ones deleted."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from vectorops.api.collection import PlanStatus
from vectorops.api.meta import (
    QDRANT_CONNECTION,
    ConnectionKind,
    FreeJson,
    LocalRef,
    Model,
    Name,
    OneOf,
    Ref,
    Status,
    Whole,
    WithoutNulls,
)
from vectorops.api.nesting import LEVELS, bounded
from vectorops.api.rules import Rule, UpdateRule
from vectorops.api.source import Duration, Mapping, Source

MAX_POINTS: Final = 2000
"""Points in one resource. etcd holds 1.5 MiB an object, kubectl's annotation 256 KiB: 2,000 small points come near."""


class SparseValues(Model):
    """A sparse vector: `values[i]` stands at `indices[i]`; all other components are 0."""

    indices: list[Annotated[int, Field(ge=0, le=4294967295), Whole]] = Field(
        description="Positions of the components, each once."
    )
    values: list[float] = Field(description="The components, as many as indices.")


class VectorValue(OneOf):
    """One vector of a point: exactly one of the five forms."""

    values: list[float] | None = Field(default=None, description="The components of a dense vector.")
    packed: str | None = Field(
        default=None, description="The components of a dense vector as base64 of little-endian float32."
    )
    rows: list[list[float]] | None = Field(default=None, description="The vectors of a multi-vector.")
    sparse: SparseValues | None = Field(default=None, description="A sparse vector.")
    text: str | None = Field(
        default=None,
        description="A text that the vector's embedder makes the vector of: dense, multi-vector or sparse.",
    )


def _not_null(value: Any) -> Any:
    if value is None:
        # The API server drops a null, and then misses the field.
        raise PydanticCustomError("missing", "Field required")
    return value


class Point(Model):
    """One point."""

    id: Annotated[Any, AfterValidator(_not_null), AfterValidator(bounded)] = Field(
        description="Unsigned integer, UUID, or any string (it becomes a UUIDv5). Other JSON becomes its canonical "
        "string. Write integers from 2^63 on as strings: the API server rounds them."
    )
    vector: VectorValue | None = Field(default=None, description="The unnamed vector.")
    vectors: Annotated[dict[str, VectorValue], WithoutNulls] | None = Field(
        default=None, description="Named vectors, by name. Those left out stay absent."
    )
    payload: FreeJson | None = Field(default=None, description=f"Any JSON object, nested at most {LEVELS} levels deep.")


class PointSetSpec(Model):
    """Points as they should be."""

    collection_ref: LocalRef = Field(description="The QdrantCollection, in the same namespace. Immutable.")
    id_format: Literal["Auto", "Integer"] | None = Field(
        default=None,
        description="Auto: integers, UUIDs, and any other string as a UUIDv5. Integer: integers or their decimal "
        "strings only. Immutable. Default: Auto.",
    )
    shard_key: Name | None = Field(
        default=None,
        description="The shard key that all points of the set are kept under; required where the collection has "
        "`sharding_method: custom`. Immutable. Default: none.",
    )
    store_id_as: Name | None = Field(default=None, description="Payload field that keeps the id as it was declared.")
    points: Annotated[list[Point], Field(max_length=MAX_POINTS)] | None = Field(
        default=None,
        description="The points, where they are few: exactly one of points, source. Keep the resource under 200 KiB. "
        "An empty list is allowed, and deletes all points of the set.",
    )
    source: Source | None = Field(default=None, description="Where the rows are that become the points.")
    mapping: Mapping | None = Field(default=None, description="How a row of the source becomes a point.")
    refresh_interval: Duration | None = Field(
        default=None,
        description="How often to find out whether the source has changed. Default: at each resync of the operator.",
    )
    allow_empty_source: bool | None = Field(
        default=None,
        description="May a source without any row delete all points of the set? Most often it is empty by mistake. "
        "Default: false.",
    )
    max_delete_percent: Annotated[int, Field(ge=0, le=100), Whole] | None = Field(
        default=None,
        description="If more of the set's own points than this would be deleted at once, none is, until the plan in "
        "status is approved; inserts and changes go on. Default: 100.",
    )
    # Both in the order of the collection's: `typing` takes the two for one, and gives whichever was imported first.
    adoption_policy: Literal["Never", "IfMatching"] | None = Field(
        default=None,
        description="What to do with a point that is there already and that no PointSet holds. IfMatching: own it, "
        "without writing it, if its payload and vectors equal the declared ones; a point that is declared with a text "
        "never does. Never: leave it alone, as a conflict. Default: Never.",
    )
    deletion_policy: Literal["Retain", "Delete"] | None = Field(
        default=None, description="What becomes of the set's own points when this resource goes. Default: Delete."
    )
    suspend: bool | None = Field(
        default=None, description="Leave the points as they are. Deletion of this resource still works. Default: false."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.points) != has(self.source)",
            "exactly one of points, source is required",
            lambda spec: (spec.points is None) != (spec.source is None),
        ),
        Rule(
            "has(self.source) || !has(self.mapping) && !has(self.refreshInterval) && !has(self.allowEmptySource)",
            "mapping, refreshInterval and allowEmptySource are about rows: they need source",
            lambda spec: (
                spec.source is not None
                or (spec.mapping, spec.refresh_interval, spec.allow_empty_source) == (None, None, None)
            ),
        ),
    )
    update_rules: ClassVar[tuple[UpdateRule, ...]] = (
        UpdateRule(
            "self.collectionRef.name == oldSelf.collectionRef.name",
            "collectionRef is immutable",
            lambda old, new: old.collection_ref.name == new.collection_ref.name,
            field="collectionRef",
        ),
        UpdateRule(
            "(has(self.idFormat) ? self.idFormat : 'Auto') == (has(oldSelf.idFormat) ? oldSelf.idFormat : 'Auto')",
            "idFormat is immutable",
            lambda old, new: old.effective_id_format == new.effective_id_format,
            field="idFormat",
        ),
        UpdateRule(
            "(has(self.shardKey) ? self.shardKey : '') == (has(oldSelf.shardKey) ? oldSelf.shardKey : '')",
            "shardKey is immutable",
            lambda old, new: (old.shard_key or "") == (new.shard_key or ""),
            field="shardKey",
        ),
    )

    @property
    def effective_id_format(self) -> Literal["Auto", "Integer"]:
        return self.id_format or "Auto"

    @property
    def inline_points(self) -> list[Point]:
        """The points of the manifest; none where they come from a source."""
        return self.points or []

    @property
    def effective_allow_empty_source(self) -> bool:
        return bool(self.allow_empty_source)

    @property
    def effective_max_delete_percent(self) -> int:
        return 100 if self.max_delete_percent is None else self.max_delete_percent

    @property
    def effective_adoption_policy(self) -> Literal["Never", "IfMatching"]:
        return self.adoption_policy or "Never"

    @property
    def effective_deletion_policy(self) -> Literal["Retain", "Delete"]:
        return self.deletion_policy or "Delete"


class PointCounts(Model):
    """How many points there are, and how they fared."""

    desired: int = Field(description="Points that are declared.")
    synced: int = Field(description="Declared points that are in Qdrant as declared.")
    failed: int = Field(description="Declared points that could not be written.")
    conflicts: int = Field(description="Declared points whose id another writer holds.")


class PointFailure(Model):
    """Why one point is not in Qdrant as declared."""

    id: str = Field(description="The id as declared, shortened.")
    reason: str = Field(description="What is wrong, and where. Never content.")


class PointSetTarget(Model):
    """Where the points are; kept here so that they can be deleted when the resources they came by are gone."""

    connection: str = Field(description="Name of the connection.")
    connection_kind: ConnectionKind | None = Field(
        default=None, description="Kind of the connection. Default: QdrantConnection."
    )
    collection: str = Field(description="Name of the collection in Qdrant.")
    incarnation: str = Field(description="The physical collection that holds the points.")

    @classmethod
    def through(cls, connection: Ref, collection: str, incarnation: str) -> Self:
        """The target that is reached through a connection."""
        kind: Any = connection.kind if connection.kind != QDRANT_CONNECTION else None
        return cls(connection=connection.name, connection_kind=kind, collection=collection, incarnation=incarnation)


class PointsCopy(Model):
    """The points of the set in another physical collection of the same QdrantCollection."""

    collection: str = Field(description="Name in Qdrant.")
    incarnation: str = Field(description="Random id of the physical collection.")
    observed_generation: int | None = Field(default=None, description="Generation whose points were brought there.")
    points: PointCounts | None = Field(default=None, description="How the points fared there.")
    revision: str | None = Field(default=None, description="Digest of the files that were read for it last.")
    message: str | None = Field(default=None, description="What is in the way, if anything.")


class SourceStatus(Model):
    """What was read of the source."""

    revision: str = Field(description="Digest of the bytes of all files that were read last.")
    files: int = Field(description="How many files there were.")
    rows: int = Field(description="How many rows they had.")


class ProgressStatus(Model):
    """How far a long pass is. Written every ten seconds at most, and gone when the pass ends."""

    phase: Literal["Fetching", "Reading", "Writing", "Deleting"] = Field(
        description="Fetching files, reading rows, writing points, or deleting points."
    )
    done: int = Field(description="Bytes that were fetched, rows that were read, else points.")
    total: int | None = Field(default=None, description="Of the same, if it is known.")


class PointSetStatus(Status):
    """What was found at the last look. Never content."""

    points: PointCounts | None = Field(default=None, description="How many points there are.")
    source: SourceStatus | None = Field(default=None, description="What was read of the source.")
    progress: ProgressStatus | None = Field(default=None, description="How far a long pass is.")
    target: PointSetTarget | None = Field(default=None, description="Where the points are.")
    copies: list[PointsCopy] = Field(
        default_factory=list,
        description="The same points in the collections beside it: while it is replaced, and until the old one goes.",
    )
    failures: list[PointFailure] = Field(
        default_factory=list, description="The first ten points that failed or conflict."
    )
    plan: PlanStatus | None = Field(
        default=None,
        description="What is done once it is approved: about a collection that was replaced, or more deletions than "
        "maxDeletePercent allows.",
    )
    last_handled_reconcile_at: str | None = Field(
        default=None, description="Value of the last handled annotation vectorops.dev/reconcile."
    )
    last_handled_verify_at: str | None = Field(
        default=None, description="Value of the last handled annotation vectorops.dev/verify."
    )
    last_handled_approve_plan: str | None = Field(
        default=None, description="Value of the last handled annotation vectorops.dev/approve-plan."
    )

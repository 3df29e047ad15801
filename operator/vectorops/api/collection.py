"""QdrantCollection: a collection, its vectors, and how far the operator may go to keep it as declared.

Only names, sizes and policies are typed. Everything else inside `params` and the `*Config` blocks is Qdrant's own,
verbatim, so a new Qdrant option needs no release of ours.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vectorops.api.checks import Checks
from vectorops.api.embedder import MAX_SIZE, Embedder, EmbedderStatus
from vectorops.api.meta import (
    QDRANT_CONNECTION,
    CollectionName,
    Conditions,
    ConnectionKind,
    FreeJson,
    Model,
    Name,
    ObjectName,
    Status,
    Whole,
)
from vectorops.api.migration import Migration, MigrationStatus
from vectorops.api.rules import Rule, Unique, UpdateRule

Distance = Literal["Cosine", "Dot", "Euclid", "Manhattan"]
Datatype = Literal["float32", "float16", "uint8", "turbo4", "turbo8", "turbo16"]

PeerId = Annotated[int, Field(ge=1, le=2**53 - 1), Whole]
"""Id of a node of a distributed Qdrant. It draws them below 2^53, so that numbers in JSON hold them exactly."""


class ConnectionRef(Model):
    """The connection of this collection."""

    name: ObjectName = Field(description="Name of the connection. A QdrantConnection is in the same namespace.")
    kind: ConnectionKind | None = Field(
        default=None, description="QdrantConnection or ClusterQdrantConnection. Default: QdrantConnection."
    )


class Multivector(Model):
    """Several vectors a point, compared together (late interaction)."""

    comparator: Literal["max_sim"] = Field(description="How two sets of vectors are compared.")


class Vector(Model):
    """The schema of one dense vector, or of one multi-vector."""

    # No `Whole`: the API server cannot evaluate the rule below over 384.0, and refuses it.
    size: Annotated[int, Field(ge=1, le=MAX_SIZE)] | None = Field(
        default=None, description="Number of components; instead of `embedder`."
    )
    embedder: Embedder | None = Field(
        default=None, description="The model that makes this vector, and says what it looks like; instead of `size`."
    )
    distance: Distance | None = Field(
        default=None, description="How two vectors are compared. Default: what the embedder's model says, else Cosine."
    )
    datatype: Datatype | None = Field(
        default=None,
        description="How components are stored. turbo4 needs Qdrant 1.18.2, turbo8 and turbo16 need 1.20. Default: "
        "float32.",
    )
    multivector: Multivector | None = Field(
        default=None, description="Set for a multi-vector. Default: what the embedder's model says."
    )
    params: FreeJson | None = Field(
        default=None, description="Other parameters of this vector, as in Qdrant: on_disk and so on."
    )
    hnsw_config: FreeJson | None = Field(default=None, description="HNSW parameters of this vector, as in Qdrant.")
    quantization_config: FreeJson | None = Field(default=None, description="Quantization of this vector, as in Qdrant.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.size) != has(self.embedder)",
            "exactly one of size, embedder is required",
            lambda vector: (vector.size is None) != (vector.embedder is None),
        ),
    )


class NamedVector(Vector):
    """The schema of one named vector."""

    name: Name = Field(description="Name of the vector, unique in the collection.")


class SparseVector(Model):
    """The schema of one sparse vector."""

    name: Name = Field(description="Name of the vector, unique in the collection.")
    embedder: Embedder | None = Field(default=None, description="The model that makes this vector.")
    modifier: Literal["none", "idf"] | None = Field(
        default=None,
        description="idf: weigh by inverse document frequency at query time. Default: what the embedder's model says, "
        "else none.",
    )
    index: FreeJson | None = Field(
        default=None, description="Parameters of the index, as in Qdrant: on_disk, datatype, full_scan_threshold."
    )


class PayloadIndex(Model):
    """An index on a payload field."""

    field: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="Path of the payload field, as in Qdrant: keys of letters, digits, _ and -, joined by a dot, each "
        "with [] behind it where it holds a list; any other key in double quotes."
    )
    schema_: FreeJson = Field(alias="schema", description="The index as in Qdrant: {type: keyword, is_tenant: true}.")


class ShardKey(Model):
    """One shard key of a collection with `sharding_method: custom`: its points lie in shards of their own."""

    name: Name = Field(
        description="The shard key. Always a string: the number 5, which Qdrant takes as well, would be another key."
    )
    shards_number: Annotated[int, Field(ge=1, le=2**32 - 1), Whole] | None = Field(
        default=None, description="Number of shards of this key. Fixed when it is made. Default: params.shard_number."
    )
    replication_factor: Annotated[int, Field(ge=1, le=2**32 - 1), Whole] | None = Field(
        default=None,
        description="Number of replicas of each of its shards, when it is made. Default: params.replication_factor.",
    )
    placement: Annotated[list[PeerId], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Ids of the peers that its shards are made on. Default: Qdrant chooses."
    )


class QdrantCollectionSpec(Model):
    """A collection as it should be."""

    connection_ref: ConnectionRef = Field(description="The database. Immutable.")
    collection_name: CollectionName | None = Field(
        default=None, description="Name in Qdrant. Immutable. Default: the resource's name."
    )
    layout: Literal["Direct", "Aliased"] | None = Field(
        default=None,
        description="Direct: the collection in Qdrant has this name. Aliased: the name is an alias, and the collection "
        "behind it is called NAME-1a2b3c4d, so that a change that cannot be made in place is made beside it. Aliased "
        "cannot be taken back. Default: Direct.",
    )
    managed_by: Literal["System", "User"] | None = Field(
        default=None,
        description="System: the operator creates it and keeps it as declared. User: it must exist; it is compared, "
        "and never changed. Default: System.",
    )
    adoption_policy: Literal["Never", "IfMatching"] | None = Field(
        default=None,
        description="What to do with a collection that was there first and has no other owner. IfMatching: adopt it if "
        "nothing would have to be destroyed. Never: leave it alone. Default: IfMatching.",
    )
    deletion_policy: Literal["Retain", "Delete"] | None = Field(
        default=None, description="What becomes of the collection when this resource goes. Default: Retain."
    )
    drift_policy: Literal["Correct", "Report"] | None = Field(
        default=None, description="What to do when the collection was changed by others. Default: Correct."
    )
    replica_policy: Literal["Report", "Converge"] | None = Field(
        default=None,
        description="What to do on a distributed Qdrant when a shard has more or fewer replicas than "
        "params.replication_factor, as after the factor was raised or a node was lost. Report: tell it. Converge: "
        "make, move and drop replicas, one at a time, never the last active one. Default: Report.",
    )
    migration: Migration | None = Field(
        default=None, description="With layout: Aliased, how a change that cannot be made in place is made."
    )
    checks: Checks | None = Field(
        default=None,
        description="Questions that must be answered well enough before readers are moved to another collection.",
    )
    snapshot_before: bool | None = Field(
        default=None,
        description="Take a snapshot in Qdrant before an old collection is retired, and before an approved plan that "
        "loses data is carried out. Default: false.",
    )
    reader_config_map: bool | None = Field(
        default=None,
        description="Keep a ConfigMap NAME-reader with what a reader must know: URL, names, models. Default: false.",
    )
    suspend: bool | None = Field(
        default=None,
        description="Leave the collection as it is. Deletion of this resource still works. Default: false.",
    )
    vector: Vector | None = Field(default=None, description="The vector without a name.")
    vectors: Annotated[list[NamedVector], Field(min_length=1, max_length=64), Unique("name")] | None = Field(
        default=None, description="Named vectors."
    )
    sparse_vectors: Annotated[list[SparseVector], Field(min_length=1, max_length=64), Unique("name")] | None = Field(
        default=None, description="Sparse vectors."
    )
    payload_indexes: Annotated[list[PayloadIndex], Field(max_length=256), Unique("field")] | None = Field(
        default=None, description="Payload indexes. Those that others made are left alone."
    )
    aliases: Annotated[list[CollectionName], Field(max_length=64), Unique()] | None = Field(
        default=None,
        description="Other names of the collection. An alias that a collection of another resource has is taken "
        "only when that resource no longer declares it.",
    )
    params: FreeJson | None = Field(
        default=None,
        description="Parameters of the collection, as in Qdrant: shard_number, on_disk_payload, replication_factor and "
        "so on.",
    )
    shard_keys: Annotated[list[ShardKey], Field(max_length=256), Unique("name")] | None = Field(
        default=None,
        description="Shard keys, for `params.sharding_method: custom` on a distributed Qdrant. Those that others made "
        "are left alone.",
    )
    metadata: FreeJson | None = Field(
        default=None,
        description="Any JSON object, merged by top-level key into the collection's metadata; `null` removes a key. "
        "Keys that others set are left alone; those that begin with `vectorops.dev/` are the operator's.",
    )
    hnsw_config: FreeJson | None = Field(default=None, description="HNSW parameters, as in Qdrant.")
    optimizers_config: FreeJson | None = Field(default=None, description="Optimizer parameters, as in Qdrant.")
    quantization_config: FreeJson | None = Field(default=None, description="Quantization, as in Qdrant.")
    wal_config: FreeJson | None = Field(
        default=None, description="Write-ahead log parameters, as in Qdrant. Only at creation."
    )
    strict_mode_config: FreeJson | None = Field(
        default=None, description="Strict mode limits, as in Qdrant. They bind the operator too."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.vector) || has(self.vectors) || has(self.sparseVectors)",
            "at least one of vector, vectors, sparseVectors is required",
            lambda spec: spec.vector is not None or spec.vectors is not None or spec.sparse_vectors is not None,
        ),
        Rule(
            "!has(self.vectors) || !has(self.sparseVectors) || "
            "self.vectors.all(v, !self.sparseVectors.exists(s, s.name == v.name))",
            "a name is used in both vectors and sparseVectors",
            lambda spec: not {v.name for v in spec.vectors or ()} & {s.name for s in spec.sparse_vectors or ()},
            field="sparseVectors",
        ),
        Rule(
            "!(has(self.managedBy) && self.managedBy == 'User' && "
            "has(self.deletionPolicy) && self.deletionPolicy == 'Delete')",
            "deletionPolicy: Delete needs managedBy: System, because a collection of the user is never changed",
            lambda spec: not (spec.is_users and spec.effective_deletion_policy == "Delete"),
            field="deletionPolicy",
        ),
        Rule(
            "!(has(self.managedBy) && self.managedBy == 'User' && "
            "has(self.replicaPolicy) && self.replicaPolicy == 'Converge')",
            "replicaPolicy: Converge needs managedBy: System, because a collection of the user is never changed",
            lambda spec: not (spec.is_users and spec.effective_replica_policy == "Converge"),
            field="replicaPolicy",
        ),
        Rule(
            "!(has(self.managedBy) && self.managedBy == 'User' && has(self.layout) && self.layout == 'Aliased')",
            "layout: Aliased needs managedBy: System, because a collection of the user is never changed",
            lambda spec: not (spec.is_users and spec.is_aliased),
            field="layout",
        ),
        Rule(
            "!has(self.migration) || has(self.layout) && self.layout == 'Aliased'",
            "migration needs layout: Aliased",
            lambda spec: spec.migration is None or spec.is_aliased,
            field="migration",
        ),
    )
    update_rules: ClassVar[tuple[UpdateRule, ...]] = (
        UpdateRule(
            "self.connectionRef.name == oldSelf.connectionRef.name && "
            "(has(self.connectionRef.kind) ? self.connectionRef.kind : 'QdrantConnection') == "
            "(has(oldSelf.connectionRef.kind) ? oldSelf.connectionRef.kind : 'QdrantConnection')",
            "connectionRef is immutable",
            lambda old, new: (
                (old.connection_ref.name, old.connection_ref.kind or QDRANT_CONNECTION)
                == (new.connection_ref.name, new.connection_ref.kind or QDRANT_CONNECTION)
            ),
            field="connectionRef",
        ),
        UpdateRule(
            "!has(oldSelf.layout) || oldSelf.layout != 'Aliased' || has(self.layout) && self.layout == 'Aliased'",
            "layout: Aliased cannot be taken back",
            lambda old, new: new.is_aliased or not old.is_aliased,
            field="layout",
        ),
    )

    @property
    def effective_managed_by(self) -> Literal["System", "User"]:
        return self.managed_by or "System"

    @property
    def is_users(self) -> bool:
        """Does its user manage the collection, so that the operator never changes it?"""
        return self.effective_managed_by == "User"

    @property
    def effective_layout(self) -> Literal["Direct", "Aliased"]:
        return self.layout or "Direct"

    @property
    def is_aliased(self) -> bool:
        """Is the declared name an alias, and the collection behind it exchangeable?"""
        return self.effective_layout == "Aliased"

    @property
    def migration_settings(self) -> Migration:
        return self.migration or Migration()

    @property
    def effective_snapshot_before(self) -> bool:
        return bool(self.snapshot_before)

    @property
    def effective_reader_config_map(self) -> bool:
        return bool(self.reader_config_map)

    @property
    def effective_adoption_policy(self) -> Literal["IfMatching", "Never"]:
        return self.adoption_policy or "IfMatching"

    @property
    def effective_deletion_policy(self) -> Literal["Retain", "Delete"]:
        return self.deletion_policy or "Retain"

    @property
    def effective_drift_policy(self) -> Literal["Correct", "Report"]:
        return self.drift_policy or "Correct"

    @property
    def effective_replica_policy(self) -> Literal["Report", "Converge"]:
        return self.replica_policy or "Report"


class PhysicalCollection(Model):
    """The collection in Qdrant that this resource speaks of."""

    name: str = Field(description="Name in Qdrant.")
    incarnation: str | None = Field(
        default=None,
        description="Random id of this physical collection; another collection of the same name has another.",
    )


class VectorStatus(Model):
    """One vector as resolved."""

    name: str = Field(description="Name of the vector; empty for the unnamed one.")
    kind: Literal["dense", "multivector", "sparse"] = Field(description="dense, multivector or sparse.")
    size: int | None = Field(default=None, description="Number of components; absent for a sparse vector.")
    distance: str | None = Field(default=None, description="How two vectors are compared; absent for a sparse vector.")
    datatype: str | None = Field(default=None, description="How components are stored.")
    embedder: EmbedderStatus | None = Field(default=None, description="The model that makes this vector.")
    sources: dict[str, Annotated[str, Field(description="In words.")]] = Field(
        default_factory=dict, description="Where each of kind, size, distance, datatype and revision comes from."
    )


class SchemaStatus(Model):
    """The vectors as resolved."""

    summary: str = Field(description="One line for `kubectl get`.")
    vectors: list[VectorStatus] = Field(default_factory=list, description="Each vector, sorted by name.")


class PlanStatus(Model):
    """Steps that are held back."""

    hash: str = Field(description="Put it into the annotation vectorops.dev/approve-plan to have the steps done, once.")
    nonce: str | None = Field(
        default=None,
        description="Random, and part of the hash: another plan, or a restored one, never has the same hash.",
    )
    steps: list[str] = Field(description="What would be done, in order.")
    destructive: bool = Field(description="Would data be lost?")
    approved: bool | None = Field(
        default=None, description="It is carried out as soon as all PointSets of the collection are not Ready."
    )


class HealthStatus(Model):
    """What Qdrant says of a collection that is not well."""

    color: str = Field(description="green, yellow, grey or red.")
    optimizer: str | None = Field(default=None, description="What the optimizer failed at.")
    warnings: list[str] = Field(default_factory=list, description="Warnings about the configuration.")


class ReplicasStatus(Model):
    """The replicas of all shards together."""

    wanted: int = Field(description="How many there should be: the factor for each shard.")
    active: int = Field(description="How many serve.")
    dead: int = Field(description="How many do not; they come back by themselves, with their node.")
    transferring: int = Field(description="How many are being made.")


class QdrantCollectionStatus(Status):
    """What was found at the last look."""

    conditions: Conditions = Field(
        default_factory=list,
        description="Ready; Reconciling, Stalled, Drifted, Unhealthy and QualityDegraded only while true.",
    )
    collection: PhysicalCollection | None = Field(default=None, description="The collection in Qdrant.")
    schema_: SchemaStatus | None = Field(default=None, alias="schema", description="The vectors as resolved.")
    plan: PlanStatus | None = Field(default=None, description="Steps that are held back, if any.")
    migration: MigrationStatus | None = Field(
        default=None, description="The migration to another collection, until its grace period is over."
    )
    reader_config_map: str | None = Field(
        default=None, description="The ConfigMap that is kept for readers, in the same namespace."
    )
    replicas: ReplicasStatus | None = Field(
        default=None, description="Its replicas; absent where Qdrant is not distributed."
    )
    health: HealthStatus | None = Field(
        default=None, description="What Qdrant says of the collection, unless it is well; yellow is."
    )
    last_handled_reconcile_at: str | None = Field(
        default=None, description="Value of the last handled annotation vectorops.dev/reconcile."
    )
    last_handled_take_over_from: str | None = Field(
        default=None,
        description="Value of the last handled annotation vectorops.dev/take-over-from. One that the resource had when "
        "the operator first saw it counts as handled.",
    )
    last_handled_approve_plan: str | None = Field(
        default=None, description="Value of the last handled annotation vectorops.dev/approve-plan."
    )

"""What one pass over a PointSet works with: where its points go, what is declared of them, where its ledger is.

Found out here, once: the reconciler hands it to `points.sync.sync`, `vectorops plan` to
`points.sync_preview.preview_sync`. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Set
from dataclasses import dataclass, replace
from types import MappingProxyType

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.connection import LEDGER_COLLECTION
from vectorops.api.kinds import ref_to
from vectorops.api.meta import POINT_SET, QDRANT_CONNECTION, SKIP_CLEANUP, Ref, Resource
from vectorops.api.pointset import PointSetSpec, PointSetTarget
from vectorops.api.reasons import Reason
from vectorops.collections.locks import locks_of
from vectorops.errors import Terminal, Waiting
from vectorops.ledger.records import LedgerKey
from vectorops.ledger.store import LedgerStore
from vectorops.points.identity import UnusableId, point_id
from vectorops.points.schema import point_schema
from vectorops.points.stored_vectors import StoredVectors
from vectorops.points.target import GivenUp, Target
from vectorops.qdrant.database import PointId
from vectorops.qdrant.marks import LEDGER_KEY, Mark, registration_key
from vectorops.qdrant.observe import Observed, read_collection, require_no_alias
from vectorops.reconcilers import approvals
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.cleanup import has_left
from vectorops.reconcilers.dependencies import (
    UNMANAGED,
    Access,
    cleanup_access,
    holds_ledgers,
    require_access,
    require_collection,
)
from vectorops.reconcilers.embedding import Embedding, resolved, spec_place
from vectorops.reconcilers.embedding import declared as declared_embedders
from vectorops.reconcilers.ownership import kept_for_ledgers, require_no_owner
from vectorops.reconcilers.placement import find_placement
from vectorops.reconcilers.references import target
from vectorops.reconcilers.spec import RawSpec, parse
from vectorops.reconcilers.tenancy import is_shared


@dataclass(frozen=True, slots=True)
class Destination:
    """The physical collection that the points of a set go to."""

    collection: Resource
    """The QdrantCollection."""
    access: Access
    observed: Observed
    """As it is in Qdrant, or, for `vectorops plan`, as it will be."""
    beside: tuple[Observed, ...] = ()
    """The other collections that the same points go to, the one that serves readers first."""

    @property
    def incarnation(self) -> str:
        """Of a collection that its user manages: that of the time when it was ours, if it ever was."""
        return self.observed.mark.incarnation if self.observed.mark else UNMANAGED

    @property
    def left_out(self) -> frozenset[str]:
        """Vectors that it has not, and that another destination of the same points has."""
        return frozenset[str]().union(*map(_vectors_of, self.beside)) - _vectors_of(self.observed)

    @property
    def others(self) -> list[tuple[Observed, PointSetTarget]]:
        """The other collections that the same points go to, and how the status of the set would keep them."""
        through = self.access.connection
        return [
            (other, PointSetTarget.through(through, other.name, other.mark.incarnation))
            for other in self.beside
            if other.mark is not None
        ]

    @property
    def remembered(self) -> PointSetTarget:
        """As the status of the set keeps it."""
        return PointSetTarget.through(self.access.connection, self.observed.name, self.incarnation)


async def find_destinations(
    context: Context,
    resource: Resource,
    spec: PointSetSpec,
    predicted: Mapping[Ref, Observed] = MappingProxyType({}),
) -> list[Destination]:
    """Where the points of a set go, if they may go there: into the collection that serves readers, and then into those
    beside it.

    predicted: active collections as they will be, in place of what Qdrant says, by their QdrantCollections.
    Raises Waiting if the collection or its connection is not ready, Terminal InvalidSpec, AliasTaken, OwnedByAnother,
    UnknownMark.
    """
    collection = await require_collection(context, resource)
    if (collection.status.get("plan") or {}).get("approved") and not RawSpec(collection).is_suspended:
        raise _not_ready(collection, "an approved plan takes something from its points; then they are looked at again")
    access = await require_access(context, collection)
    placement = await find_placement(access.database, collection, context.installation)
    observed = predicted.get(collection.ref) or placement.active
    name = observed.name
    if not observed.exists:
        raise _not_ready(collection, "there is no such collection in Qdrant yet")
    mark = observed.mark
    if RawSpec(collection).is_users:
        # Qdrant would lead us through an alias, into one collection today and into another one tomorrow.
        require_no_alias(name, await access.database.aliases())
        require_no_owner(mark, context.installation, collection.ref, is_shared=is_shared(collection))
        if await holds_ledgers(access.database, observed):
            raise kept_for_ledgers(name)
    elif mark is None or not mark.belongs_to(context.installation, collection.ref):
        raise _not_ready(collection, "it does not own the collection in Qdrant")
    _check_shard_key(spec, collection, observed)
    every = (observed, *placement.others)
    return [Destination(collection, access, one, tuple(other for other in every if other is not one)) for one in every]


def _vectors_of(observed: Observed) -> frozenset[str]:
    return frozenset(observed.vectors) | frozenset(observed.sparse_vectors)


@dataclass(frozen=True, slots=True)
class Situation:
    """What `points.sync` is to work with."""

    resource: Resource
    destination: Destination
    embedding: Embedding
    store: LedgerStore
    target: Target
    given_up: GivenUp
    """Asks which of its points a sibling no longer declares."""
    approval: Callable[..., Awaitable[Approval]]
    """Of what a digest stands for: to begin again in a collection that was replaced, or to delete many points.
    more_points: see `approvals.approval`.
    """


async def find_situation(
    context: Context, resource: Resource, spec: PointSetSpec, destination: Destination, texts: Set[str]
) -> Situation:
    """texts: names of the vectors that some point gives as text; `spec` needs no points.

    Raises Waiting CollectionNotReady, and what `embedding.resolved` raises.
    """
    access, observed = destination.access, destination.observed
    embedding = await embedding_of(context, destination.collection, texts - destination.left_out, observed.mark)
    schema = point_schema(observed)
    store = ledger_store(context, access, resource, destination.remembered, observed)
    store = store.for_shard_key(spec.shard_key or "")

    async def approval(digest: str, more_points: int = 0) -> Approval:
        database, name = access.database, observed.name
        return await approvals.approval(context, resource, digest, database, name, more_points=more_points)

    async def approves(digest: str) -> bool:
        return (await approval(digest)).given

    key = registration_key(store.key.installation, store.key.point_set)
    named = {} if store.ledger_collection == LEDGER_COLLECTION else {LEDGER_KEY: store.ledger_collection}
    is_users = RawSpec(destination.collection).is_users
    to = Target(
        collection=observed.name,
        schema=schema,
        # A collection of the user's gets nothing written into it, so nobody can tell whether a ledger was lost.
        registered=None if is_users else key in observed.registrations(store.key.incarnation),
        registration={key: store.key.incarnation, **named},
        previous=former_keys(store.key, observed.mark),
        elsewhere=tuple(sorted({observed.ledger_collection, LEDGER_COLLECTION} - {"", store.ledger_collection})),
        replication_factor=observed.replication_factor,
        marked=store.key.incarnation != UNMANAGED,
        approves=approves,
        hides=observed.hides_points,
        checks_presence=context.verification is None,
        left_out=destination.left_out,
        vectors_from=tuple(
            StoredVectors(ledger_store(context, access, resource, where, other), point_schema(other))
            for other, where in destination.others
        ),
        adopts=spec.effective_adoption_policy == "IfMatching",
    )
    given_up = _given_up_by(context, resource)
    return Situation(resource, destination, embedding, store, to, given_up, approval)


def _check_shard_key(spec: PointSetSpec, collection: Resource, observed: Observed) -> None:
    """Can points be kept under the declared shard key, or without one? Raises Terminal InvalidSpec, Waiting
    CollectionNotReady.
    """
    key, of = spec.shard_key, f"QdrantCollection {collection.meta.name!r}"
    # It is immutable, but nothing of such a set was ever written.
    again = "delete this set and create it again"
    if not observed.is_sharded_by_key:
        if key is not None:
            raise Terminal(Reason.INVALID_SPEC, f"spec.shardKey: {of} has no shard keys; {again} without shardKey")
        return
    if key is None:
        raise Terminal(
            Reason.INVALID_SPEC,
            f"spec.shardKey is required: {of} has sharding_method: custom, so Qdrant takes no point without a shard "
            f"key; {again} with one",
        )
    if key not in observed.shard_keys:
        raise _not_ready(collection, f"it has no shard key {key!r}; declare it in spec.shardKeys there")


async def embedding_of(context: Context, collection: Resource, names: Set[str], mark: Mark | None) -> Embedding:
    """What makes vectors of the texts of a set, by the locks; without any embedder if it has no text.

    names: of the vectors that the set gives as text.
    mark: of the collection. While a change of an embedder is held back, the lock still names the one that made the
    vectors that are stored. Raises Waiting CollectionNotReady, and what `resolved` raises.
    """
    if not names:
        return Embedding(context, collection, {})
    try:
        declared = parse(QdrantCollectionSpec, collection)
    except Terminal as error:
        raise _not_ready(collection, error.message) from error
    is_users = RawSpec(collection).is_users
    locked = await resolved(context, collection, declared, None) if is_users else locks_of(mark)
    # Beside the active collection there may be one with vectors of a declaration before.
    former = locked.keys() if RawSpec(collection).is_aliased else frozenset[str]()
    with_embedder = sorted(names & (declared_embedders(declared).keys() | former))
    for name in with_embedder:
        if name not in locked:
            raise _not_ready(collection, f"the embedder of {spec_place(name)} is not resolved yet")
    return Embedding(context, collection, {name: locked[name] for name in with_embedder})


def _not_ready(collection: Resource, why: str) -> Waiting:
    message = f"QdrantCollection {collection.meta.name!r} is not ready: {why}"
    return Waiting(Reason.COLLECTION_NOT_READY, message, on=collection.ref)


def _given_up_by(context: Context, resource: Resource) -> GivenUp:
    """Asks siblings, sets of the same collection and namespace, which points of theirs they no longer declare.

    One that is being deleted declares nothing, if it deletes its points. One that is suspended keeps what it has, and
    so does one that does not say all its ids, or whose points come from a source.
    """

    async def given_up(owner: str, ids: Collection[PointId]) -> Set[PointId]:
        installation, namespace, name = owner.rsplit("/", 2)
        if (installation, namespace) != (context.installation, resource.meta.namespace):
            return frozenset()
        holder = await context.cluster.get(Ref(POINT_SET, namespace, name))
        if holder is None or target(holder) != target(resource) or RawSpec(holder).is_suspended:
            return frozenset()
        if holder.deleting:
            leaves = has_left(holder) or holder.meta.annotations.get(SKIP_CLEANUP) == "true"
            return frozenset() if leaves or not RawSpec(holder).deletes else frozenset(ids)
        try:
            spec = parse(PointSetSpec, holder)
            if spec.source is not None:
                # Which rows its source has, only its own reconciliation finds out. What it deletes, others may have.
                return frozenset()
            declared = {point_id(point.id, spec.effective_id_format) for point in spec.inline_points}
        except (Terminal, UnusableId):
            return frozenset()
        return frozenset(ids) - declared

    return given_up


# ---- ledgers ----


def ledger_store(
    context: Context, access: Access, resource: Resource, where: PointSetTarget, observed: Observed
) -> LedgerStore:
    """The ledger of a set in one physical collection. observed: that collection, if it is still there."""
    return LedgerStore(
        access.database,
        access.ledger_collection,
        LedgerKey(context.installation, resource.ref, where.collection, where.incarnation),
        context.writer,
        deletion_policy="Delete" if RawSpec(resource).deletes else "Retain",
        created_at=observed.created_at if where.incarnation == UNMANAGED else "",
    )


def former_keys(key: LedgerKey, mark: Mark | None) -> tuple[LedgerKey, ...]:
    """Under which keys the same set may have kept its ledger of this collection before: that of the installation that
    the collection was taken over from, and that of the time when its user managed it.
    """
    taken_over = (replace(key, installation=mark.previous),) if mark and mark.previous else ()
    users = (replace(key, incarnation=UNMANAGED),) if key.incarnation != UNMANAGED else ()
    return taken_over + users


# ---- deletion ----


@dataclass(frozen=True, slots=True)
class Removal:
    """What would be done about the points of a set that is being deleted."""

    access: Access
    where: PointSetTarget
    stores: tuple[LedgerStore, ...]
    """The ledgers of the set for this physical collection: one, and those from before the collection changed hands."""
    is_gone: bool
    """Is the physical collection that held the points gone, and they with it?"""
    deletes: bool
    """Are the points deleted (`deletionPolicy`)? Else they stay, and are nobody's."""
    registration: str | None
    """The key in the collection's metadata that says: a ledger of this set must exist. None if it is not there."""


async def find_removals(context: Context, resource: Resource) -> list[Removal]:
    """Of each physical collection that the set has points in, as far as anybody knows; the one that serves readers
    comes last. Raises what `cleanup_access` raises.
    """
    where = await _remembered_target(context, resource)
    if where is None:
        return []
    connection = ref_to(where.connection_kind or QDRANT_CONNECTION, resource.meta.namespace, where.connection)
    access = await cleanup_access(context, connection)
    ref = target(resource)
    collection = await context.cluster.get(ref) if ref else None
    found = []
    if collection is not None and RawSpec(collection).is_aliased and target(collection) == connection:
        placement = await find_placement(access.database, collection, context.installation)
        for one in placement.all:
            if one.name != where.collection and one.mark is not None:
                beside = PointSetTarget.through(connection, one.name, one.mark.incarnation)
                found.append(await _find_removal(context, resource, access, beside))
    return [*found, await _find_removal(context, resource, access, where)]


async def _find_removal(context: Context, resource: Resource, access: Access, where: PointSetTarget) -> Removal:
    # A name that is an alias by now leads to another collection; the one that held the points is gone.
    is_alias = where.collection in await access.database.aliases()
    observed = (
        Observed(where.collection, exists=False)
        if is_alias
        else await read_collection(access.database, where.collection)
    )
    store = ledger_store(context, access, resource, where, observed)
    mark = observed.mark
    key = registration_key(context.installation, resource.ref)
    is_registered = key in observed.registrations(where.incarnation)
    # What the set entered tells the incarnation, too, where somebody wiped the mark.
    current = mark.incarnation if mark else where.incarnation if is_registered else UNMANAGED
    return Removal(
        access,
        where,
        # Killed, or deleted, before the first pass after the collection changed hands, it has its former ledger still.
        stores=(store, *(replace(store, key=key) for key in former_keys(store.key, mark))),
        is_gone=not observed.exists or where.incarnation not in {current, UNMANAGED},
        deletes=RawSpec(resource).deletes,
        registration=key if is_registered else None,
    )


async def _remembered_target(context: Context, resource: Resource) -> PointSetTarget | None:
    """Where the points of a set are that is being deleted: as its status says, else as its collection would say."""
    if stored := resource.status.get("target"):
        return PointSetTarget.model_validate(stored)
    ref = target(resource)
    collection = await context.cluster.get(ref) if ref else None
    connection = target(collection) if collection else None
    if collection is None or connection is None:
        return None
    access = await cleanup_access(context, connection)
    active = (await find_placement(access.database, collection, context.installation)).active
    incarnation = active.mark.incarnation if active.mark else UNMANAGED
    return PointSetTarget.through(connection, active.name, incarnation)

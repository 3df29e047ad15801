"""What would be done about a QdrantCollection. Decided here, once: the reconciler carries it out, `vectorops plan`
prints it.

First everything is read that the decision may rest on, then pure functions decide: `collections.plan` about the content
of the collection, `ownership` about whose it is, `approvals` about what a person allowed. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.connection import LEDGER_COLLECTION
from vectorops.api.meta import Ref, Resource
from vectorops.api.migration import Migration
from vectorops.api.reasons import Reason
from vectorops.collections.next_move import (
    ANSWERED,
    TARGET,
    Move,
    Physical,
    Proceed,
    Retire,
    RollBack,
    Settle,
    Standing,
    Start,
    digest_of_target,
    next_move,
    print_time,
)
from vectorops.collections.plan import Plan, differences, make_plan, mismatches, require_known
from vectorops.collections.predict import Prediction, predict
from vectorops.collections.resolve import Desired, resolve_collection
from vectorops.collections.steps import Step, recreate_collection
from vectorops.errors import Terminal, Transient, Waiting
from vectorops.ledger.collection import ledgers_of
from vectorops.ledger.store import LedgerStore
from vectorops.points.replaced import holds_what_ledgers_say
from vectorops.qdrant.marks import Mark, name_behind, new_incarnation
from vectorops.qdrant.observe import Observed, observe
from vectorops.reconcilers import approvals
from vectorops.reconcilers.aliases import Aliases, aliases_of, readable_mark
from vectorops.reconcilers.approvals import Approval
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.dependencies import UNMANAGED, Access, holds_ledgers, require_access
from vectorops.reconcilers.durations import seconds_of
from vectorops.reconcilers.embedding import resolved
from vectorops.reconcilers.foreign_points import copy_between
from vectorops.reconcilers.ownership import (
    Circumstances,
    claim,
    kept_for_ledgers,
    may_take_over,
    needs_ledgers,
    owner_of,
    require_no_owner,
)
from vectorops.reconcilers.placement import Placement, find_placement
from vectorops.reconcilers.spec import RawSpec
from vectorops.reconcilers.tenancy import is_shared


@dataclass(frozen=True, slots=True)
class Decision:
    """About a collection that the operator owns, or is to own."""

    access: Access
    mark: Mark
    """With the owner; what was applied last, and the locks, are filled in when it is written."""
    plan: Plan
    approval: Approval
    """Of what is held back; of all steps where drift is only reported."""
    aliases: Aliases
    reports_drift: bool = False
    """Others changed the collection, `driftPolicy` is Report, and nobody approved to put it right: of all this only the
    mark is written.
    """
    migration: Migrating | None = None
    """With `layout: Aliased`: what becomes of the collections beside the active one, which the rest is about."""

    @property
    def wanted(self) -> Desired:
        return self.plan.desired

    @property
    def found(self) -> Observed:
        return self.plan.observed

    @property
    def granted(self) -> tuple[Step, ...]:
        """The steps that are held back, if they are approved."""
        return self.plan.held_back if self.approval.given else ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is carried out now."""
        return () if self.reports_drift else (*self.plan.doable, *self.granted)

    @property
    def reported_mark(self) -> Mark:
        """The mark while drift is reported: owner, policy and models of vectors are no drift."""
        return replace(self.mark, last_applied=self.plan.last.to_json(), embedders=self.plan.locks())

    @property
    def physical(self) -> Physical:
        """The collection, as far as a migration needs it."""
        return _physical(self.mark, fits=not self.plan.held_back)

    @property
    def prediction(self) -> Prediction:
        """The collection after this."""
        return predict(self.plan, self.mark, self.steps)


@dataclass(frozen=True, slots=True)
class Migrating:
    """About the collections behind an alias."""

    placement: Placement
    standing: Standing
    move: Move
    held_back: tuple[Step, ...]
    """What cannot be changed in place in the active collection."""
    candidate: Decision | None
    """About the collection that readers are to be moved to, existing or not; None if they are to stay."""
    approval: Approval | None
    """Of the move; None if it needs none."""

    @property
    def served_before(self) -> Observed | None:
        """The collection that readers asked before this one, while it is kept."""
        names = [one.name for one in self.standing.retired]
        return next((one for one in self.placement.others if names and one.name == names[0]), None)

    @property
    def is_held(self) -> bool:
        """Does the move wait for a person?"""
        return self.approval is not None and not self.approval.given


@dataclass(frozen=True, slots=True)
class Inspection:
    """About a collection that its user manages: it is compared, and nothing in it is changed but a mark from before."""

    access: Access
    wanted: Desired
    found: Observed
    released_mark: Mark | None = None
    """To be written where the operator owned the collection until now."""

    @property
    def prediction(self) -> Prediction:
        """The collection after this. A mark that is released still names the incarnation."""
        return Prediction(replace(self.found, mark=self.released_mark or self.found.mark))

    def require_as_declared(self) -> None:
        """Raises Waiting CollectionNotFound, Terminal SchemaMismatch."""
        name = self.wanted.name
        if not self.found.exists:
            message = (
                f"there is no collection {name!r}, and managedBy is User: it must be created by whoever manages it"
            )
            raise Waiting(Reason.COLLECTION_NOT_FOUND, message)
        if differing := differences(self.wanted, self.found, version=self.access.database.info.version):
            words = f"collection {name!r} differs, and is its user's: {'; '.join(differing)}"
            raise Terminal(Reason.SCHEMA_MISMATCH, words)


async def decide(context: Context, resource: Resource, spec: QdrantCollectionSpec) -> Decision | Inspection:
    """Reads what it takes, and decides. Raises what makes it impossible to say or to do anything: Waiting for the
    connection; Terminal InvalidSpec, UnsupportedByServer, OwnedByAnother, NotAdopted, UnknownMark, AliasTaken; what
    the embedders and the database raise.
    """
    access = await require_access(context, resource)
    if spec.is_aliased:
        return await _decide_behind_alias(context, resource, spec, access)
    name = RawSpec(resource).collection_name
    found = await _observe(context, resource.ref, access, name, spec.aliases or ())
    wanted = await _resolve(context, resource, spec, access, found)
    if spec.is_users:
        require_no_owner(found.mark, context.installation, resource.ref, is_shared=is_shared(resource))
        if await holds_ledgers(access.database, found):
            raise kept_for_ledgers(found.name)
        ours = found.mark if found.mark and found.mark.belongs_to(context.installation, resource.ref) else None
        return Inspection(access, wanted, found, ours.release() if ours else None)
    mark = _new_mark(context, resource, spec, access, name)
    return await _decide_about(context, resource, spec, access, wanted, found, mark)


async def _decide_about(
    context: Context,
    resource: Resource,
    spec: QdrantCollectionSpec,
    access: Access,
    wanted: Desired,
    found: Observed,
    new_mark: Mark,
) -> Decision:
    """About one physical collection. new_mark: that it would get if it were created now."""
    version = access.database.info.version
    losses = mismatches(wanted, found, version=version) if not spec.is_aliased else []
    mark = claim(new_mark, found, await _circumstances(context, resource, spec, access, found, losses))
    aliases = await aliases_of(context, resource, access.database, wanted, found, mark)
    todo = make_plan(wanted, found, version=version, last_applied=mark.last_applied, handover=aliases.passing)
    is_reported = spec.effective_drift_policy == "Report" and todo.is_drift
    # Behind an alias nothing that loses data is done in place: another collection is filled.
    digest = todo.drift_hash if is_reported else todo.hash if not spec.is_aliased else ""
    approval = await approvals.approval(context, resource, digest, access.database, wanted.name)
    return Decision(access, mark, todo, approval, aliases, reports_drift=is_reported and not approval.given)


async def _decide_behind_alias(
    context: Context, resource: Resource, spec: QdrantCollectionSpec, access: Access
) -> Decision:
    """About the active collection, and the ones beside it."""
    placement = await find_placement(access.database, resource, context.installation)
    alias, incarnation = placement.name, new_incarnation()
    new_name = name_behind(alias, incarnation)
    if alias in (spec.aliases or ()):
        raise Terminal(Reason.INVALID_SPEC, f"spec.aliases: {alias!r} is the name of the collection itself")
    name = placement.active.name if placement.active.exists else new_name
    is_direct = name == alias
    aliases = frozenset(spec.aliases or ()) | (frozenset() if is_direct else {alias})
    found = await _observe_active(context, resource.ref, access, placement, name, aliases)
    wanted = replace(await _resolve(context, resource, spec, access, found), aliases=aliases)
    new_mark = replace(_new_mark(context, resource, spec, access, name, incarnation), alias=alias)
    try:
        decision = await _decide_about(context, resource, spec, access, wanted, found, new_mark)
    except Terminal as error:
        if error.reason is Reason.OWNED_BY_ANOTHER and found.mark is not None and found.mark.alias != alias:
            # To take the collection over would be the wrong advice: only the alias is meant.
            words = f"alias {alias!r} leads to a collection of another owner; have that one give it up, or choose"
            raise Terminal(Reason.ALIAS_TAKEN, f"{words} another collectionName", on=error.on) from error
        raise
    mark, todo = decision.mark, decision.plan
    asked = approvals.roll_back(context, resource, mark.incarnation)
    if not is_direct:
        # A request that is there no more is a new one when it comes again.
        rolled_back = {} if mark.rolled_back.get(ANSWERED, asked) != asked else mark.rolled_back
        since = mark.switched_at or print_time(context.now())
        mark = replace(mark, alias=alias, switched_at=since, rolled_back=rolled_back)
    # Not to be done in place, not even with an approval of the drift.
    decision = replace(decision, mark=mark, plan=replace(todo, held_back=()))
    if not found.exists:
        return decision

    beside = {one.name: await _decide_beside(context, resource, spec, access, one) for one in placement.others}
    standing = Standing(
        active=_physical(mark, fits=not todo.held_back),
        others=tuple(one.physical for one in beside.values()),
        is_direct=is_direct,
        target=digest_of_target(wanted),
        roll_back=asked,
        now=context.now(),
        grace=timedelta(seconds=seconds_of(spec.migration_settings.effective_grace_period)),
    )
    move = next_move(standing)
    if isinstance(move, Retire) and not isinstance(further := next_move(standing, retires=False), Settle):
        # A change does not wait until an old collection may be deleted.
        old = next(one for one in placement.others if one.name == move.name)
        if await is_kept(context, resource, spec.migration_settings, access, old, found):
            move = further
    _note_roll_backs(context, standing, move)
    candidate = None
    if isinstance(move, Proceed):
        candidate = beside[move.candidate]
    elif isinstance(move, Start):
        made = replace(new_mark, collection=new_name, predecessor=name)
        plan = _plan_beside(replace(wanted, name=new_name, aliases=frozenset()), found, todo)
        candidate = Decision(access, made, plan, approvals.NOTHING, Aliases())
    approval = None
    if asks := _approval_of(spec, standing, move):
        digest = approvals.digest_to_approve(*asks, mark.incarnation, mark.switched_at)
        approval = await approvals.approval(context, resource, digest, access.database, name)
    return replace(decision, migration=Migrating(placement, standing, move, todo.held_back, candidate, approval))


def _plan_beside(wanted: Desired, active: Observed, todo: Plan) -> Plan:
    """To make a collection beside the active one, also with what others have set on that. todo: the active one's."""
    empty = Observed(wanted.name, exists=False, holders=active.holders, distributed=active.distributed)
    plan = make_plan(wanted, empty, version=todo.version, last_applied={})
    body = recreate_collection(wanted, active, todo.last, (), "").body["collection"]
    first, *rest = plan.doable
    return replace(plan, doable=(replace(first, body=body), *rest))


def _note_roll_backs(context: Context, standing: Standing, move: Move) -> None:
    """From which collections readers are moved back, or were by an earlier run: the command line tells of the rest."""
    if context.grants is None:
        return
    if isinstance(move, RollBack):
        context.grants.met_roll_back.add(standing.roll_back)
    elif TARGET in (standing.active.rolled_back or {}):
        context.grants.met_roll_back.update(one.incarnation for one in standing.others if one.switched_at)


async def is_kept(
    context: Context, resource: Resource, settings: Migration, access: Access, old: Observed, active: Observed
) -> bool:
    """Is a collection that readers were moved from kept after its grace period, until a person does something?"""
    if settings.effective_retire == "Manual" or old.name in (await access.database.aliases()).values():
        return True
    between = copy_between(context, resource, settings, access, old, active)
    return settings.effective_others_points == "Block" and bool(await between.count_missing())


def _approval_of(spec: QdrantCollectionSpec, standing: Standing, move: Move) -> list[str]:
    """What a person has to agree to before a move; empty if nothing."""
    settings = spec.migration_settings
    match move:
        case Start() if standing.is_direct or standing.is_rolled_back or settings.effective_approval == "Manual":
            return ["migrate", standing.target]
        case Proceed() if standing.is_rolled_back:
            return ["again", standing.target]
        case Retire(name) if settings.effective_retire == "Manual":
            return ["retire", name]
    return []


async def _decide_beside(
    context: Context, resource: Resource, spec: QdrantCollectionSpec, access: Access, found: Observed
) -> Decision:
    """About a collection that no alias of ours leads to."""
    assert found.mark is not None, "its mark says that it is ours"
    wanted = replace(await _resolve(context, resource, spec, access, found), aliases=frozenset())
    version, last = access.database.info.version, found.mark.last_applied
    plan = make_plan(wanted, found, version=version, last_applied=last)
    return Decision(access, found.mark, plan, approvals.NOTHING, Aliases())


def _physical(mark: Mark, *, fits: bool) -> Physical:
    return Physical(mark.collection, mark.incarnation, fits, mark.switched_at, mark.rolled_back)


async def _resolve(
    context: Context, resource: Resource, spec: QdrantCollectionSpec, access: Access, found: Observed
) -> Desired:
    """The collection as declared, under the name of the one that was found. Raises Terminal UnsupportedByServer, and
    what the embedders raise.
    """
    # Nothing is ever kept in a collection of the user's.
    embedders = await resolved(context, resource, spec, None if spec.is_users else found.mark)
    wanted = resolve_collection(spec, found.name, embedders)
    require_known(wanted, access.database.info.version)
    if wanted.shard_keys and not found.distributed:
        raise Terminal(
            Reason.UNSUPPORTED_BY_SERVER,
            "spec.shardKeys: only a distributed Qdrant (cluster.enabled) has shard keys, and this one is not: remove "
            "shardKeys and params.sharding_method, or name another connection",
        )
    return wanted


async def _observe(context: Context, resource: Ref, access: Access, name: str, aliases: Collection[str]) -> Observed:
    try:
        return await observe(access.database, name, aliases)
    except Terminal as error:
        if error.reason is Reason.ALIAS_TAKEN and (holder := (await access.database.aliases()).get(name)):
            # The owner of the collection that has the alias may give it up.
            mark = await readable_mark(access.database, holder)
            error.on = owner_of(mark, context.installation) if mark is not None else None
            if mark is not None and mark.alias == name and error.on == resource:
                words = f"layout: Aliased cannot be taken back: {name!r} is the alias of this resource's collection"
                raise Terminal(Reason.INVALID_SPEC, f"spec.layout: {words}. Declare layout: Aliased") from error
        raise


async def _observe_active(
    context: Context, resource: Ref, access: Access, placement: Placement, name: str, aliases: Collection[str]
) -> Observed:
    """The collection of this name, which the placement says is active or is to be made."""
    found = await _observe(context, resource, access, name, aliases)
    if placement.active.exists and not found.exists:
        # To make it anew would leave the one that is being filled unused.
        raise Transient(Reason.PROGRESSING, f"collection {name!r} was deleted meanwhile; looking again")
    return found


def _new_mark(
    context: Context,
    resource: Resource,
    spec: QdrantCollectionSpec,
    access: Access,
    name: str,
    incarnation: str = "",
) -> Mark:
    return Mark(
        installation=context.installation,
        namespace=resource.meta.namespace,
        name=resource.meta.name,
        uid=resource.meta.uid,
        collection=name,
        incarnation=incarnation or new_incarnation(),
        connection=access.connection.name,
        connection_kind=access.connection.kind,
        deletion_policy=spec.effective_deletion_policy,
    )


async def _circumstances(
    context: Context,
    resource: Resource,
    spec: QdrantCollectionSpec,
    access: Access,
    found: Observed,
    losses: list[str],
) -> Circumstances:
    """What a claim depends on. Asks Qdrant and Kubernetes only what may matter."""
    known = (resource.status.get("collection") or {}).get("incarnation") or ""
    take_over_from = approvals.take_over(context, resource)
    mark = found.mark
    owner_exists = False
    if mark is not None and mark.installation == context.installation and may_take_over(mark, take_over_from):
        owner_exists = await context.cluster.get(Ref(mark.kind, mark.namespace, mark.name)) is not None
    return Circumstances(
        adopts=spec.effective_adoption_policy == "IfMatching",
        losses=tuple(losses),
        known_incarnation=known,
        ledger_incarnation=await _incarnation_of_ledgers(context, resource, access, found, known),
        holds_ledgers=await holds_ledgers(access.database, found),
        take_over_from=take_over_from,
        how_to_take_over=approvals.how_to_take_over(context, resource, mark.installation) if mark else "",
        owner_exists=owner_exists,
        is_shared=is_shared(resource),
        holds_foreign_points=await _holds_foreign_points(resource, access, found),
    )


async def _holds_foreign_points(resource: Resource, access: Access, found: Observed) -> bool:
    """May sets of other namespaces keep points in a collection that a namespace is about to adopt through a shared
    connection?

    A collection that its user manages carries no mark, and neither does one that lost it. Ledgers tell, or what sets
    registered in the metadata.
    """
    is_unowned = found.exists and (found.mark is None or found.mark.released)
    if not (is_unowned and is_shared(resource)):
        return False
    namespace = resource.meta.namespace
    if found.registered_namespaces - {namespace}:
        return True
    is_wiped = needs_ledgers(found)
    for ledger in sorted({access.ledger_collection, LEDGER_COLLECTION}):
        for key in await ledgers_of(access.database, ledger, found.name, ""):
            if key.point_set.namespace != namespace and (is_wiped or key.incarnation == UNMANAGED):
                return True
    return False


async def _incarnation_of_ledgers(
    context: Context, resource: Resource, access: Access, found: Observed, known: str
) -> str:
    """The one incarnation that ledgers of this namespace's sets speak of, if the collection holds what they say; else
    "". known: the one in status, which then must be it.
    """
    if not needs_ledgers(found):
        return ""
    owners = f"{context.installation}/{resource.meta.namespace}/"
    keys = await ledgers_of(access.database, access.ledger_collection, found.name, owners)
    remembered = [key for key in keys if key.incarnation == (known or key.incarnation) != UNMANAGED]
    if len({key.incarnation for key in remembered}) != 1:
        return ""
    stores = [LedgerStore(access.database, access.ledger_collection, key, context.writer) for key in remembered]
    return remembered[0].incarnation if await holds_what_ledgers_say(stores) else ""

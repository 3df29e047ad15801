"""Carries out a plan, in an order that may be interrupted anywhere.

The create request carries the mark, so a collection of ours always has one. A PATCH carries the mark too: Qdrant writes
metadata last, so the mark exists only if everything else does. The mark lists what we are about to create before it is
created, and what we delete until after it is deleted, so a killed process leaves nothing behind that no mark lists.

The embedder lock of a vector is in the mark before the vector exists and until after it is deleted. Meanwhile the lock
names one model, unless all texts are to be embedded again.

After writing, the collection is read back. Values that Qdrant did not store as sent are remembered and not sent again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.collections.compare import INDEXES, Difference
from vectorops.collections.last_applied import LastApplied
from vectorops.collections.plan import Plan, make_plan
from vectorops.collections.steps import Action, Step
from vectorops.errors import Conflict, OutcomeUnknown, Rejected, Transient
from vectorops.qdrant.database import Database, ShardKeyName
from vectorops.qdrant.marks import Mark, new_incarnation
from vectorops.qdrant.observe import Observed, observe, same

LISTED: Final = frozenset(
    {
        Action.CREATE_SHARD_KEY,
        Action.PUT_INDEX,
        Action.CREATE_ALIAS,
        Action.MOVE_ALIAS,
        Action.DELETE_ALIAS,
        Action.DELETE_INDEX,
        Action.DELETE_SHARD_KEY,
        Action.REPLACE_SHARD_KEY,
    }
)
"""Steps about what `LastApplied` lists as ours."""

LOSING: Final = frozenset({Action.DELETE_VECTOR, Action.DELETE_SHARD_KEY, Action.REPLACE_SHARD_KEY})
"""Steps that lose data, but keep the collection."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The collection after `apply_plan`."""

    observed: Observed
    plan: Plan
    """What is left: held back, unsupported, taken. Doable steps are left if Qdrant has not finished or if others
    changed the collection meanwhile: reconcile again soon.
    """
    mark: Mark
    """As stored in the collection."""


async def apply_plan(database: Database, todo: Plan, mark: Mark, *, approved: bool = False) -> Applied:
    """Carries out the doable steps, and the ones held back if `approved`; writes nothing if there is nothing to do.

    todo: from an observation just made. mark: who owns the collection, with the incarnation that it has or will get
    (a recreation makes another one); `last_applied` and `embedders` are filled in here.
    Raises what `database` raises, and Transient if the collection got another owner meanwhile: observe and plan again.
    """
    mark = replace(mark, last_applied=todo.last.to_json())
    granted = todo.held_back if approved else ()
    if recreate := _find_step(granted, Action.RECREATE_COLLECTION):
        todo, mark = await _delete_and_create(database, todo, recreate, mark)
    if not todo.observed.exists:
        todo = await _create_marked(database, todo, mark)
        mark = todo.observed.mark or mark
    replaced = [step for step in granted if step.action is Action.REPLACE_VECTOR]
    if replaced:
        todo, mark = await _delete_replaced_vectors(database, todo, mark, replaced)
    if any(step.action is Action.CREATE_VECTOR for step in todo.doable):
        todo = await _add_vectors(database, todo, mark, replaced)
    return await _update_and_verify(database, todo, mark, [step for step in granted if step in todo.held_back])


async def _create_marked(database: Database, todo: Plan, mark: Mark, body: JsonObject | None = None) -> Plan:
    """Creates the collection with its mark, and plans what is left to do."""
    step = _find_step(todo.doable, Action.CREATE_COLLECTION)
    body = body or (step.body if step else {})
    alone = len(todo.doable) == 1
    known = todo.remembered() if alone else todo.intended()
    mark = replace(mark, last_applied=known.to_json(), embedders=todo.locks())
    metadata = body.get("metadata", {}) | mark.metadata()
    failure: OutcomeUnknown | Conflict | None = None
    try:
        await database.create_collection(todo.desired.name, {**body, "metadata": metadata})
    except (OutcomeUnknown, Conflict) as error:
        failure = error
    created = await _replan(database, todo)
    if created.observed.mark is not None and created.observed.mark.incarnation == mark.incarnation:
        return created
    if isinstance(failure, OutcomeUnknown):
        raise failure
    raise Transient(Reason.PROGRESSING, f"collection {todo.desired.name!r} was created or deleted meanwhile; retrying")


async def _delete_and_create(database: Database, todo: Plan, step: Step, mark: Mark) -> tuple[Plan, Mark]:
    """Deletes the collection and creates another incarnation of it, with what others had set on it."""
    name = todo.desired.name
    current = await observe(database, name, todo.desired.aliases)
    if current.mark != todo.observed.mark:
        raise Transient(Reason.PROGRESSING, f"collection {name!r} got another owner meanwhile; retrying")
    await database.delete_collection(name)
    mark = replace(mark, incarnation=new_incarnation())
    # Its aliases go with it.
    holders = {alias: holder for alias, holder in current.holders.items() if holder != name}
    empty = make_plan(
        todo.desired,
        Observed(name=name, exists=False, holders=holders),
        version=todo.version,
        last_applied=todo.last.to_json(),
        handover=todo.handover,
    )
    created = await _create_marked(database, empty, mark, body=step.body["collection"])
    for key, options in step.body["shard_keys"].items():
        await _create_shard_key(database, name, key, options)
    for path, schema in sorted(step.body["indexes"].items()):
        await database.create_index(name, path, schema)
    for alias in step.body["aliases"]:
        if alias not in created.observed.holders:
            await database.create_alias(alias, name)
    created = await _replan(database, created)
    return created, created.observed.mark or mark


async def _delete_replaced_vectors(
    database: Database, todo: Plan, mark: Mark, replaced: list[Step]
) -> tuple[Plan, Mark]:
    """Deletes the vectors that are to be replaced (Qdrant >= 1.19). After an interruption the next plan adds them."""
    mark = replace(mark, last_applied=_count_approval(todo).intended().to_json(), embedders=todo.locks())
    await database.update_collection(todo.desired.name, {"metadata": mark.metadata()})
    for step in replaced:
        await database.delete_vector_name(todo.desired.name, step.target)
    return await _replan(database, todo), mark


def _count_approval(todo: Plan) -> Plan:
    """The same plan, with its approval counted before it is carried out: if the same plan comes again, it needs another
    approval.
    """
    return replace(todo, last=replace(todo.last, approved=todo.last.approved + 1))


async def _add_vectors(database: Database, todo: Plan, mark: Mark, replaced: list[Step]) -> Plan:
    """Adds vectors in place (Qdrant >= 1.18); their other options follow with the PATCH.

    A replaced vector comes back empty. The incarnation stays: the points still exist and belong to their PointSets,
    which find the vector missing at their next reconciliation.
    replaced: steps about vectors that were just deleted, with the options that others had set on them.
    """
    name, locks = todo.desired.name, todo.locks()
    if locks != mark.embedders:
        # The locks first: otherwise a new vector would be taken for one of the model that the old lock names.
        await database.update_collection(name, {"metadata": replace(mark, embedders=locks).metadata()})
    for step in todo.doable:
        if step.action is Action.CREATE_VECTOR:
            await database.create_vector_name(name, step.target, step.body)
    for step in replaced:
        if step.body:
            await database.update_collection(name, step.body)
    return await _replan(database, todo)


async def _update_and_verify(database: Database, todo: Plan, mark: Mark, granted: list[Step]) -> Applied:
    """Carries out all that is left to do in a collection that exists. granted: approved steps that are left."""
    name = todo.desired.name
    losing = [step for step in granted if step.action in LOSING]
    steps = [*(step for step in todo.doable if step.action is not Action.UPDATE_COLLECTION), *losing]
    update = _find_step(todo.doable, Action.UPDATE_COLLECTION)
    if granted:
        todo = _count_approval(todo)
    known = todo.remembered()
    if any(step.action in LISTED for step in steps) and known != todo.last:
        known = todo.intended()
    mark = replace(mark, last_applied=known.to_json(), embedders=todo.locks(approved=granted))
    if update or mark != todo.observed.mark:
        body = update.body if update else {}
        await database.update_collection(name, {**body, "metadata": body.get("metadata", {}) | mark.metadata()})
    for step in steps:
        await _carry_out_step(database, name, step)
    left = await _replan(database, todo) if update or steps else todo
    present = left.observed.vectors.keys() | left.observed.sparse_vectors.keys()
    locks = {vector: lock for vector, lock in mark.embedders.items() if vector in present}
    final = replace(mark, last_applied=_last_applied_after(todo, left).to_json(), embedders=locks)
    if final != mark:
        await database.update_collection(name, {"metadata": final.metadata()})
    if final != mark or left is todo:
        observed = replace(left.observed, mark=final, metadata=left.observed.metadata | final.metadata())
        left = make_plan(
            todo.desired,
            observed,
            version=todo.version,
            last_applied=final.last_applied,
            handover=todo.handover,
        )
    return Applied(left.observed, left, final)


async def _carry_out_step(database: Database, name: str, step: Step) -> None:
    match step.action:
        case Action.PUT_INDEX:
            await database.create_index(name, step.target, step.body)
        case Action.DELETE_INDEX:
            await database.delete_index(name, step.target)
        case Action.CREATE_ALIAS:
            await _create_alias(database, name, step.target)
        case Action.MOVE_ALIAS:
            # Read again: it may belong to another owner by now.
            if (await database.aliases()).get(step.target) == step.body["from"]:
                await database.move_aliases([step.target], name)
        case Action.DELETE_ALIAS:
            if (await database.aliases()).get(step.target) == name:
                await database.delete_alias(step.target)
        case Action.DELETE_VECTOR:
            await database.delete_vector_name(name, step.target)
        case Action.CREATE_SHARD_KEY:
            await _create_shard_key(database, name, step.target, step.body)
        case Action.DELETE_SHARD_KEY:
            await _delete_shard_key(database, name, step.target)
        case Action.REPLACE_SHARD_KEY:
            await _delete_shard_key(database, name, step.target)
            await _create_shard_key(database, name, step.target, step.body)


async def _create_alias(database: Database, name: str, alias: str) -> None:
    # Read again: Qdrant would silently take it away from another collection.
    if alias in await database.aliases():
        return
    # Conflict: there is a collection of this name by now; the plan that follows says so.
    with suppress(Conflict):
        await database.create_alias(alias, name)


async def _create_shard_key(database: Database, name: str, key: ShardKeyName, options: JsonObject) -> None:
    try:
        await database.create_shard_key(name, key, options)
    except Rejected as error:
        # Created by a request of ours whose answer was lost, or by somebody else. A node that lags behind does not list
        # it yet.
        if "already exists" not in error.message and key not in await database.shard_keys(name):
            raise


async def _delete_shard_key(database: Database, name: str, key: ShardKeyName) -> None:
    if key not in await database.shard_keys(name):
        return
    try:
        await database.delete_shard_key(name, key)
    except Rejected as error:
        if "does not exist" not in error.message:
            raise


def _last_applied_after(before: Plan, after: Plan) -> LastApplied:
    """What the mark says at the end, with the values that Qdrant did not store and with what it has not deleted yet."""
    if any(step.action in {Action.DELETE_INDEX, Action.DELETE_ALIAS} for step in after.doable):
        # While it optimizes, Qdrant shows a deleted index for a while. If the mark dropped it now, it would look like
        # somebody else's.
        return after.intended()
    known = after.remembered()
    settled = known.settled | {left.path for left in after.differences if _was_refused(left, before)}
    return replace(known, settled=settled, server=before.version if settled else "")


def _was_refused(left: Difference, before: Plan) -> bool:
    """Did the server store another value than we sent? If not, others changed it: drift, for the next plan."""
    if left.want is None:
        return True
    had = {difference.path: difference.have for difference in before.differences}
    new_index = left.path[0] == INDEXES and left.path[1] not in before.observed.indexes
    return (left.path in had or new_index) and same(had.get(left.path), left.have)


async def _replan(database: Database, done: Plan) -> Plan:
    """The same declaration, planned against the current collection."""
    observed = await observe(database, done.desired.name, done.desired.aliases)
    last_applied = observed.mark.last_applied if observed.mark else done.last.to_json()
    return make_plan(done.desired, observed, version=done.version, last_applied=last_applied, handover=done.handover)


def _find_step(steps: tuple[Step, ...], action: Action) -> Step | None:
    return next((step for step in steps if step.action is action), None)

"""Carries out a plan, in an order that may be cut off anywhere.

Create comes with the mark in the same body, so there is never a collection of ours without it. A PATCH carries the
mark too; Qdrant writes metadata last, so the mark is there only if everything else is. What we are about to make is
entered in the mark beforehand, and what is gone is struck out afterwards: a killed process leaves nothing behind that
nobody knows.

The embedder locks in the mark name the model of a vector from before it is there until after it is gone, and no other
model while it is there, unless vectors of all texts are to be made anew.

After the writing it is read back. What did not become what was sent is remembered and not sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.collections.plan import INDEXES, Action, Difference, LastApplied, Plan, Step, plan
from vectorops.errors import OutcomeUnknown, Rejected, Transient
from vectorops.qdrant.collections import Observed, observe, same
from vectorops.qdrant.database import Database, ShardKeyName
from vectorops.qdrant.marks import Mark, new_incarnation

CONFLICT: Final = 409

ON_THE_MARK: Final = frozenset(
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
"""Steps about what the mark lists as ours."""

DELETIONS: Final = frozenset({Action.DELETE_VECTOR, Action.DELETE_SHARD_KEY, Action.REPLACE_SHARD_KEY})
"""Steps that lose data, and leave the collection."""


@dataclass(frozen=True, slots=True)
class Applied:
    """How things are after `apply`.

    plan: what is left: held back, unsupported, taken. Doable steps are left if Qdrant has not finished, or others
    were at
        work meanwhile: look again soon. mark: as it is in the collection.
    """

    observed: Observed
    plan: Plan
    mark: Mark


async def apply(database: Database, todo: Plan, mark: Mark, *, approved: bool = False) -> Applied:
    """Carries out the doable steps, and those held back if `approved`; writes nothing when there is nothing to do.

    todo: from an observation just made. mark: who owns the collection, with the incarnation that it has or shall get
    (it gets another one when it is recreated); `last_applied` and `embedders` are filled in here.
    Raises what `database` raises; then look again and plan again. Transient if the collection changed hands meanwhile.
    """
    mark = replace(mark, last_applied=todo.last.to_json())
    granted = todo.held_back if approved else ()
    if recreate := _step(granted, Action.RECREATE_COLLECTION):
        todo, mark = await _recreate(database, todo, recreate, mark)
    if not todo.observed.exists:
        todo = await _create(database, todo, mark)
        mark = todo.observed.mark or mark
    replaced = [step for step in granted if step.action is Action.REPLACE_VECTOR]
    if replaced:
        todo, mark = await _make_room(database, todo, mark, replaced)
    if any(step.action is Action.CREATE_VECTOR for step in todo.doable):
        todo = await _add_vectors(database, todo, mark, replaced)
    return await _update(database, todo, mark, [step for step in granted if step in todo.held_back])


async def _create(database: Database, todo: Plan, mark: Mark, body: JsonObject | None = None) -> Plan:
    """Creates the collection with its mark, and plans what creating it left to do."""
    step = _step(todo.doable, Action.CREATE_COLLECTION)
    body = body or (step.body if step else {})
    alone = len(todo.doable) == 1
    known = todo.remembered() if alone else todo.intended()
    mark = replace(mark, last_applied=known.to_json(), embedders=todo.locks())
    metadata = body.get("metadata", {}) | mark.metadata()
    failure: OutcomeUnknown | Rejected | None = None
    try:
        await database.create_collection(todo.desired.name, {**body, "metadata": metadata})
    except OutcomeUnknown as error:
        failure = error
    except Rejected as error:
        if error.status != CONFLICT:
            raise
        failure = error
    created = await _again(database, todo)
    if created.observed.mark is not None and created.observed.mark.incarnation == mark.incarnation:
        return created
    if isinstance(failure, OutcomeUnknown):
        raise failure
    raise Transient(
        Reason.PROGRESSING, f"collection {todo.desired.name!r} appeared or disappeared meanwhile; looking again"
    )


async def _recreate(database: Database, todo: Plan, step: Step, mark: Mark) -> tuple[Plan, Mark]:
    """Deletes the collection and creates another incarnation of it, with what others had set on it."""
    name = todo.desired.name
    current = await observe(database, name, todo.desired.aliases)
    if current.mark != todo.observed.mark:
        raise Transient(Reason.PROGRESSING, f"collection {name!r} changed hands meanwhile; looking again")
    await database.delete_collection(name)
    mark = replace(mark, incarnation=new_incarnation())
    gone = Observed(name=name, exists=False, holders=_without_aliases(current))
    empty = plan(todo.desired, gone, version=todo.version, last_applied=todo.last.to_json(), passing=todo.passing)
    created = await _create(database, empty, mark, body=step.body["collection"])
    for key, options in step.body["shard_keys"].items():
        await _create_shard_key(database, name, key, options)
    for path, schema in sorted(step.body["indexes"].items()):
        await database.create_index(name, path, schema)
    for alias in step.body["aliases"]:
        if alias not in created.observed.holders:
            await database.create_alias(alias, name)
    created = await _again(database, created)
    return created, created.observed.mark or mark


def _without_aliases(observed: Observed) -> dict[str, str]:
    """The names that are taken once this collection, and with it its aliases, is gone."""
    return {name: holder for name, holder in observed.holders.items() if holder != observed.name}


async def _make_room(database: Database, todo: Plan, mark: Mark, replaced: list[Step]) -> tuple[Plan, Mark]:
    """Deletes the vectors that are to be replaced (Qdrant >= 1.19). Cut off after that, the next look adds them."""
    begun = _begun(todo).intended()
    mark = replace(mark, last_applied=begun.to_json(), embedders=todo.locks())
    await database.update_collection(todo.desired.name, {"metadata": mark.metadata()})
    for step in replaced:
        await database.delete_vector_name(todo.desired.name, step.target)
    return await _again(database, todo), mark


def _begun(todo: Plan) -> Plan:
    """The same, counted as approved before it is carried out: should such a plan come again, this approval is not for
    it.
    """
    return replace(todo, last=replace(todo.last, approved=todo.last.approved + 1))


async def _add_vectors(database: Database, todo: Plan, mark: Mark, replaced: list[Step]) -> Plan:
    """Adds vectors in place (Qdrant >= 1.18); their other options follow with the PATCH.

    One that was here before comes back empty. It is no other incarnation for that: the points are there, and still
    belong to their sets, which see at their next look that the vector is missing.
    replaced: steps about those that were here a moment ago, with the options that others had set on them.
    """
    name, locks = todo.desired.name, todo.locks()
    if locks != mark.embedders:
        # First, or a vector that was just made would be taken for one of the model that the lock still names.
        await database.update_collection(name, {"metadata": replace(mark, embedders=locks).metadata()})
    for step in todo.doable:
        if step.action is Action.CREATE_VECTOR:
            await database.create_vector_name(name, step.target, step.body)
    for step in replaced:
        if step.body:
            await database.update_collection(name, step.body)
    return await _again(database, todo)


async def _update(database: Database, todo: Plan, mark: Mark, granted: list[Step]) -> Applied:
    """Everything that is done to a collection that exists. granted: approved steps that are left to do."""
    name = todo.desired.name
    deletions = [step for step in granted if step.action in DELETIONS]
    steps = [*(step for step in todo.doable if step.action is not Action.UPDATE_COLLECTION), *deletions]
    update = _step(todo.doable, Action.UPDATE_COLLECTION)
    if granted:
        todo = _begun(todo)
    known = todo.remembered()
    if any(step.action in ON_THE_MARK for step in steps) and known != todo.last:
        known = todo.intended()
    mark = replace(mark, last_applied=known.to_json(), embedders=todo.locks(approved=granted))
    if update or mark != todo.observed.mark:
        body = update.body if update else {}
        await database.update_collection(name, {**body, "metadata": body.get("metadata", {}) | mark.metadata()})
    for step in steps:
        await _carry_out(database, name, step)
    left = await _again(database, todo) if update or steps else todo
    final = replace(
        mark, last_applied=_remembered(todo, left).to_json(), embedders=_locks_of_those_left(mark, left.observed)
    )
    if final != mark:
        await database.update_collection(name, {"metadata": final.metadata()})
    if final != mark or left is todo:
        observed = replace(left.observed, mark=final, metadata=left.observed.metadata | final.metadata())
        left = plan(
            todo.desired,
            observed,
            version=todo.version,
            last_applied=final.last_applied,
            passing=todo.passing,
        )
    return Applied(left.observed, left, final)


def _locks_of_those_left(mark: Mark, observed: Observed) -> JsonObject:
    """Without those of vectors that are gone."""
    return {
        name: lock
        for name, lock in mark.embedders.items()
        if name in observed.vectors or name in observed.sparse_vectors
    }


async def _carry_out(database: Database, name: str, step: Step) -> None:
    match step.action:
        case Action.PUT_INDEX:
            await database.create_index(name, step.target, step.body)
        case Action.DELETE_INDEX:
            await database.delete_index(name, step.target)
        case Action.CREATE_ALIAS:
            await _create_alias(database, name, step.target)
        case Action.MOVE_ALIAS:
            # Look once more: whoever has it by now may be nobody of ours.
            if (await database.aliases()).get(step.target) == step.body["from"]:
                await database.move_alias(step.target, name)
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
    # Look once more: Qdrant would silently take it away from another collection.
    if alias in await database.aliases():
        return
    try:
        await database.create_alias(alias, name)
    except Rejected as error:
        # There is a collection of this name by now; the plan that follows says so.
        if error.status != CONFLICT:
            raise


async def _create_shard_key(database: Database, name: str, key: ShardKeyName, options: JsonObject) -> None:
    try:
        await database.create_shard_key(name, key, options)
    except Rejected as error:
        # By a request of ours whose answer was lost, or by somebody else. A node that lags behind does not list it yet.
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


def _remembered(before: Plan, after: Plan) -> LastApplied:
    """What the mark says at the end: also what was sent in vain, and still what is not gone yet."""
    if any(step.action in {Action.DELETE_INDEX, Action.DELETE_ALIAS} for step in after.doable):
        # While it optimizes, Qdrant shows a deleted index for a while. Forgotten now, it would look like somebody
        # else's.
        return after.intended()
    known = after.remembered()
    settled = known.settled | {left.path for left in after.differences if _in_vain(left, before)}
    return replace(known, settled=settled, server=before.version if settled else "")


def _in_vain(left: Difference, before: Plan) -> bool:
    """Is this what the server made of what we sent? If not, somebody changed it meanwhile: drift, for the next look."""
    if left.want is None:
        return True
    had = {difference.path: difference.have for difference in before.differences}
    new_index = left.path[0] == INDEXES and left.path[1] not in before.observed.indexes
    return (left.path in had or new_index) and same(had.get(left.path), left.have)


async def _again(database: Database, done: Plan) -> Plan:
    """The plan after a look at how things are now."""
    observed = await observe(database, done.desired.name, done.desired.aliases)
    last_applied = observed.mark.last_applied if observed.mark else done.last.to_json()
    return plan(done.desired, observed, version=done.version, last_applied=last_applied, passing=done.passing)


def _step(steps: tuple[Step, ...], action: Action) -> Step | None:
    return next((step for step in steps if step.action is action), None)

"""What a person must agree to before a plan that is held back is carried out, and how it is known that they did.

A plan has a digest of its own: what would be done, and to which physical collection. That alone must not be enough, or
an approval could fit once more: after a snapshot was restored, or a cluster together with its annotations. So something
enters the hash that no backup brings back.

- In a cluster: a random nonce in `status.plan`, kept as long as something is held back, and replaced when an approval
  was carried out. The annotation `approve-plan` names the hash. Where status is lost, the next hash is another one: a
  lost status voids approvals, and can do nothing else.
- At the command line nothing is kept between two runs. `--approve` grants a hash for one run, and the number of points
  enters it: a collection that was filled or restored meanwhile has another one.

To take a collection over from another owner is allowed in the same two ways.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Final

from vectorops.api.meta import APPROVE_PLAN, ROLL_BACK, TAKE_OVER_FROM, Resource
from vectorops.qdrant.database import Database
from vectorops.reconcilers.base import Context


@dataclass(frozen=True, slots=True)
class Approval:
    """Whether one plan may be carried out."""

    hash: str = ""
    """What approves it, 12 hexadecimal digits; "" if nothing is held back."""
    nonce: str | None = None
    """To be kept in `status.plan`; None at the command line, and if nothing is held back."""
    given: bool = False
    """Is it approved?"""
    how: str = ""
    """For messages, how it is approved: `approve plan 3f9c1a5b7d20 with the annotation ...`."""


NOTHING: Final = Approval()
"""Of a plan that holds nothing back."""


async def approval(
    context: Context,
    resource: Resource,
    plan: str,
    database: Database,
    collection: str,
    *,
    used: bool = False,
    more_points: int = 0,
) -> Approval:
    """Is the plan approved? Only counts points where it must.

    plan: the digest of its content, "" if nothing is held back. collection: the physical one that it is about.
    used: an approval has just been carried out, and this is what is left: it needs another. more_points: so many will
    have been inserted when the plan is carried out.
    """
    if not plan:
        return NOTHING
    if context.grants is not None:
        granted = plan_hash(plan, str(await database.count(collection) + more_points))
        return Approval(granted, given=granted in context.grants.plans, how=f"approve plan {granted} with --approve")
    kept = (resource.status.get("plan") or {}).get("nonce")
    if not kept or used:
        # Nobody has seen this hash yet, so nothing can approve it.
        nonce = secrets.token_hex(8)
        return _by_annotation(plan_hash(plan, nonce), nonce)
    found = plan_hash(plan, kept)
    return _by_annotation(found, kept, given=resource.meta.annotations.get(APPROVE_PLAN) == found)


def take_over(context: Context, resource: Resource) -> str:
    """The installation whose collection may be taken over, "" if none.

    In a cluster an annotation counts once, and only if it was set after the operator had first seen the resource: one
    that came with it, out of a repository or a backup, may have been carried out long ago, and only a status that is
    lost could tell. The driver enters it in status as handled.
    """
    if context.grants is not None:
        return context.grants.take_over_from
    asked = resource.meta.annotations.get(TAKE_OVER_FROM, "")
    used = resource.is_new or resource.status.get("lastHandledTakeOverFrom") == asked
    return "" if used else asked


def roll_back(context: Context, resource: Resource, serving: str) -> str:
    """The incarnation that readers are to be moved back from, "" if none. serving: that of the active collection."""
    if context.grants is not None:
        return serving if serving in context.grants.roll_back else ""
    return resource.meta.annotations.get(ROLL_BACK, "")


def how_to_take_over(context: Context, resource: Resource, installation: str) -> str:
    """For messages. installation: the owner's."""
    if context.grants is not None:
        return f"run once more with --take-over-from {installation}"
    words = f"set the annotation {TAKE_OVER_FROM}: {installation}"
    if resource.meta.annotations.get(TAKE_OVER_FROM) == installation and not take_over(context, resource):
        return f"{words}; the one that is there came with the resource, or was used before: remove it first"
    return words


def digest_to_approve(*content: str) -> str:
    """Identifies what a person is to agree to: 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def plan_hash(plan: str, bound_to: str) -> str:
    """What approves a plan. bound_to: the nonce, or the number of points."""
    return hashlib.sha256(f"{bound_to}|{plan}".encode()).hexdigest()[:12]


def _by_annotation(granted: str, nonce: str, *, given: bool = False) -> Approval:
    return Approval(granted, nonce, given, f"approve plan {granted} with the annotation {APPROVE_PLAN}")

"""What all finalizers share: when to let go although cleaning up did not succeed, and how that is reported."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from vectorops import metrics
from vectorops.api.meta import FINALIZER, SKIP_CLEANUP, Resource
from vectorops.errors import GaveWay, VectorOpsError
from vectorops.reconcilers.base import Context, Outcome

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 600.0
"""A namespace that is being deleted is held up for so long, and no longer."""


def has_left(resource: Resource) -> bool:
    """Is a resource that is being deleted done here? What still holds it is somebody else's finalizer."""
    return resource.deleting and FINALIZER not in resource.meta.finalizers


async def finalize(context: Context, resource: Resource, clean_up: Callable[[], Awaitable[Outcome | None]]) -> Outcome:
    """Runs `clean_up` and removes the finalizer when it is done.

    clean_up: returns None when nothing is left to do, or the Outcome that says what it waits for. What it raises holds
    the resource back for ever, except in a namespace that has been terminating for ten minutes.
    """
    if FINALIZER not in resource.meta.finalizers:
        return Outcome(None)
    if resource.meta.annotations.get(SKIP_CLEANUP) == "true":
        return await _let_go(context, resource, "the annotation vectorops.dev/skip-cleanup is set")
    try:
        blocked = await clean_up()
    except GaveWay:
        # Some of the work is done, so it comes to an end, however long that takes.
        raise
    except Exception as error:
        # Whatever it is, a fault of ours included: it must not hold up a namespace for ever.
        if await _is_overdue(context, resource):
            words = error.message if isinstance(error, VectorOpsError) else type(error).__name__
            return await _let_go(context, resource, f"its namespace has been terminating for ten minutes ({words})")
        raise
    if blocked is not None:
        return blocked
    await context.cluster.set_finalizer(resource, False)
    return Outcome(None)


async def _is_overdue(context: Context, resource: Resource) -> bool:
    if not resource.meta.namespace:
        return False
    namespace = await context.cluster.namespace(resource.meta.namespace)
    return namespace is not None and (namespace.terminating_seconds or 0.0) >= PATIENCE_SECONDS


async def _let_go(context: Context, resource: Resource, why: str) -> Outcome:
    # First, so that a conflict, after which we come here again, is not reported as a second letting go.
    await context.cluster.set_finalizer(resource, False)
    message = f"let go without cleaning up: {why}; what it had in Qdrant stays there"
    logger.warning(message, extra={"resource": str(resource.ref), "reason": "CleanupSkipped"})
    await context.cluster.event(resource, "CleanupSkipped", message, warning=True)
    metrics.CLEANUPS_SKIPPED.labels(kind=resource.kind).inc()
    return Outcome(None)

"""A connection, of either kind: is the database there, may we in, is it new enough?

Its answer is the breaker for all that use it.
"""

from __future__ import annotations

from typing import Final

from vectorops.api.connection import QdrantConnectionStatus, ServerStatus
from vectorops.api.kinds import REFERRING_KINDS
from vectorops.api.meta import Condition, Resource
from vectorops.api.reasons import Reason
from vectorops.qdrant.connect import require_supported
from vectorops.qdrant.database import Database
from vectorops.reconcilers.base import Context, Outcome
from vectorops.reconcilers.cleanup import finalize, has_left
from vectorops.reconcilers.spec import parse_connection
from vectorops.reconcilers.status import conditions, suspended

CHECK_SECONDS: Final = 60.0
"""How often a connection is checked: two small requests, and its Secrets are read again."""
BLOCKED_SECONDS: Final = 10.0
"""The same while its deletion waits: not everything that needs it wakes it when it goes."""
SHOWN_REFERRERS: Final = 3


class ConnectionReconciler:
    """See `driver.Reconciler`."""

    async def reconcile(self, context: Context, resource: Resource) -> Outcome:
        spec = parse_connection(resource)
        if spec.suspend:
            return Outcome(suspended(resource))
        # Before anybody uses the connection: whoever cleans up later needs it.
        resource = await context.cluster.set_finalizer(resource, True)
        database = await context.databases.of(context.cluster, resource, fresh=True)
        server = await _check_server(database)
        return _answer(resource, server, conditions(True, Reason.SUCCEEDED, f"Qdrant {server.version} answers"))

    async def finalize(self, context: Context, resource: Resource) -> Outcome:
        async def clean_up() -> Outcome | None:
            needed_by = [
                str(referrer.ref)
                for kind in REFERRING_KINDS
                for referrer in await context.cluster.list(kind, refers_to=resource.ref)
                if not has_left(referrer)
            ]
            if needed_by:
                return await self._keep_serving(context, resource, needed_by)
            await context.databases.close(resource.ref)
            return None

        return await finalize(context, resource, clean_up)

    async def _keep_serving(self, context: Context, resource: Resource, needed_by: list[str]) -> Outcome:
        """Deletion waits for those that need the connection; until then it works, or they could not be cleaned up."""
        # A dying namespace may lose the Secret first: the client that worked last goes on working.
        database = await context.databases.to_the_end(context.cluster, resource, fresh=True)
        server = await _check_server(database)
        named = ", ".join(needed_by[:SHOWN_REFERRERS]) + (" and others" if len(needed_by) > SHOWN_REFERRERS else "")
        message = f"deletion waits for what needs this connection: {named}"
        shown = conditions(True, Reason.DELETION_BLOCKED, message)
        return _answer(resource, server, shown, look_again_seconds=BLOCKED_SECONDS)


async def _check_server(database: Database) -> ServerStatus:
    info = await database.check()
    require_supported(info)
    return ServerStatus(version=info.version, distributed=info.distributed)


def _answer(
    resource: Resource, server: ServerStatus, shown: list[Condition], *, look_again_seconds: float = CHECK_SECONDS
) -> Outcome:
    status = QdrantConnectionStatus(server=server, conditions=shown)
    return Outcome(status, requeue_after=look_again_seconds, resource=resource)

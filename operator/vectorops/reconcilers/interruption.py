"""Long work on a resource ends when the resource is deleted or changed meanwhile.

Used where texts are embedded: a server that hangs must not hold up a deletion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from vectorops.api.meta import Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.reconcilers.cluster import Cluster

T = TypeVar("T")

LOOK_SECONDS: Final = 5.0
"""How often the resource is looked at while the work goes on."""


async def while_unchanged(cluster: Cluster, resource: Resource, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. Raises what it raises, and Transient Progressing if the resource is no longer the one
    that was read: deleted, being deleted, or with another spec. The work is cancelled then.
    """
    task = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=LOOK_SECONDS)
            if done:
                return await task
            now = await cluster.get(resource.ref)
            if now is None or (now.deleting, now.meta.generation) != (resource.deleting, resource.meta.generation):
                raise Transient(Reason.PROGRESSING, f"{resource.ref} was changed or deleted meanwhile; looking again")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

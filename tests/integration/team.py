"""A namespace in which a team works with a running operator: what a person does with kubectl, in words.

Used by the tests about collections and point sets. They share one operator (fixture `team`), because none of them stops
it, and each makes collections of its own names. A test with an operator and a Qdrant of its own makes its team itself:
`Team(api, namespace)`, whose first word is `connection`.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from integration.world import collection, connection, has_reason, is_current, point_set
from servers.kubeapi import KubeApi, Object, TimedOut, condition
from servers.qdrant import QdrantServer

# What a wait waits for: a predicate, or a reason of Ready.
Until = Callable[[Object], object] | str

RECONCILE = "vectorops.dev/reconcile"
APPROVE_PLAN = "vectorops.dev/approve-plan"


def unique(word: str) -> str:
    """A name that no other test has."""
    return f"{word}-{uuid.uuid4().hex[:8]}"


def is_settled(obj: Object) -> bool:
    """Has the operator come to an answer about the spec as it is?"""
    return is_current(obj) and bool(condition(obj, "Ready")) and not condition(obj, "Reconciling")


def reason(obj: Object) -> str:
    """The reason of Ready."""
    return str(condition(obj, "Ready")["reason"])


def message(obj: Object) -> str:
    """The message of Ready."""
    return str(condition(obj, "Ready")["message"])


def plan_hash(obj: Object) -> str:
    """What approves the plan in the status of a collection."""
    return str(obj["status"]["plan"]["hash"])


@dataclass(frozen=True, slots=True)
class Team:
    """One namespace with a connection `main`."""

    api: KubeApi
    namespace: str

    async def connection(self, server: QdrantServer | str, *, until: Until = is_settled, **spec: Any) -> Object:
        """Declares the connection, and waits for the answer."""
        await self.api.apply(connection(self.namespace, server, **spec))
        return await self.wait("QdrantConnection", "main", until)

    async def collection(self, name: str, *, until: Until = is_settled, **spec: Any) -> Object:
        """Declares a collection, and waits for the answer."""
        await self.api.apply(collection(self.namespace, name, **spec))
        return await self.wait("QdrantCollection", name, until)

    async def points(
        self,
        name: str,
        collection: str,
        points: list[Object],
        *,
        until: Until = is_settled,
        **spec: Any,
    ) -> Object:
        """Declares a point set, and waits for the answer."""
        await self.api.apply(point_set(self.namespace, name, collection, points, **spec))
        return await self.wait("PointSet", name, until)

    async def wait(self, kind: str, name: str, until: Until) -> Object:
        """Waits for a predicate, or for a reason of Ready."""
        predicate = has_reason(until) if isinstance(until, str) else until
        return await self.api.wait_for(kind, self.namespace, name, predicate)

    async def get(self, kind: str, name: str) -> Object:
        return await self.api.get(kind, self.namespace, name)

    async def annotate(self, kind: str, name: str, annotations: Mapping[str, str | None]) -> None:
        await self.api.annotate(kind, self.namespace, name, dict(annotations))

    async def look_again(self, kind: str, name: str) -> Object:
        """Asks the operator to look now, and waits for the answer."""
        token = uuid.uuid4().hex
        await self.annotate(kind, name, {RECONCILE: token})
        return await self.wait(
            kind, name, lambda obj: obj["status"].get("lastHandledReconcileAt") == token and is_settled(obj)
        )

    async def approve(self, name: str, plan_hash: str) -> None:
        """Approves a plan of a collection, and has the operator look."""
        await self.annotate("QdrantCollection", name, {APPROVE_PLAN: plan_hash})

    async def lose_status(self, kind: str, name: str) -> None:
        """Empties the status of a resource, as a backup that holds none would."""
        known = (await self.get(kind, name))["status"]
        await self.api.patch_status(kind, self.namespace, name, dict.fromkeys(known))

    async def ask_to_delete(self, kind: str, name: str) -> None:
        """Deletes a resource, as far as the API server is concerned: its finalizers may hold it."""
        await self.api.delete(kind, self.namespace, name)

    async def gone(self, kind: str, name: str) -> None:
        """Waits until a resource that is to be deleted is gone."""
        await self.api.wait_gone(kind, self.namespace, name)

    async def delete(self, kind: str, name: str) -> None:
        """Deletes a resource, and waits until it is gone."""
        await self.ask_to_delete(kind, name)
        await self.gone(kind, name)

    async def event(self, name: str, reason: str) -> str:
        """Waits for an event about a resource: most are sent after what they tell of. Returns its note."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for note in await self.events(name, reason):
                return note
            await asyncio.sleep(0.1)
        raise TimedOut(f"no event {reason} about {name} after 30 s")

    async def events(self, name: str, reason: str) -> list[str]:
        """The notes of the events about a resource."""
        events = await self.api.list("Event", self.namespace)
        return [e["message"] for e in events if e["involvedObject"]["name"] == name and e["reason"] == reason]

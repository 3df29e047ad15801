"""Who refers to whom, as last seen: whom to wake when a resource changes. Both shells keep one; it is only ever a hint.

What must be right (may this connection be deleted?) is asked of the API server by `Cluster.list`.
"""

from __future__ import annotations

from vectorops.api.kinds import BY_NAME, CONNECTION_KINDS, ref_to
from vectorops.api.meta import QDRANT_CONNECTION, JsonObject, Ref, Resource


def target(resource: Resource) -> Ref | None:
    """The resource that this one refers to."""
    reference = BY_NAME[resource.kind].refers_to
    if reference is None:
        return None
    named = resource.spec.get(reference.field) or {}
    kind = named.get("kind") or reference.kinds[0]
    # One of a later release is known to nobody here.
    known = named.get("name") and kind in reference.kinds
    return ref_to(kind, resource.meta.namespace, named["name"]) if known else None


def remembered_connection(resource: Resource) -> Ref | None:
    """The connection through which a PointSet has written its points, as its status says."""
    stored = resource.status.get("target") or {}
    kind, name = stored.get("connectionKind") or QDRANT_CONNECTION, stored.get("connection")
    return ref_to(kind, resource.meta.namespace, name) if name and kind in CONNECTION_KINDS else None


def refers(resource: Resource, to: Ref) -> bool:
    """Does a resource need `to`? A PointSet needs, to delete its points, also the connection that its status
    remembers.
    """
    return to in (target(resource), remembered_connection(resource))


def config_maps_of(namespace: str) -> Ref:
    """Stands for all ConfigMaps of a namespace that may be sources: what a verdict rests on that was made of some."""
    return Ref("ConfigMap", namespace, "")


class References:
    """The references between all known resources."""

    def __init__(self) -> None:
        self._target: dict[Ref, Ref] = {}
        self._referrers: dict[Ref, set[Ref]] = {}
        self._rests_on: dict[Ref, frozenset[Ref]] = {}
        self._contested: set[Ref] = set()

    def update(self, resource: Resource) -> None:
        """Learns of a new or changed resource."""
        self._detach(resource.ref)
        pointed_at = target(resource)
        if pointed_at is not None:
            self._target[resource.ref] = pointed_at
            self._referrers.setdefault(pointed_at, set()).add(resource.ref)

    def remove(self, ref: Ref) -> None:
        """Learns that a resource is gone."""
        self._rests_on.pop(ref, None)
        self._contested.discard(ref)
        self._detach(ref)

    def rest(self, ref: Ref, on: frozenset[Ref]) -> None:
        """Learns on which others the last verdict about a resource rests."""
        self._rests_on.pop(ref, None)
        if on - {ref}:
            self._rests_on[ref] = on - {ref}

    def looked_at(self, ref: Ref, status: JsonObject) -> bool:
        """Learns how a reconciliation ended. Returns whether others hold some of its ids, and did not before."""
        before = ref in self._contested
        if not (status.get("points") or {}).get("conflicts"):
            self._contested.discard(ref)
            return False
        self._contested.add(ref)
        return not before

    def _detach(self, ref: Ref) -> None:
        pointed_at = self._target.pop(ref, None)
        if pointed_at is not None:
            referrers = self._referrers[pointed_at]
            referrers.discard(ref)
            if not referrers:
                del self._referrers[pointed_at]

    def connection(self, ref: Ref) -> Ref | None:
        """The connection that a resource hangs on, through its collection if need be."""
        current: Ref | None = ref
        while current is not None and current.kind not in CONNECTION_KINDS:
            current = self._target.get(current)
        return current

    def woken_by(self, ref: Ref) -> set[Ref]:
        """Whose next reconciliation may find something new after `ref` changed or went.

        All that hang on it, directly or not, those whose verdict rests on it, and what it refers to: that may wait to
        be deleted. Of the siblings of a PointSet those that found ids of theirs held by others: it may have given them
        up.
        """
        woken = self._hanging_on(ref) | self.resting_on(ref) | self.contesting(ref)
        pointed_at = self._target.get(ref)
        if pointed_at is not None:
            woken.add(pointed_at)
        return woken

    def contesting(self, ref: Ref) -> set[Ref]:
        """Siblings of a PointSet that found ids of theirs held by others: it may give them up."""
        pointed_at = self._target.get(ref)
        return self._referrers[pointed_at] & self._contested - {ref} if pointed_at is not None else set()

    def resting_on(self, ref: Ref) -> set[Ref]:
        """Those whose last verdict rests on it."""
        return {resting for resting, on in self._rests_on.items() if ref in on}

    def _hanging_on(self, ref: Ref) -> set[Ref]:
        direct = self._referrers.get(ref, set())
        return direct.union(*(self._hanging_on(referrer) for referrer in direct))

"""The contract between reconcilers and the shell around them (`kube` in a cluster, `local` without one).

A reconciler is level-triggered: it gets a resource, compares what it says with what Qdrant says, acts, and returns
what it found out. It must bear to be killed at any point and started again with the same or a newer resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vectorops.api.meta import JsonObject, Ref, Resource

if TYPE_CHECKING:
    from vectorops.embedders.pool import Embedders
    from vectorops.reconcilers.databases import Databases


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as read. data: decoded values; resource_version: changes with the content. Its repr shows no value."""

    data: Mapping[str, bytes] = field(repr=False)
    resource_version: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """terminating_seconds: for how long the namespace has been terminating, or None if it is not."""

    terminating_seconds: float | None


class Cluster(Protocol):
    """What reconcilers may ask of Kubernetes. Small on purpose."""

    async def get(self, ref: Ref) -> Resource | None:
        """The object as it is now (not from a cache), or None."""

    async def list(self, kind: str, *, refers_to: Ref) -> list[Resource]:
        """All objects of a kind that need `refers_to` (`references.refers`), never from a cache."""

    async def secret(self, namespace: str, name: str) -> Secret | None: ...

    async def namespace(self, name: str) -> Namespace | None: ...

    async def set_finalizer(self, resource: Resource, present: bool) -> Resource:
        """Adds or removes our finalizer, if need be; returns the object as it is then.

        Raises Transient if it changed meanwhile.
        """

    async def write_status(self, resource: Resource, status: JsonObject) -> None:
        """Replaces the status if the object is still the one that was read. Only `driver` calls this."""

    async def event(self, resource: Resource, reason: str, message: str, *, warning: bool) -> None:
        """Best effort; never raises."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one reconciliation found out. Reconcilers return it and never write status themselves.

    status: the whole new status without `observedGeneration`; the driver adds that, keeps transition times, and writes
        it if it differs from the old one. None: the resource is gone, there is nothing to write.
    requeue_after: seconds until the next look even if nothing happens; None means the periodic resync.
    gave_up: did it leave ids to whoever wants them, so that sets that wait for one should look?
    passing: it is not Ready for a reason that may pass within moments: one that was stays Ready for a while, see
        `driver.BLIP`.
    rests_on: other resources whose change may change this answer; it is looked at again when they do. (An error says so
        itself: `VectorOpsError.on`.)
    resource: as `set_finalizer` returned it, so that the status is not written to a version that is no more.
    Raising `Transient` means: try again with backoff. `Waiting`: the named dependency will wake us. `Terminal`: only a
    change of the resource can help. The status then keeps what it said, with new conditions.
    """

    status: JsonObject | None
    requeue_after: float | None = None
    resource: Resource | None = None
    gave_up: bool = False
    passing: bool = False
    rests_on: frozenset[Ref] = frozenset()


@dataclass(frozen=True, slots=True)
class Grants:
    """What a person allows one run of the command line.

    plans: hashes of plans that may be carried out. take_over_from: the installation whose collections may be taken
    over, "" if none.
    """

    plans: frozenset[str] = frozenset()
    take_over_from: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a reconciler works with.

    installation: the scope of ownership, written into marks and ledgers.
    writer: random, one for each process: the token that fences the ledger.
    grants: at the command line, what is allowed in this run; None in a cluster, where annotations say it.
    alias_patience_seconds: how long an alias that is no longer declared stays, should another collection be declared
        with it a moment later; 0 where all that is declared is known from the start.
    """

    cluster: Cluster
    databases: Databases
    embedders: Embedders
    installation: str
    writer: str
    grants: Grants | None = None
    alias_patience_seconds: float = 0.0

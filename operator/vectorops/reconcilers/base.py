"""The contract between reconcilers and the shell around them (`kube` in a cluster, `local` without one).

A reconciler is level-triggered: it gets a resource, compares what it says with what Qdrant says, acts, and returns
what it found out. It must bear to be killed at any point and started again with the same or a newer resource.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vectorops.api.meta import Ref, Resource, Status
from vectorops.embedders.pool import Embedders
from vectorops.points.source_memory import SourceMemory
from vectorops.points.staging_folder import StagingFolder
from vectorops.points.verification import Verification
from vectorops.reconcilers.cluster import Cluster
from vectorops.reconcilers.databases import Databases
from vectorops.sources.source_settings import SourceSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one reconciliation found out. Reconcilers return it and never write status themselves.

    Raising `Transient` means: try again with backoff. `Waiting`: the named dependency will wake us. `Terminal`: only a
    change of the resource can help. The status then keeps what it said, with new conditions.
    """

    status: Status | None
    """The fields that are set replace those of the old status; the driver adds `observedGeneration`, keeps transition
    times, and writes the result if it differs. None: the resource is gone, there is nothing to write.
    """
    requeue_after: float | None = None
    """Seconds until the next reconciliation even if nothing happens; None: the periodic resync."""
    resource: Resource | None = None
    """As `set_finalizer` returned it, so that the status is not written to a version that is no more."""
    gave_up: bool = False
    """Did it leave ids to whoever wants them, so that sets that wait for one should be reconciled?"""
    passing: bool = False
    """It is not Ready for a reason that may pass within moments: one that was stays Ready for a while, see
    `driver.BLIP`.
    """
    rests_on: frozenset[Ref] = frozenset()
    """Other resources whose change may change this answer; this one is reconciled again when they do. (An error says so
    itself: `VectorOpsError.on`.)
    """


@dataclass(frozen=True, slots=True)
class Grants:
    """What a person allows one run of the command line."""

    plans: frozenset[str] = frozenset()
    """Hashes of plans that may be carried out."""
    take_over_from: str = ""
    """The installation whose collections may be taken over, "" if none."""
    roll_back: frozenset[str] = frozenset()
    """Incarnations of collections that readers are to be moved back from."""
    met_roll_back: set[str] = field(default_factory=set, compare=False)
    """Those of them that readers can be moved back from, as far as the run has met them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the shell says to one run of a reconciler, and hears of it. The default: it may take as long as it likes."""

    should_yield: Callable[[], bool] = lambda: False
    """Do others wait for the place of this run, or is the resource to be reconciled again anyway?"""
    is_stopping: Callable[[], bool] = lambda: False
    """Does the process end?"""
    report_progress: Callable[[], None] = lambda: None
    """Called when some of the work is done: the run is alive, however long it takes in all."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a reconciler works with."""

    cluster: Cluster
    databases: Databases
    embedders: Embedders
    installation: str
    """The scope of ownership, written into marks and ledgers."""
    writer: str
    """Random, one for each process: the token that fences the ledger."""
    grants: Grants | None = None
    """At the command line, what is allowed in this run; None in a cluster, where annotations say it."""
    alias_patience_seconds: float = 0.0
    """How long an alias that is no longer declared stays, should another collection be declared with it a moment later;
    0 where all that is declared is known from the start.
    """
    max_migrations: int = 1
    """How many migrations may be under way on one Qdrant at a time."""
    sees_cluster: bool = True
    """Are there cluster-scoped resources? Not for an operator that watches some namespaces only."""
    verification: Verification | None = None
    """What is remembered of point sets between reconciliations; None at the command line, where each run compares
    everything.
    """
    sources: SourceSettings = field(default_factory=SourceSettings)
    """What sources may do and use."""
    staging: StagingFolder = field(default_factory=lambda: StagingFolder(None, SourceSettings().staging_bytes))
    """Where rows of sources wait until they are written."""
    source_memory: SourceMemory = field(default_factory=SourceMemory)
    """What is remembered of sources between reconciliations."""
    turn: Turn = field(default_factory=Turn)
    """Of this run."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """The time of day."""

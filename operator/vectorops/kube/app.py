"""`vectorops run`: one operator, from its configuration to the end of the process.

Kopf handles signals and the order of start and stop. Its handlers of resources are not used: change handlers, daemons
and indexes keep copies of the whole spec in annotations or in memory, and give up where we must retry. `watch` says why
its watch is not used.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import secrets
import signal
import socket
from functools import partial
from typing import Any, Final

import kopf
from kubernetes.aio.client import ApiClient

from vectorops import logs, metrics
from vectorops.embedders.pool import Embedders
from vectorops.errors import Transient
from vectorops.garbage import search_seldom
from vectorops.kube import access, permissions, preflight
from vectorops.kube.calls import FORBIDDEN, Calls, Refused
from vectorops.kube.cluster import KubeCluster
from vectorops.kube.config_map_watch import ConfigMapWatch
from vectorops.kube.controller import Controller
from vectorops.kube.election import Election, LeadershipLost
from vectorops.kube.health import Endpoints, Vitals
from vectorops.kube.listing import Listing
from vectorops.kube.preflight import CannotStart
from vectorops.kube.watch import Watch
from vectorops.points.staging_folder import StagingFolder
from vectorops.points.verification import Verification
from vectorops.qdrant.connect import connect
from vectorops.reconcilers.aliases import PATIENCE_SECONDS
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.reconcilers.secrets import SecretNamespaces
from vectorops.settings import LogFormat, Settings

logger = logging.getLogger(__name__)

OUTAGE_BACKOFFS: Final = (1, 1, 2, 3, 5, 8, 13, 21, *(30,) * 20)
"""Seconds between Kopf's tries to reach the API server at its start, eleven minutes in all. With a crash loop instead,
the operator would notice the return of the API server later.
"""


def run_operator(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code of the process."""
    logs.configure(as_json=settings.log_format is LogFormat.JSON, level=settings.log_level.value)
    search_seldom()
    try:
        asyncio.run(_run_operator(settings))
    except (CannotStart, access.NoAccess) as error:
        logger.error("cannot start: %s", error)  # noqa: TRY400 - a traceback would hide the message
        return 1
    except asyncio.CancelledError:
        # A signal arrived during the start.
        logger.info("stopped")
        return 0
    except Exception:
        # The kubelet restarts it.
        logger.exception("the operator failed")
        return 1
    logger.info("stopped")
    return 0


async def _run_operator(settings: Settings) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Process 1 of a container would ignore SIGTERM until Kopf, at its start, sets its own handlers.
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    client = access.make_client(await access.configuration())
    try:
        operator = await Operator.prepare(settings, client)
        try:
            await operator.start()
            await operator.stay()
        finally:
            await operator.stop()
    finally:
        await client.close()  # type: ignore[no-untyped-call]


class Operator:
    """The parts of the operator, and the order in which they start and stop."""

    def __init__(self, settings: Settings, client: ApiClient, installation: str) -> None:
        self._settings = settings
        # Unique: a pod runs one process at a time. Outside of pods, several may run on one machine.
        identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._election = _make_election(settings, client, identity)
        admit = self._election.require if self._election is not None else None
        self._calls = Calls(client, admit=admit, renew=partial(_renew_token, client))
        cluster = KubeCluster(self._calls, instance=identity)
        secret_namespaces = SecretNamespaces(settings.own_namespace, frozenset(settings.secret_namespace or ()))
        allowed_hosts = tuple(settings.allowed_connection_host or ())
        opener = partial(connect, observer=metrics.QDRANT, admit=admit, allowed_hosts=allowed_hosts)
        databases = Databases(opener, secret_namespaces)
        self._embedders = Embedders(settings.embedders)
        context = Context(
            cluster,
            databases,
            self._embedders,
            installation,
            writer=secrets.token_hex(8),
            alias_patience_seconds=PATIENCE_SECONDS,
            max_migrations=settings.max_migrations,
            sees_cluster=not settings.namespaces,
            verification=Verification(),
            sources=settings.sources,
            staging=StagingFolder(settings.sources.staging_folder, settings.sources.staging_bytes, is_ours=True),
        )
        self._controller = Controller(
            Driver(context, RECONCILERS), databases, workers=settings.workers, per_endpoint=settings.per_endpoint
        )
        self._cluster = cluster
        self._listing = Listing(cluster, self._controller, settings.namespaces, settings.resync_seconds)
        self._endpoints = Endpoints(self._vitals, self._controller.measure)
        metrics.RESYNC_INTERVAL_SECONDS.set(settings.resync_seconds)
        metrics.SOURCE_READS.resync_seconds = settings.resync_seconds
        self._listening: list[asyncio.Task[None]] = []
        self._holding_lease: asyncio.Task[None] | None = None
        self._stopped = False

    @classmethod
    async def prepare(cls, settings: Settings, client: ApiClient) -> Operator:
        """Checks permissions and finds the installation. Raises CannotStart."""
        calls = Calls(client)
        rights = permissions.needed(settings.namespaces)
        if settings.lease_name is not None:
            if settings.lease_namespace is None:
                raise CannotStart("--lease-name needs --lease-namespace, or POD_NAMESPACE in the environment")
            rights += permissions.needed_to_lead(settings.lease_namespace, settings.lease_name)
        await preflight.check(calls, settings.namespaces, rights)
        installation = settings.installation or await _cluster_uid(calls)
        logger.info("starting", extra={"installation": installation, "namespaces": list(settings.namespaces) or "all"})
        return cls(settings, client, installation)

    async def start(self) -> None:
        """Waits until it leads, lists all resources, and begins to reconcile them. Raises CannotStart."""
        try:
            await self._endpoints.start(
                health_port=self._settings.health_port, metrics_port=self._settings.metrics_port
            )
        except OSError as error:
            raise CannotStart(
                f"cannot serve /healthz or /metrics: {error}; see --health-port and --metrics-port"
            ) from error
        # Imports grpc, which takes seconds on a busy machine: too long for a loop that has to renew a Lease.
        importlib.import_module("vectorops.qdrant.grpc_points")
        # So would garbage collection over all that was loaded by now, and stays: a tenth of a second each time.
        gc.freeze()
        if self._election is not None:
            await self._lead(self._election)
        metrics.LEADER.set(1)
        await self._listing.first()
        # Created before Kopf starts: at its end, Kopf cancels all tasks that were created later.
        self._listening = [asyncio.create_task(self._listing.repeat(), name="listing")]
        for (kind, namespace), version in self._listing.versions.items():
            watch = Watch(self._cluster, self._listing, self._controller, kind, namespace)
            self._listening.append(asyncio.create_task(watch.run(version), name=f"watch of {kind}"))
        for place in self._settings.namespaces or (None,):
            changes = ConfigMapWatch(
                self._calls, self._controller.config_maps_changed, place, self._settings.resync_seconds
            )
            self._listening.append(asyncio.create_task(changes.run(), name="watch of ConfigMaps"))
        for task in self._listening:
            task.add_done_callback(_log_failure)

    async def stay(self) -> None:
        """Runs until a signal."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        kopf.on.startup(registry=registry)(self._report_ready)
        # Here and not after Kopf's end, when it gives running tasks 5 seconds and cancels them.
        kopf.on.cleanup(registry=registry)(self._stop_with_kopf)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
        )

    async def stop(self) -> None:
        """Stops all that `start` started; a second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        self._endpoints.ready = None
        for task in self._listening:
            task.cancel()
        logger.info("stopping")
        await self._controller.stop(drain_seconds=self._settings.drain_seconds)
        await self._embedders.close()
        if self._holding_lease is not None and self._election is not None:
            # Last of all: another replica begins at once.
            self._holding_lease.cancel()
            await self._election.release()
        await self._endpoints.stop()

    async def _lead(self, election: Election) -> None:
        """Waits until this process is the leader, and starts to renew the Lease."""

        def report_standby(leader: str) -> None:
            self._endpoints.ready = f"standby: {leader} leads"
            logger.info("standing by", extra={"leader": leader})

        await election.acquire(report_standby)
        self._endpoints.ready = None
        logger.info("leading", extra={"lease": f"{self._settings.lease_namespace}/{self._settings.lease_name}"})
        self._holding_lease = asyncio.create_task(election.hold(), name="lease")
        self._holding_lease.add_done_callback(_exit_without_lease)

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        return access.for_kopf(await access.configuration())

    async def _report_ready(self, **_: Any) -> None:
        self._endpoints.ready = "ok"
        logger.info("ready")

    async def _stop_with_kopf(self, **_: Any) -> None:
        await self.stop()

    def _vitals(self) -> Vitals:
        return Vitals(
            queue=self._controller.snapshot(),
            last_list=self._listing.last_success,
            interval_seconds=self._settings.resync_seconds,
        )


def kopf_settings() -> kopf.OperatorSettings:
    """Turns off what we do not use of Kopf."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    # It has no resources to discover, and the operator has no permission to.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = OUTAGE_BACKOFFS
    return settings


async def _renew_token(client: ApiClient) -> None:
    """Reads the token again: it may have been rotated in a file, or come from a plugin."""
    try:
        client.configuration.api_key = (await access.configuration()).api_key
    except access.NoAccess as error:
        logger.warning("the API server refuses the token, and reading it again failed: %s", error)


async def _cluster_uid(calls: Calls) -> str:
    """The UID of kube-system, the usual identity of a cluster. Raises CannotStart."""
    try:
        return str((await calls.call("GET", "/api/v1/namespaces/kube-system"))["metadata"]["uid"])
    except Transient as error:
        if isinstance(error, Refused) and error.status == FORBIDDEN:
            raise CannotStart(
                f"{error.message}; name the installation with --installation, "
                "or grant the operator get on the namespace kube-system"
            ) from error
        raise CannotStart(error.message) from error


def _make_election(settings: Settings, client: ApiClient, identity: str) -> Election | None:
    """None if this process is the only replica."""
    if settings.lease_name is None or settings.lease_namespace is None:
        return None
    return Election(
        Calls(client, renew=partial(_renew_token, client)),
        namespace=settings.lease_namespace,
        name=settings.lease_name,
        identity=identity,
        seconds=settings.lease_seconds,
    )


def _exit_without_lease(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, LeadershipLost):
        logger.error("lost the leadership: %s; exiting at once", error)
    else:
        logger.error("the Lease cannot be renewed; exiting at once", exc_info=error)
    # Work in progress is not finished, which would write more: the next leader repeats it.
    os._exit(1)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        # /healthz fails when the last LIST is too old.
        logger.error("%s failed", task.get_name(), exc_info=error)

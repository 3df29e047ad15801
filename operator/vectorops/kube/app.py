"""`vectorops run`: one operator, from reading how to reach the cluster to the end of its process. Called by `cli`.

Kopf watches; its handlers only hand over what they saw. Its change handlers, daemons, indexes and finalizers are not
used: they keep copies of the whole spec in annotations or in memory, and give up where we may not.
"""

from __future__ import annotations

import asyncio
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
from vectorops.api.meta import GROUP, VERSION, Resource
from vectorops.embedders.pool import Embedders
from vectorops.errors import Transient
from vectorops.kube import access, permissions
from vectorops.kube.calls import FORBIDDEN, PLURALS, Calls, Refused
from vectorops.kube.cluster import KubeCluster
from vectorops.kube.controller import Controller
from vectorops.kube.health import Endpoints, Vitals
from vectorops.kube.listing import CannotStart, Listing
from vectorops.qdrant.connect import connect
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS
from vectorops.settings import LogFormat, Settings

logger = logging.getLogger(__name__)

OUTAGE_BACKOFFS: Final = (1, 1, 2, 3, 5, 8, 13, 21, *(30,) * 20)
"""Seconds between Kopf's tries to reach the API server: eleven minutes. A crash loop would notice its return later."""
PAGE_ITEMS: Final = 100
"""Kopf parses a page in one go, and each PointSet may have 200 KiB."""


def run(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code of the process."""
    logs.configure(as_json=settings.log_format is LogFormat.JSON, level=settings.log_level.value)
    try:
        asyncio.run(_run(settings))
    except (CannotStart, access.NoAccess) as error:
        logger.error("cannot start: %s", error)  # noqa: TRY400 - words for people; a traceback would hide them
        return 1
    except asyncio.CancelledError:
        # A signal while starting.
        logger.info("stopped")
        return 0
    except Exception:
        # Kopf ends the whole operator when a watch cannot go on; the kubelet starts it anew.
        logger.exception("the operator failed")
        return 1
    logger.info("stopped")
    return 0


async def _run(settings: Settings) -> None:
    _end_on_signals()
    client = access.client(await access.configuration())
    try:
        operator = await Operator.prepare(settings, client)
        try:
            await operator.start()
            await operator.watch()
        finally:
            await operator.stop()
    finally:
        await client.close()  # type: ignore[no-untyped-call]


class Operator:
    """The parts, and the order in which they start and stop."""

    def __init__(self, settings: Settings, client: ApiClient, installation: str) -> None:
        self._settings = settings
        self._client = client
        cluster = KubeCluster(Calls(client), instance=os.environ.get("POD_NAME") or socket.gethostname())
        databases = Databases(partial(connect, observer=metrics.QDRANT))
        self._embedders = Embedders(settings.embedders)
        context = Context(cluster, databases, self._embedders, installation, writer=secrets.token_hex(8))
        self._controller = Controller(
            Driver(context, RECONCILERS), databases, workers=settings.workers, per_endpoint=settings.per_endpoint
        )
        self._listing = Listing(cluster, self._controller, settings.namespaces, settings.resync_seconds)
        self._endpoints = Endpoints(self._vitals, self._controller.measure)
        metrics.RESYNC_INTERVAL_SECONDS.set(settings.resync_seconds)
        self._relisting: asyncio.Task[None] | None = None
        self._stopped = False

    @classmethod
    async def prepare(cls, settings: Settings, client: ApiClient) -> Operator:
        """An operator that may do what it must and knows its installation. Raises CannotStart."""
        calls = Calls(client)
        try:
            missing = await permissions.missing(calls, settings.namespaces)
        except Transient as error:
            raise CannotStart(error.message) from error
        if missing:
            raise CannotStart(permissions.told(missing))
        installation = settings.installation or await _cluster_uid(calls)
        logger.info("starting", extra={"installation": installation, "namespaces": list(settings.namespaces) or "all"})
        return cls(settings, client, installation)

    async def start(self) -> None:
        """Lists what there is, and begins to reconcile it. Raises CannotStart."""
        try:
            await self._endpoints.start(
                health_port=self._settings.health_port, metrics_port=self._settings.metrics_port
            )
        except OSError as error:
            raise CannotStart(
                f"cannot serve /healthz or /metrics: {error}; see --health-port and --metrics-port"
            ) from error
        await self._listing.first()
        # Made before Kopf starts, which at its end cancels all younger tasks.
        self._relisting = asyncio.create_task(self._listing.repeat(), name="listing")
        self._relisting.add_done_callback(_must_not_end)

    async def watch(self) -> None:
        """Hands over what Kopf sees, until a signal."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        kopf.on.startup(registry=registry)(self._began)
        # Here and not after Kopf's end: what still runs then is given 5 seconds, and cancelled.
        kopf.on.cleanup(registry=registry)(self._ending)
        for plural in PLURALS.values():
            kopf.on.event(GROUP, VERSION, plural, registry=registry)(self._saw)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
        )

    async def stop(self) -> None:
        """Ends all that `start` began; a second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        self._endpoints.ready = False
        if self._relisting is not None:
            self._relisting.cancel()
        logger.info("stopping")
        await self._controller.stop(drain_seconds=self._settings.drain_seconds)
        await self._embedders.close()
        await self._endpoints.stop()

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        """Kopf asks again when a token is refused; ours is the same one."""
        found = await access.configuration()
        self._client.configuration.api_key = found.api_key
        return access.for_kopf(found)

    async def _began(self, **_: Any) -> None:
        self._endpoints.ready = True
        logger.info("ready")

    async def _ending(self, **_: Any) -> None:
        await self.stop()

    async def _saw(self, event: kopf.RawEvent, **_: Any) -> None:
        """One watch event. The type is None for what Kopf listed: at its start and after each gap."""
        resource = Resource.from_object(dict(event["object"]))
        if event["type"] == "DELETED":
            self._controller.gone(resource.ref)
        else:
            self._controller.seen(resource)

    def _vitals(self) -> Vitals:
        return Vitals(
            queue=self._controller.snapshot(),
            last_list=self._listing.last_success,
            interval_seconds=self._settings.resync_seconds,
        )


class NothingStored(kopf.DiffBaseStorage):
    """Kopf prepares to compare each object with an earlier one even when no handler wants it; this makes that cheap."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:  # noqa: ARG002 - Kopf's signature
        """What is compared: the generation alone, not a deep copy of the whole body."""
        return {"spec": {"generation": body["metadata"].get("generation")}}

    def fetch(self, *, body: kopf.Body) -> Any:  # noqa: ARG002
        """What was stored: nothing, ever."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Kopf writes nothing to our objects."""


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf, reduced to list and watch."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    # We find missing CRDs ourselves, and need no right to watch CRDs and namespaces.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.persistence.diffbase_storage = NothingStored()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP, v1=False)
    settings.watching.chunk_size = PAGE_ITEMS
    settings.watching.server_timeout = 600
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = OUTAGE_BACKOFFS
    settings.queueing.idle_timeout = 1.0
    return settings


async def _cluster_uid(calls: Calls) -> str:
    """The UID of kube-system: the usual name of a cluster."""
    try:
        return str((await calls.call("GET", "/api/v1/namespaces/kube-system"))["metadata"]["uid"])
    except Transient as error:
        if isinstance(error, Refused) and error.status == FORBIDDEN:
            raise CannotStart(
                f"{error.message}; name the installation with --installation, "
                "or grant the operator get on the namespace kube-system"
            ) from error
        raise CannotStart(error.message) from error


def _end_on_signals() -> None:
    """As process 1 of a container we would ignore SIGTERM until Kopf, at its start, puts its own handlers here."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _must_not_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        # /healthz says so when the last LIST has become old.
        logger.error("listing failed for good", exc_info=error)

"""LISTs of all resources: what there is when a watch begins, and what watch events leave open.

At the start they say what there is, before anything is decided, and refuse to run where a CRD has gone. Later they find
what vanished while a watch was broken, and every `resync_seconds` they have every resource compared with Qdrant again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from vectorops import metrics
from vectorops.api.kinds import KindInfo, within
from vectorops.api.meta import Ref, Resource
from vectorops.errors import Transient
from vectorops.kube.calls import EXPIRED, NOT_FOUND, Refused
from vectorops.kube.cluster import Page
from vectorops.kube.preflight import CannotStart, not_installed

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 30.0
"""After a LIST that failed."""


class Pages(Protocol):
    """`KubeCluster`, as far as it is needed here."""

    def pages(self, kind: str, namespace: str | None) -> AsyncIterator[Page]: ...


class Audience(Protocol):
    """Receives what was listed."""

    def seen(self, resource: Resource) -> None: ...

    def gone(self, ref: Ref) -> None: ...

    def known(self, kind: str) -> set[Ref]: ...

    def resync(self, ref: Ref, *, within_seconds: float) -> None: ...


@dataclass(slots=True)
class Listing:
    """Lists all kinds in the given namespaces (none: all) and tells the audience."""

    cluster: Pages
    audience: Audience
    namespaces: Sequence[str]
    interval_seconds: float
    last_success: float = 0.0
    """`time.monotonic()` of the end of the last complete round; for health."""
    versions: dict[tuple[str, str | None], str] = field(default_factory=dict)
    """Where watches can begin after the first round, by kind and namespace (None: all)."""

    async def first(self) -> None:
        """The round at the start. Raises CannotStart."""
        for info in within(self.namespaces):
            try:
                await self._round(info)
            except Transient as error:
                gone = isinstance(error, Refused) and error.status == NOT_FOUND
                raise CannotStart(not_installed(info) if gone else error.message) from error
        self._succeeded()

    async def repeat(self) -> None:
        """All further rounds; ends only by cancellation."""
        pause = self.interval_seconds
        while True:
            await asyncio.sleep(pause)
            try:
                for info in within(self.namespaces):
                    await self._round(info)
                    for ref in self.audience.known(info.kind):
                        self.audience.resync(ref, within_seconds=self.interval_seconds)
            except Transient as error:
                logger.warning("could not list the resources: %s", error.message, extra={"reason": error.reason.value})
                pause = min(RETRY_SECONDS, self.interval_seconds)
                continue
            self._succeeded()
            pause = self.interval_seconds

    async def scope(self, kind: str, namespace: str | None) -> str:
        """Lists one kind in one namespace, or in all. Returns the version that a watch can go on from."""
        # Only what was known before can have vanished: what is seen while we list may be younger than our list.
        before = {ref for ref in self.audience.known(kind) if namespace in (None, ref.namespace)}
        while True:
            listed: set[Ref] = set()
            version = ""
            try:
                async for page in self.cluster.pages(kind, namespace):
                    version = page.version
                    for resource in page.resources:
                        listed.add(resource.ref)
                        self.audience.seen(resource)
            except Refused as error:
                if error.status != EXPIRED:
                    raise
                # Half a list proves nothing about what is not in it.
                continue
            for ref in before - listed:
                self.audience.gone(ref)
            return version

    async def _round(self, info: KindInfo) -> None:
        for namespace in self.namespaces or (None,):
            self.versions[info.kind, namespace] = await self.scope(info.kind, namespace)

    def _succeeded(self) -> None:
        self.last_success = time.monotonic()
        metrics.LAST_LIST.set_to_current_time()

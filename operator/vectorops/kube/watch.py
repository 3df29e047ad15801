"""All changes of one kind of resource, without a gap: LIST, then WATCH from there, for ever.

Not Kopf's watch: it reads whole objects, and what it cannot read ends the operator, so that one object of one tenant
could stop it for all. To have it ask for metadata only is not enough: managed fields are nested as deeply as what they
describe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Never, Protocol

from vectorops.errors import Transient
from vectorops.kube.calls import EXPIRED, FORBIDDEN, UNAUTHORIZED, Refused
from vectorops.kube.cluster import WatchEvent
from vectorops.kube.listing import Audience, Listing

logger = logging.getLogger(__name__)

NOT_OURS: Final = frozenset({UNAUTHORIZED, FORBIDDEN})
"""What no LIST can mend."""
PAUSES: Final = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 30.0)
"""Seconds before the next try after so many that brought nothing."""


class Events(Protocol):
    """`KubeCluster`, as far as it is needed here."""

    def watch(self, kind: str, namespace: str | None, *, since: str) -> AsyncIterator[WatchEvent]: ...


@dataclass(frozen=True, slots=True)
class Watch:
    """One kind in one namespace, or in all."""

    cluster: Events
    listing: Listing
    audience: Audience
    kind: str
    namespace: str | None

    async def run(self, since: str) -> Never:
        """Ends only by cancellation. since: the version of a LIST whose objects the audience has seen."""
        version: str | None = since
        in_vain = 0
        while True:
            try:
                if version is None:
                    version = await self.listing.scope(self.kind, self.namespace)
                async for event in self.cluster.watch(self.kind, self.namespace, since=version):
                    self._tell(event)
                    version = event.version
                    in_vain = 0
            except Transient as error:
                # What the API server refuses may be our version, unless we may not watch at all; what broke on the way
                # leaves it good.
                if isinstance(error, Refused) and error.status not in NOT_OURS:
                    version = None
                # That a version becomes too old is the rule where little happens.
                expired = isinstance(error, Refused) and error.status == EXPIRED
                level = logging.DEBUG if expired else logging.WARNING
                words = {"kind": self.kind, "reason": error.reason.value}
                logger.log(level, "the watch was interrupted: %s", error.message, extra=words)
            except Exception:
                logger.exception("watching failed", extra={"kind": self.kind})
                version = None
            # Also after an end without an error: the API server ends each watch after some minutes.
            await asyncio.sleep(PAUSES[min(in_vain, len(PAUSES) - 1)])
            in_vain += 1

    def _tell(self, event: WatchEvent) -> None:
        for resource in event.resources:
            if event.gone:
                self.audience.gone(resource.ref)
            else:
                self.audience.seen(resource)

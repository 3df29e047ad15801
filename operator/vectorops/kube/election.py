"""One of several replicas leads: it holds the Lease, and reconciles.

A leader that was stopped, or cut off, for longer than the Lease lasts does not know that another one leads by now. So
`Election.require` is called before every request to Qdrant and every write to Kubernetes; its clock goes on while a
process is stopped. The ledger's token makes requests fail that were in flight at that moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.kube.calls import CONFLICT, NOT_FOUND, Calls, Refused
from vectorops.kube.lease import (
    API_VERSION,
    GIVE_UP,
    POLL,
    RENEW,
    LeaseRecord,
    Sighting,
    may_take,
    release,
    take,
    update_sighting,
)

logger = logging.getLogger(__name__)

NEVER: Final = float("-inf")


class LeadershipLost(Exception):
    """Another process leads, or may lead by now; the message says why. Only a new process may lead again."""


class Election:
    """The Lease, and whether it is ours.

    calls: without this election's own check. identity: unique to this process. seconds: how long the Lease lasts
    without a renewal.
    """

    def __init__(self, calls: Calls, *, namespace: str, name: str, identity: str, seconds: int) -> None:
        self._calls = calls
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seconds = seconds
        self._lease: JsonObject | None = None
        self._until = NEVER

    def require(self) -> None:
        """Raises Transient unless it is certain that no other process leads."""
        if time.monotonic() >= self._until:
            raise Transient(Reason.ANOTHER_WRITER, "this process is no longer the leader")

    async def acquire(self, standing_by: Callable[[str], None]) -> None:
        """Returns when this process leads. standing_by: called with the leader, whenever that changes."""
        sighting: Sighting | None = None
        leader: str | None = None
        unanswered = False
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    record = await self._read()
                    sighting = update_sighting(sighting, record, time.monotonic())
                    if may_take(sighting, self._identity, time.monotonic(), seconds=self._seconds):
                        if await self._write(self._ours(record)):
                            return
                    elif sighting.record.holder != leader:
                        leader = sighting.record.holder
                        standing_by(leader)
                unanswered = False
            except (Transient, TimeoutError) as error:
                # Logged once for each outage, not for each try.
                if not unanswered:
                    logger.warning("cannot take the Lease: %s", _describe(error))
                unanswered = True
            await asyncio.sleep(self._seconds * POLL)

    async def hold(self) -> None:
        """Renews the Lease; ends only by cancellation. Raises LeadershipLost."""
        while True:
            await asyncio.sleep(self._seconds * RENEW)
            await self._renew()

    async def release(self) -> None:
        """Releases the Lease if it is ours; any replica may take it. Never raises."""
        if self._lease is None or time.monotonic() >= self._until:
            return
        self._until = NEVER
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(release(LeaseRecord.of(self._lease), datetime.now(UTC)))
        except (Transient, TimeoutError) as error:
            logger.warning("could not release the Lease, which expires by itself: %s", _describe(error))

    async def _renew(self) -> None:
        why = "it had expired"
        while (left := self._until - time.monotonic()) > 0:
            try:
                # A try must leave time for the next one.
                async with asyncio.timeout(min(left, self._seconds * GIVE_UP / 2)):
                    if await self._write(self._ours(LeaseRecord.of(self._lease or {}))):
                        return
                    record = await self._read()
            except (Transient, TimeoutError) as error:
                why = _describe(error)
                await asyncio.sleep(self._seconds * POLL)
                continue
            # Others wrote or deleted it. Only a process that wants to lead writes another holder.
            if record is not None and record.holder not in ("", self._identity):
                raise LeadershipLost(f"{record.holder} has taken the Lease")
        raise LeadershipLost(f"the Lease could not be renewed in time: {why}")

    def _ours(self, before: LeaseRecord | None) -> LeaseRecord:
        return take(before, self._identity, self._seconds, datetime.now(UTC))

    async def _read(self) -> LeaseRecord | None:
        try:
            self._lease = await self._calls.call("GET", self._path)
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
            self._lease = None
            return None
        return LeaseRecord.of(self._lease)

    async def _write(self, record: LeaseRecord) -> bool:
        """Writes the Lease. True: nobody else wrote it before, so we lead from the moment at which this began."""
        began = time.monotonic()
        try:
            await self._send(record)
        except Refused as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                raise
            return False
        self._until = began + self._seconds * GIVE_UP
        return True

    async def _send(self, record: LeaseRecord) -> None:
        if self._lease is None:
            metadata = {"namespace": self._namespace, "name": self._name}
            lease = {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": record.spec()}
            self._lease = await self._calls.call("POST", self._folder, body=lease)
        else:
            # Replaced at the version that was read, with what others keep in its metadata.
            self._lease = await self._calls.call("PUT", self._path, body={**self._lease, "spec": record.spec()})

    @property
    def _folder(self) -> str:
        return f"/apis/{API_VERSION}/namespaces/{quote(self._namespace, safe='')}/leases"

    @property
    def _path(self) -> str:
        return f"{self._folder}/{quote(self._name, safe='')}"


def _describe(error: Transient | TimeoutError) -> str:
    return error.message if isinstance(error, Transient) else "the Kubernetes API server does not answer in time"

"""What all requests to one server have in common, over REST or gRPC: they are timed, and closing waits for them.

Another reconciler may be in the middle of a write when a key is rotated and this door to the server is replaced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from vectorops.api.reasons import Reason
from vectorops.errors import Transient

Admit = Callable[[], None]
"""Asked before each request; raises Transient if this process may not send any more."""


class Observer(Protocol):
    """Who counts requests by server: `metrics.QDRANT`. server: host:port, for gRPC too that of the REST API."""

    def opened(self, server: str) -> None: ...

    def ended(self, server: str, operation: str, code: str, seconds: float) -> None:
        """code: HTTP status, gRPC code, or the class of the error."""

    def closed(self, server: str) -> None: ...


class Request:
    """One request under way. code: set by whoever carries it out."""

    def __init__(self) -> None:
        self.code = "cancelled"


class Traffic:
    """Those of one server."""

    def __init__(self, server: str, observer: Observer | None = None, admit: Admit | None = None) -> None:
        self._server = server
        self._admit = admit
        self._observer = observer
        self._used = False
        self._closing = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def one(self, operation: str) -> AsyncIterator[Request]:
        """Around each request. Raises Transient once the door is being closed, or if `admit` does."""
        if self._admit is not None:
            self._admit()
        if self._closing:
            raise Transient(Reason.UNREACHABLE, "the connection was opened anew meanwhile")
        if self._observer is not None and not self._used:
            # At the first request: a door that could not be made whole is closed by nobody.
            self._used = True
            self._observer.opened(self._server)
        request = Request()
        self._under_way += 1
        self._idle.clear()
        started = time.perf_counter()
        try:
            yield request
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
            if self._observer is not None:
                self._observer.ended(self._server, operation, request.code, time.perf_counter() - started)

    async def close(self) -> None:
        """Lets no more in, and returns when the last one has ended: each has a time limit of its own."""
        self._closing = True
        await self._idle.wait()
        if self._observer is not None and self._used:
            self._used = False
            self._observer.closed(self._server)

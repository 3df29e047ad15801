"""All requests to one server, over REST and gRPC: they are timed, and closing waits for them.

When a key is rotated, the client of the server is replaced while another reconciler may be writing through it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from vectorops.api.reasons import Reason
from vectorops.errors import Transient, VectorOpsError

CANCELLED: Final = "cancelled"

Admit = Callable[[], None]
"""Called before each request; raises Transient if this process may send no more."""


class Observer(Protocol):
    """Counts requests by server, as `metrics.QDRANT` does. server: host:port of the REST API, for gRPC as well."""

    def opened(self, server: str) -> None: ...

    def ended(self, server: str, operation: str, code: str, seconds: float) -> None:
        """code: HTTP status, gRPC code, or the class of the error."""

    def closed(self, server: str) -> None: ...


class Request:
    """One request in progress. The sender sets `code`."""

    def __init__(self) -> None:
        self.code = CANCELLED


class Traffic:
    """The requests of one client to one server."""

    def __init__(self, server: str, observer: Observer | None = None, admit: Admit | None = None) -> None:
        self._server = server
        self._admit = admit
        self._observer = observer
        self._used = False
        self._closing = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def one(self, operation: str) -> AsyncIterator[Request]:
        """Wraps each request. Raises Transient if the client is being closed, and what `admit` raises."""
        if self._admit is not None:
            self._admit()
        if self._closing:
            raise Transient(Reason.UNREACHABLE, "the connection was replaced meanwhile")
        if self._observer is not None and not self._used:
            # At the first request: nobody closes a client whose construction failed.
            self._used = True
            self._observer.opened(self._server)
        request = Request()
        self._in_flight += 1
        self._idle.clear()
        started = time.perf_counter()
        try:
            yield request
        except VectorOpsError as error:
            if request.code == CANCELLED:
                # It was not sent, as to an address that is refused.
                request.code = type(error).__name__
            raise
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
            if self._observer is not None:
                self._observer.ended(self._server, operation, request.code, time.perf_counter() - started)

    async def close(self) -> None:
        """Refuses new requests, and returns when the last one has ended; each has its own timeout."""
        self._closing = True
        await self._idle.wait()
        if self._observer is not None and self._used:
            self._used = False
            self._observer.closed(self._server)

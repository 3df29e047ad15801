"""What all requests to one server have in common, over REST or gRPC: they are timed, and closing waits for them.

Another reconciler may be in the middle of a write when a key is rotated and this door to the server is replaced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from vectorops.api.reasons import Reason
from vectorops.errors import Transient

Observe = Callable[[str, str, float], None]
"""Called for each request with: operation, code (HTTP status, gRPC code, or the class of the error), seconds."""


class Request:
    """One request under way. code: set by whoever carries it out."""

    def __init__(self) -> None:
        self.code = "cancelled"


class Traffic:
    """Those of one server."""

    def __init__(self, observe: Observe | None = None) -> None:
        self._observe = observe
        self._closing = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def one(self, operation: str) -> AsyncIterator[Request]:
        """Around each request. Raises Transient once the door is being closed."""
        if self._closing:
            raise Transient(Reason.UNREACHABLE, "the connection was opened anew meanwhile")
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
            if self._observe is not None:
                self._observe(operation, request.code, time.perf_counter() - started)

    async def close(self) -> None:
        """Lets no more in, and returns when the last one has ended: each has a time limit of its own."""
        self._closing = True
        await self._idle.wait()

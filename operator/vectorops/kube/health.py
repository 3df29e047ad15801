"""/healthz, /readyz and /metrics. Started and stopped by `app`.

A server of our own, because Kopf's answers as long as the event loop turns: not whether anything is still reconciled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from vectorops import metrics
from vectorops.queue import Snapshot

STUCK_SECONDS: Final = 1800.0
"""Longer than a reconciliation takes from one safe point to the next: each request and each embedding has its timeout.
"""
STALE_LISTS: Final = 3
STALE_SECONDS_LEAST: Final = 120.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What health is judged by.

    last_list: `time.monotonic()` of the last complete LIST; 0.0 before the first.
    """

    queue: Snapshot
    last_list: float
    interval_seconds: float


def complaints(vitals: Vitals, *, now: float) -> list[str]:
    """Why the process had better be restarted; empty when it need not.

    That this is asked at all shows that the event loop turns.
    """
    found = []
    longest_allowed = max(STALE_LISTS * vitals.interval_seconds, STALE_SECONDS_LEAST)
    if vitals.last_list and now - vitals.last_list > longest_allowed:
        found.append(f"no complete LIST of the resources for {now - vitals.last_list:.0f} s")
    if vitals.queue.longest_silence_seconds > STUCK_SECONDS:
        found.append(f"one reconciliation has got nowhere for {vitals.queue.longest_silence_seconds:.0f} s")
    return found


class Endpoints:
    """The HTTP server. vitals: read at each question. measure: sets the gauges that a scrape is to find. ready: what
    /readyz says, set by `app` while this process does its work or stands by; None: it is not ready.
    """

    def __init__(self, vitals: Callable[[], Vitals], measure: Callable[[], None]) -> None:
        self._vitals = vitals
        self._measure = measure
        self._runners: list[web.AppRunner] = []
        self.ready: str | None = None

    async def start(self, *, health_port: int, metrics_port: int) -> None:
        """Listens on all addresses; port 0 leaves one out. Raises OSError if a port is taken."""
        health = [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)]
        scrape = [web.get("/metrics", self._metrics)]
        ports: dict[int, list[web.RouteDef]] = {}
        for port, routes in ((health_port, health), (metrics_port, scrape)):
            ports.setdefault(port, []).extend(routes)
        ports.pop(0, None)
        for port, routes in ports.items():
            application = web.Application()
            application.add_routes(routes)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, port=port).start()

    async def stop(self) -> None:
        """Closes connections that probes keep open, too."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _healthz(self, _: web.Request) -> web.Response:
        found = complaints(self._vitals(), now=time.monotonic())
        return web.Response(status=500 if found else 200, text="\n".join(found) or "ok")

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.ready else 503, text=self.ready or "not listing yet, or ending")

    async def _metrics(self, _: web.Request) -> web.Response:
        self._measure()
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

"""When what a read does not show may be there all the same. Rules about versions of Qdrant, decided without talking to
anyone.

- From 1.17.0 to 1.18.3 a server that was restarted answers reads before it has replayed what it had acknowledged.
- With `optimizers_config.prevent_unoptimized` (from 1.17.1 on) points are hidden until they are optimized: neither a
  read by id nor an exact count shows them, and a write with `wait=true` returns only then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from vectorops.api.meta import JsonObject

SERVES_BEFORE_REPLAY: Final = re.compile(r"1\.(?:17|18)\.\d")
"""Versions that do; 1.19.0 waits again."""

GRACE_SECONDS: Final = 60.0
"""After its start, for so long nothing is concluded from what such a server does not show."""


def grace_seconds(version: str, seconds_up: float | None) -> float:
    """For how long the server's reads may still miss what it has acknowledged; 0.0: they do not.

    seconds_up: since it was started; None if it does not tell.
    """
    if seconds_up is None or not serves_before_replay(version):
        return 0.0
    return max(0.0, GRACE_SECONDS - seconds_up)


def serves_before_replay(version: str) -> bool:
    """Does a server of this version answer reads before it has replayed its log?"""
    return SERVES_BEFORE_REPLAY.match(version) is not None


def seconds_up(telemetry: Any, date: str | None) -> float | None:
    """For how long a server has been up, by its own clock; None if that cannot be told.

    telemetry: `result` of GET /telemetry. date: the header of that answer.
    """
    try:
        started = datetime.fromisoformat(telemetry["app"]["startup"])
        return max(0.0, (parsedate_to_datetime(date or "") - started).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


def hides_points(collection: JsonObject) -> bool:
    """May points of this collection be hidden until they are optimized? collection: `result` of GET
    /collections/{name}.
    """
    optimizers = (collection.get("config") or {}).get("optimizer_config") or {}
    return optimizers.get("prevent_unoptimized") is True


def hidden_points(collection: JsonObject) -> int:
    """How many points are hidden now, or are still to be written."""
    queue = collection.get("update_queue")
    if not isinstance(queue, Mapping) or not hides_points(collection):
        return 0
    return int(queue.get("deferred_points") or 0) + int(queue.get("length") or 0)

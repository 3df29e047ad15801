"""Which look at which resource is under way, so that a request to Qdrant and a line of the log can name it.

Kept in a context variable: a look's requests are sent by tasks and threads of its own, which inherit it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

REQUEST_ID_HEADER: Final = "x-request-id"
"""The header, and the key of gRPC's metadata. Qdrant's audit log records it from 1.18 on."""
RESOURCE_LENGTH: Final = 200
"""Characters of a resource's name that are sent at most."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._/-]+")
_PROCESS: Final = f"vectorops/{secrets.token_hex(4)}"

_current: ContextVar[str] = ContextVar("look", default="")


@contextmanager
def look_at(resource: str) -> Iterator[None]:
    """One look. resource: `PointSet team/handbook`; what no header should hold is replaced."""
    token = _current.set(f"{_UNSAFE.sub('/', resource)[:RESOURCE_LENGTH]}/{secrets.token_hex(4)}")
    try:
        yield
    finally:
        _current.reset(token)


def look_id() -> str:
    """Eight hexadecimal digits, another for each look; "" outside of one."""
    return _current.get().rpartition("/")[2]


def request_id() -> str:
    """`PointSet/team/handbook/3f9c1a2b`: the resource and the look; outside of one `vectorops/` and the process."""
    return _current.get() or _PROCESS

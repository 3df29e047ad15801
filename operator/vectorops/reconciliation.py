"""The id of the reconciliation in progress, for requests to Qdrant and for lines of the log.

It is a context variable: the tasks and threads of a reconciliation, which send its requests, inherit it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

REQUEST_ID_HEADER: Final = "x-request-id"
"""The header, and the key of gRPC's metadata. Qdrant's audit log has it since 1.18."""
RESOURCE_LENGTH: Final = 200
"""Most characters of a resource's name that are sent."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._/-]+")
_PROCESS: Final = f"vectorops/{secrets.token_hex(4)}"

_current: ContextVar[str] = ContextVar("reconciliation", default="")


@contextmanager
def reconciling(resource: str) -> Iterator[None]:
    """Gives one reconciliation an id. resource: `PointSet team/handbook`; unsafe characters are replaced."""
    token = _current.set(f"{_UNSAFE.sub('/', resource)[:RESOURCE_LENGTH]}/{secrets.token_hex(4)}")
    try:
        yield
    finally:
        _current.reset(token)


def reconcile_id() -> str:
    """Eight hexadecimal digits, different for each reconciliation; "" outside of one."""
    return _current.get().rpartition("/")[2]


def request_id() -> str:
    """`PointSet/team/handbook/3f9c1a2b`: resource and id; outside of a reconciliation `vectorops/` and a process id."""
    return _current.get() or _PROCESS

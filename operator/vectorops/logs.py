"""The log of the operator: one JSON object for each line, or one sentence.

Messages are constant; what varies is in fields: `logger.info("...", extra={"resource": ..., "reason": ...})`. A line of
a reconciliation has its id, like its requests to Qdrant. No secret, payload or vector is logged: we log no objects, and
the libraries that would are limited to warnings.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

import orjson

from vectorops.reconciliation import reconcile_id

RESERVED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes of every record; all others were given as `extra`."""
TALKATIVE: Final = ("kopf", "aiohttp", "asyncio", "grpc", "httpcore", "httpx", "kubernetes", "qdrant_client", "urllib3")
"""Libraries. Kopf at `debug` writes whole bodies, httpx writes each URL at `info`."""


def configure(*, as_json: bool, level: str, stream: TextIO | None = None) -> None:
    """Logs to `stream`, or stderr. level: the lowest one, by its name in `logging`, in upper or lower case."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


class JsonLines(logging.Formatter):
    """{"time": RFC 3339, "level", "logger", "message", and the extra fields, "traceback" if there is one}."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextLines(logging.Formatter):
    """For people: time, level, message, then the extra fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there is one."""
        fields = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname:7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    # Kopf's own loggers add its settings and a reference to the object.
    fields: dict[str, object] = {
        key: value
        for key, value in vars(record).items()
        if key not in RESERVED and not key.startswith(("k8s_", "settings"))
    }
    if current := reconcile_id():
        fields["reconcile_id"] = current
    return fields

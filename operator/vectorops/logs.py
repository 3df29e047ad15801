"""The log of the operator: one object for each line, or one sentence. Called once, by `kube.app`.

What varies is in fields: `logger.info("...", extra={"resource": ..., "reason": ...})`. A line of a look has its id, as
its requests to Qdrant have. No secret, payload or vector gets here, because nobody logs an object: the libraries that
would are told to say warnings only.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

import orjson

from vectorops.looks import look_id

RESERVED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; all else was given as `extra`."""
TALKATIVE: Final = ("kopf", "aiohttp", "asyncio", "grpc", "httpcore", "httpx", "kubernetes", "qdrant_client", "urllib3")
"""Libraries. Kopf at `debug` writes whole bodies, httpx writes each URL at `info`."""


def configure(*, as_json: bool, level: str, stream: TextIO | None = None) -> None:
    """Logs to stderr, from `level` (a name of `logging`, in any case) on."""
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
    """For eyes: time, level, message, then the extra fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there is one."""
        fields = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname:7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    # Kopf's own loggers carry its settings and a reference to the object: not for a log.
    given = {
        key: value
        for key, value in vars(record).items()
        if key not in RESERVED and not key.startswith(("k8s_", "settings"))
    }
    look = look_id()
    return {**given, "look": look} if look else given

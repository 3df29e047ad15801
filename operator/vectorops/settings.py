"""What `vectorops run` may be told: one row for each flag, with its unit, its bounds and its environment variable.

`cli` turns `Settings` into the options of the command with `command`, and `kube.app.run` reads them. Nothing else knows
a default.
"""

# No `from __future__ import annotations`: typer reads the annotations of the fields through the signature of the class.

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from typer import Option


class LogFormat(StrEnum):
    """json: one object for each line, for collectors. text: for eyes."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """Least level of the messages that are written. Even `debug` shows no secret, payload or vector."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one operator runs.

    Each field is a flag (`--health-port`) and a variable (`VECTOROPS_HEALTH_PORT`); the flag wins.
    """

    installation: Annotated[
        str | None,
        Option(
            envvar="VECTOROPS_INSTALLATION",
            help="The scope of ownership, written into marks and ledgers. Keep it when a cluster is rebuilt. "
            "Default: the UID of the namespace kube-system.",
            show_default=False,
        ),
    ] = None
    namespace: Annotated[
        list[str] | None,
        Option(
            envvar="VECTOROPS_NAMESPACE",
            help="Namespace to watch; repeat it, or separate names by spaces in the variable. Default: all.",
            show_default=False,
        ),
    ] = None
    workers: Annotated[
        int, Option(envvar="VECTOROPS_WORKERS", min=1, help="How many resources are reconciled at a time.")
    ] = 16
    per_endpoint: Annotated[
        int, Option(envvar="VECTOROPS_PER_ENDPOINT", min=1, help="How many of them on one Qdrant.")
    ] = 4
    resync_seconds: Annotated[
        float,
        Option(envvar="VECTOROPS_RESYNC_SECONDS", min=1, help="How often all resources are listed and compared again."),
    ] = 600.0
    drain_seconds: Annotated[
        float,
        Option(
            envvar="VECTOROPS_DRAIN_SECONDS",
            min=0,
            help="How long SIGTERM waits for running reconciliations. Keep it below terminationGracePeriodSeconds.",
        ),
    ] = 20.0
    health_port: Annotated[
        int, Option(envvar="VECTOROPS_HEALTH_PORT", min=0, max=65535, help="Port of /healthz and /readyz; 0: none.")
    ] = 8080
    metrics_port: Annotated[
        int,
        Option(
            envvar="VECTOROPS_METRICS_PORT",
            min=0,
            max=65535,
            help="Port of /metrics; may be that of --health-port; 0: none.",
        ),
    ] = 8081
    log_format: Annotated[LogFormat, Option(envvar="VECTOROPS_LOG_FORMAT", help="Form of the log.")] = LogFormat.JSON
    log_level: Annotated[LogLevel, Option(envvar="VECTOROPS_LOG_LEVEL", help="Least level that is logged.")] = (
        LogLevel.INFO
    )

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces to watch, each once; empty: all."""
        return tuple(dict.fromkeys(self.namespace or ()))


def command(act: Callable[[Settings], None]) -> Callable[..., None]:
    """A function for `typer.Typer().command()`: its parameters are the fields of `Settings`; `act` gets them as one."""

    def run(**options: object) -> None:
        act(Settings(**options))  # type: ignore[arg-type]  # typer has converted them by the same annotations

    signature = inspect.signature(Settings)
    run.__doc__ = act.__doc__
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__signature__ = signature.replace(return_annotation=None)  # type: ignore[attr-defined]  # read by inspect
    return run

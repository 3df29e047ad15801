"""The options of `vectorops run`: one row for each flag, with its unit, its bounds and its environment variable.

A dataclass is the options of a command: `command_of` makes one of the other. Nothing else knows a default.
"""

# No `from __future__ import annotations`: typer reads the annotations of the fields through the signature of the class.

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from typer import BadParameter, Option

if TYPE_CHECKING:
    from vectorops.embedders.base import EmbedderSettings
    from vectorops.sources.source_settings import SourceSettings

BYTES: Final[dict[str, int]] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T"), start=1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), start=1)},
}
"""Units of sizes, as Kubernetes writes them."""


def parse_bytes(text: str | int) -> int:
    """`10Gi`, `500M` or `4096` as bytes. Raises BadParameter."""
    found = re.fullmatch(r"([0-9]+)([a-zA-Z]*)", str(text))
    if found is None or found[2] not in BYTES:
        units = ", ".join(unit for unit in BYTES if unit)
        raise BadParameter(f"{text!r} is not a size: write a whole number and one of {units}, such as 10Gi")
    return int(found[1]) * BYTES[found[2]]


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


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """Where local models come from; of every command that resolves a model."""

    model_folder: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            envvar="VECTOROPS_MODEL_FOLDER",
            help="Folder with models, each in a folder named as the model (owner/name). Looked at before the hub.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None
    offline: Annotated[
        bool,
        Option(
            "--offline",
            envvar="VECTOROPS_OFFLINE",
            help="Never ask the model hub: models come from --model-folder or from the hub's cache (HF_HOME).",
        ),
    ] = False

    @property
    def embedders(self) -> "EmbedderSettings":
        """What these flags say of embedders."""
        # Here, because it brings pydantic and numpy: `vectorops --help` reads this module, and answers at once.
        from vectorops.embedders.base import EmbedderSettings

        return EmbedderSettings(model_folder=self.model_folder, offline=self.offline)


@dataclass(frozen=True, kw_only=True)
class EmbedderFlags(ModelFlags):
    """What local models run on; of every command that may embed a text."""

    embedding_device: Annotated[
        str | None,
        Option(
            "--embedding-device",
            "--device",
            metavar="NAME",
            envvar="VECTOROPS_EMBEDDING_DEVICE",
            help="Device of local models, as torch names it: cpu, cuda, mps. Default: the best there is.",
            show_default=False,
        ),
    ] = None
    embedding_threads: Annotated[
        int | None,
        Option(
            "--embedding-threads",
            "--threads",
            metavar="N",
            envvar="VECTOROPS_EMBEDDING_THREADS",
            min=1,
            help="Threads of one local model. Default: as many as there are cores.",
            show_default=False,
        ),
    ] = None

    @property
    def embedders(self) -> "EmbedderSettings":
        return replace(super().embedders, device=self.embedding_device, threads=self.embedding_threads)


@dataclass(frozen=True, kw_only=True)
class SourceFlags:
    """What reading a source may use of this machine; of every command that may read one."""

    staging_folder: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            envvar="VECTOROPS_STAGING_FOLDER",
            help="Folder for the rows of sources while they are compared; on disk, not in memory. "
            "Default: a temporary folder.",
            exists=True,
            file_okay=False,
            writable=True,
            show_default=False,
        ),
    ] = None
    staging_bytes: Annotated[
        int,
        Option(
            metavar="SIZE",
            envvar="VECTOROPS_STAGING_BYTES",
            parser=parse_bytes,
            help="Most bytes in that folder, with a unit as 500Mi or 10Gi. Default: 10Gi.",
            show_default=False,
        ),
    ] = 10 * 2**30
    max_unpacked_bytes: Annotated[
        int,
        Option(
            metavar="SIZE",
            envvar="VECTOROPS_MAX_UNPACKED_BYTES",
            parser=parse_bytes,
            help="Most bytes that one .gz or .zst file of a source may unpack to. Default: 10Gi.",
            show_default=False,
        ),
    ] = 10 * 2**30

    @property
    def sources(self) -> "SourceSettings":
        """What these flags say of sources."""
        from vectorops.sources.source_settings import SourceSettings

        return SourceSettings(
            staging_folder=self.staging_folder,
            staging_bytes=self.staging_bytes,
            max_unpacked_bytes=self.max_unpacked_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class Settings(EmbedderFlags, SourceFlags):
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
    own_namespace: Annotated[
        str | None,
        Option(
            envvar=["VECTOROPS_OWN_NAMESPACE", "POD_NAMESPACE"],
            help="Namespace of the Secrets that a ClusterQdrantConnection names; in a pod, its own.",
            show_default=False,
        ),
    ] = None
    secret_namespace: Annotated[
        list[str] | None,
        Option(
            envvar="VECTOROPS_SECRET_NAMESPACE",
            help="Namespace that a ClusterQdrantConnection may name as secretNamespace; repeat it for more. "
            "Default: none but its own.",
            show_default=False,
        ),
    ] = None
    lease_name: Annotated[
        str | None,
        Option(
            envvar="VECTOROPS_LEASE_NAME",
            help="Lease that the leader of several replicas holds; the others stand by. Default: none; it is alone.",
            show_default=False,
        ),
    ] = None
    lease_namespace: Annotated[
        str | None,
        Option(
            envvar=["VECTOROPS_LEASE_NAMESPACE", "POD_NAMESPACE"],
            help="Namespace of that Lease; in a pod, its own.",
            show_default=False,
        ),
    ] = None
    lease_seconds: Annotated[
        int,
        Option(
            envvar="VECTOROPS_LEASE_SECONDS",
            min=2,
            help="How long a leader that has gone silent keeps the others waiting.",
        ),
    ] = 15
    workers: Annotated[
        int, Option(envvar="VECTOROPS_WORKERS", min=1, help="How many resources are reconciled at a time.")
    ] = 16
    per_endpoint: Annotated[
        int, Option(envvar="VECTOROPS_PER_ENDPOINT", min=1, help="How many of them on one Qdrant.")
    ] = 4
    max_migrations: Annotated[
        int,
        Option(
            envvar="VECTOROPS_MAX_MIGRATIONS",
            min=1,
            help="How many collections are replaced at a time on one Qdrant; each takes room for a second copy.",
        ),
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
    allowed_model: Annotated[
        list[str] | None,
        Option(
            envvar="VECTOROPS_ALLOWED_MODEL",
            help="Pattern of models that embedders may name, as 'sentence-transformers/*'; repeat it for more. "
            "Default: all.",
            show_default=False,
        ),
    ] = None
    allowed_host: Annotated[
        list[str] | None,
        Option(
            envvar="VECTOROPS_ALLOWED_HOST",
            help="Pattern of hosts that hosted embedders may name, as '*.openai.com'; repeat it for more. "
            "Default: all but link-local addresses, which are always refused.",
            show_default=False,
        ),
    ] = None
    allowed_connection_host: Annotated[
        list[str] | None,
        Option(
            envvar="VECTOROPS_ALLOWED_CONNECTION_HOST",
            help="Pattern of hosts that connections may name, as '*.qdrant.svc'; repeat it for more. "
            "Default: all but link-local addresses, which are always refused.",
            show_default=False,
        ),
    ] = None
    allowed_source_host: Annotated[
        list[str] | None,
        Option(
            envvar="VECTOROPS_ALLOWED_SOURCE_HOST",
            help="Pattern of hosts that sources may name, as '*.amazonaws.com'; repeat it for more. "
            "Default: all but link-local addresses, which are always refused.",
            show_default=False,
        ),
    ] = None
    source_folder: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            envvar="VECTOROPS_SOURCE_FOLDER",
            help="Folder whose subfolder NAMESPACE holds the files of the `files` sources of that namespace. "
            "Default: none; such sources are refused.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None
    embedding_idle_seconds: Annotated[
        float,
        Option(
            envvar="VECTOROPS_EMBEDDING_IDLE_SECONDS",
            min=1,
            help="How long a local model stays loaded without work.",
        ),
    ] = 300.0
    embedding_concurrency: Annotated[
        int,
        Option(
            envvar="VECTOROPS_EMBEDDING_CONCURRENCY",
            min=1,
            help="Requests in flight to one hosted embedding server with one key.",
        ),
    ] = 4
    embedding_timeout_seconds: Annotated[
        float,
        Option(
            envvar="VECTOROPS_EMBEDDING_TIMEOUT_SECONDS", min=1, help="Longest wait for one answer of such a server."
        ),
    ] = 60.0
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

    @property
    def embedders(self) -> "EmbedderSettings":
        return replace(
            super().embedders,
            allowed_models=tuple(self.allowed_model or ()),
            allowed_hosts=tuple(self.allowed_host or ()),
            idle_seconds=self.embedding_idle_seconds,
            concurrency=self.embedding_concurrency,
            timeout_seconds=self.embedding_timeout_seconds,
        )

    @property
    def sources(self) -> "SourceSettings":
        return replace(super().sources, allowed_hosts=tuple(self.allowed_source_host or ()), folder=self.source_folder)


Flags = TypeVar("Flags")


def command_of(flags: type[Flags], act: Callable[[Flags], None]) -> Callable[..., None]:
    """A function for `typer.Typer().command()`: its parameters are the fields of a dataclass; `act` gets them as one.

    The flags of embedders and of sources come last in the help.
    """

    def run(**options: object) -> None:
        act(flags(**options))

    signature = inspect.signature(flags)
    last = {field.name for shared in (EmbedderFlags, SourceFlags) for field in fields(shared)}
    ordered = sorted(signature.parameters.values(), key=lambda parameter: parameter.name in last)
    run.__doc__ = act.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by inspect
        parameters=ordered, return_annotation=None
    )
    return run

"""The `vectorops` command: reads the command line, calls what does the work, prints what comes back.

Everything heavy is imported inside the commands: `vectorops --help` answers at once, and `apply` needs neither kopf
nor kubernetes.
"""

# No `from __future__ import annotations`: typer reads the annotations of the commands.

import os
import re
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from vectorops import __version__
from vectorops.settings import EmbedderFlags, ModelFlags, Settings, SourceFlags, command_of

if TYPE_CHECKING:
    from vectorops.local.manifests import Manifests
    from vectorops.local.override import Override
    from vectorops.local.session import Options

T = TypeVar("T")

READY, NOT_READY, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
NOTHING_TO_CHANGE, PLAN_FAILED, CHANGES = 0, 1, 2
"""Exit codes: of `apply`, and of `plan --detailed-exitcode`."""

app = typer.Typer(
    name="vectorops",
    help="Qdrant collections, and the points in them, as Kubernetes resources: with a cluster (run) or without one "
    "(apply, plan, schema).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Output(StrEnum):
    """table: for eyes. json: for programs."""

    TABLE = "table"
    JSON = "json"


Filenames = Annotated[
    list[str],
    typer.Option(
        "--filename",
        "-f",
        metavar="PATH",
        help="A file, a folder (its own *.yaml, *.yml and *.json), or - for standard input. Repeat it for more.",
    ),
]
QdrantTarget = Annotated[
    str | None,
    typer.Option(
        "--qdrant",
        metavar="URL|FOLDER",
        help="A server, or a folder for an embedded Qdrant, in place of what the QdrantConnections say "
        "(the files may lack them). Key of a server: VECTOROPS_QDRANT_API_KEY.",
    ),
]
Owner = Annotated[
    str | None,
    typer.Option(
        "--owner",
        metavar="NAME",
        help="The scope of ownership, as the installation of an operator. Only what it owns is changed. Default: cli.",
        show_default=False,
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune",
        help="Remove what the owner had and the files no longer declare, by its deletionPolicy. Needs --owner.",
    ),
]
Approve = Annotated[
    list[str] | None,
    typer.Option(
        "--approve",
        metavar="HASH",
        help="Carry out the plan that is held back under this hash, in this one run. Repeat it for more.",
        show_default=False,
    ),
]
TakeOverFrom = Annotated[
    str,
    typer.Option(
        "--take-over-from",
        metavar="INSTALLATION",
        help="Take the declared collections over from this owner, in this one run, with the points of their sets.",
        show_default=False,
    ),
]
RollBackFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--roll-back",
        metavar="INCARNATION",
        help="Move the readers of this collection back to the one before it, in this one run. Repeat it for more.",
        show_default=False,
    ),
]
NoWait = Annotated[
    bool,
    typer.Option("--no-wait", help="Do not wait for migrations: leave them to a later apply once they have begun."),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        help="Namespace of manifests that name none. Default: default.",
        show_default=False,
    ),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="Form of what is printed.")]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Longest wait for everything to be ready.")
]


@dataclass(frozen=True, kw_only=True)
class ManifestFlags:
    """Of every command that reads manifests."""

    filename: Filenames
    namespace: NamespaceOption = None
    output: Format = Output.TABLE

    @property
    def as_json(self) -> bool:
        return self.output is Output.JSON


@dataclass(frozen=True, kw_only=True)
class SchemaFlags(ModelFlags, ManifestFlags):
    """Of `schema`."""


@dataclass(frozen=True, kw_only=True)
class ApplyFlags(EmbedderFlags, SourceFlags, ManifestFlags):
    """Of `apply`, and of `plan`, which shows what it would do."""

    qdrant: QdrantTarget = None
    owner: Owner = None
    prune: Prune = False
    approve: Approve = None
    take_over_from: TakeOverFrom = ""
    roll_back: RollBackFrom = None
    no_wait: NoWait = False
    timeout: Timeout = 300

    @property
    def options(self) -> "Options":
        """What the command line asks for. Raises typer.BadParameter."""
        from vectorops.local.override import API_KEY_VARIABLE, Override, WrongTarget
        from vectorops.local.session import DEFAULT_OWNER, Options
        from vectorops.reconcilers.base import Grants

        for given in self.approve or ():
            if not re.fullmatch("[0-9a-f]{12}", given):
                raise typer.BadParameter(f"--approve: {given!r} is no hash of a plan: 12 of 0-9a-f, as plan tells it")
        if self.prune and self.owner is None:
            raise typer.BadParameter("--prune removes what one owner had: say which with --owner")
        if self.owner is not None and not re.fullmatch(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?", self.owner):
            raise typer.BadParameter("--owner: up to 63 letters, digits and -._, a letter or digit at either end")
        try:
            key = os.environ.get(API_KEY_VARIABLE)
            override = Override.parse(self.qdrant, key) if self.qdrant is not None else None
        except WrongTarget as error:
            raise typer.BadParameter(f"--qdrant: {error}") from None
        return Options(
            override=override,
            owner=self.owner or DEFAULT_OWNER,
            prune=self.prune,
            timeout_seconds=self.timeout,
            embedders=self.embedders,
            sources=self.sources,
            grants=Grants(frozenset(self.approve or ()), self.take_over_from, frozenset(self.roll_back or ())),
            waits_for_migrations=not self.no_wait,
        )


@dataclass(frozen=True, kw_only=True)
class PlanFlags(ApplyFlags):
    """Of `plan`."""

    timeout: Timeout = 60
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit code: 0 nothing to change, 2 changes, 1 an error.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class CheckFlags(EmbedderFlags, SourceFlags, ManifestFlags):
    """Of `check`."""

    qdrant: QdrantTarget = None
    old: Annotated[
        str | None,
        typer.Option(
            "--old",
            metavar="COLLECTION",
            help="Another collection in the same Qdrant, or an alias, to compare with: for overlap and latencyRatio, "
            "and for queries without expect.",
            show_default=False,
        ),
    ] = None
    timeout: Timeout = 60

    @property
    def options(self) -> "Options":
        """What the command line asks for. Raises typer.BadParameter."""
        from vectorops.local.session import Options

        return Options(
            override=_target_to_read(self.qdrant) if self.qdrant is not None else None,
            timeout_seconds=self.timeout,
            embedders=self.embedders,
            sources=self.sources,
        )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vectorops {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _apply(flags: ApplyFlags) -> None:
    """Make Qdrant as the manifests say, without a cluster.

    Key of hosted embedders whose Secret is not in the files: VECTOROPS_EMBEDDER_API_KEY.

    Exit code: 0 everything is ready, 1 something is not, 2 wrong usage or invalid manifests (then nothing is applied).
    """
    from vectorops.local import apply as local
    from vectorops.local import show
    from vectorops.local.command_progress import show_progress
    from vectorops.local.override import WrongTarget

    options = flags.options
    manifests = _read(flags.filename, flags.namespace, WRONG_USAGE)
    if options.override is not None:
        try:
            options.override.make_folder()
        except WrongTarget as error:
            _fail(f"--qdrant: {error}", WRONG_USAGE)
    with show_progress() as progress:
        report = _run(local.apply(manifests, options, tell=progress.tell, settled=progress.settled))
    show.report(report, as_json=flags.as_json)
    met = _tell_unmet(options)
    raise typer.Exit(READY if report.ready and met else NOT_READY)


def _plan(flags: PlanFlags) -> None:
    """Show what `apply` would do, and change nothing at all. It takes the options of `apply`; no text is embedded.

    Key of hosted embedders whose Secret is not in the files: VECTOROPS_EMBEDDER_API_KEY.

    Exit code: 0, also if there is something to do (see --detailed-exitcode); 1 something cannot be planned; 2 wrong
    usage or invalid manifests.
    """
    from vectorops.local import preview, show
    from vectorops.local.command_progress import show_progress

    options = flags.options
    manifests = _read(flags.filename, flags.namespace, PLAN_FAILED if flags.detailed_exitcode else WRONG_USAGE)
    with show_progress():
        plans = _run(preview.preview(manifests, options))
    show.plans(plans, as_json=flags.as_json)
    if not _tell_unmet(options) or any(plan.problem for plan in plans):
        raise typer.Exit(PLAN_FAILED)
    is_change = flags.detailed_exitcode and any(plan.changes for plan in plans)
    raise typer.Exit(CHANGES if is_change else NOTHING_TO_CHANGE)


def _schema(flags: SchemaFlags) -> None:
    """Show what the vectors of the QdrantCollections would look like, and where that is known from. Needs no Qdrant.

    A collection that exists keeps the model that it was made with: `plan` compares the two.

    Key of hosted embedders whose Secret is not in the files: VECTOROPS_EMBEDDER_API_KEY.

    Exit code: 0 all are resolved, 1 one is not, 2 wrong usage or invalid manifests.
    """
    from vectorops.local import schemas, show
    from vectorops.local.command_progress import show_progress
    from vectorops.local.session import Options

    manifests = _read(flags.filename, flags.namespace, WRONG_USAGE)
    with show_progress():
        found = _run(schemas.resolve_schemas(manifests, Options(embedders=flags.embedders)))
    show.print_schemas(found, as_json=flags.as_json)
    raise typer.Exit(NOT_READY if any(schema.problems for schema in found) else READY)


def _check(flags: CheckFlags) -> None:
    """Ask Qdrant the queries of the `checks` that QdrantCollections declare, and compare the answers with the
    thresholds. Only reads.

    A collection is asked by its name, so that an alias leads to the one that serves readers.

    Key of hosted embedders whose Secret is not in the files: VECTOROPS_EMBEDDER_API_KEY.

    Exit code: 0 all checks passed, 1 some failed or could not be run, 2 wrong usage or invalid manifests.
    """
    from vectorops.local import check, show
    from vectorops.local.command_progress import show_progress

    options = flags.options
    manifests = _read(flags.filename, flags.namespace, WRONG_USAGE)
    checked = check.checked_collections(manifests)
    if not checked:
        _fail("no QdrantCollection in the files declares spec.checks", WRONG_USAGE)
    if flags.old is not None and len(checked) > 1:
        names = ", ".join(one.meta.name for one in checked)
        raise typer.BadParameter(f"--old is for one collection, and several declare checks: {names}")
    with show_progress():
        reports = _run(check.run_declared_checks(manifests, options, old=flags.old))
    show.print_checks(reports, as_json=flags.as_json)
    raise typer.Exit(READY if all(report.passed for report in reports) else NOT_READY)


app.command(name="apply")(command_of(ApplyFlags, _apply))
app.command(name="plan")(command_of(PlanFlags, _plan))
app.command(name="check")(command_of(CheckFlags, _check))
app.command(name="schema")(command_of(SchemaFlags, _schema))


@app.command()
def export(
    qdrant: Annotated[
        str,
        typer.Option("--qdrant", metavar="URL", help="The server to read. Its key: VECTOROPS_QDRANT_API_KEY."),
    ],
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            metavar="NAME",
            help="A collection, by its name in Qdrant; repeat it for more. Default: all.",
            show_default=False,
        ),
    ] = None,
    points: Annotated[
        bool,
        typer.Option(
            "--points",
            help="Also the points: in the manifests, or, if they are too many or too large for that, as Parquet files "
            "beside --output.",
        ),
    ] = False,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="Namespace of the manifests. Default: none.",
            show_default=False,
        ),
    ] = None,
    connection: Annotated[
        str, typer.Option("--connection", metavar="NAME", help="Name of the QdrantConnection.")
    ] = "qdrant",
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write the manifests; - for standard output.")
    ] = "-",
) -> None:
    """Print the manifests that declare what a Qdrant holds. Applying them changes no collection and no point.

    Only reads. What VectorOps manages already is left out. What is left out or refused is told on standard error.

    Exit code: 0 all is declared, 1 something is not, 2 wrong usage.
    """
    from vectorops.local import export as exporting
    from vectorops.local.export_manifests import NotExportable

    target = _target_to_read(qdrant)
    if target.url is None:
        raise typer.BadParameter("--qdrant: a URL as http://localhost:6333 is expected; a folder cannot be exported")
    options = exporting.ExportOptions(
        url=target.url,
        api_key=target.api_key,
        collections=collection or (),
        points=points,
        folder=None if output == "-" else Path(output).absolute().parent,
        namespace=namespace,
        connection=connection,
    )
    try:
        exported = _run(exporting.export(options))
    except NotExportable as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}", WRONG_USAGE)
    for line in (*exported.notices, *exported.refused):
        typer.echo(line, err=True)
    text = exported.yaml()
    if output == "-":
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    else:
        try:
            Path(output).write_text(text, encoding="utf-8")
        except OSError as error:
            _fail(f"{output}: {error.strerror}", WRONG_USAGE)
    raise typer.Exit(NOT_READY if exported.refused else READY)


ledger_app = typer.Typer(
    help="Look into the ledgers of a Qdrant: which points each PointSet owns. Only reads; for support.",
    no_args_is_help=True,
)
app.add_typer(ledger_app, name="ledger")

ReadTarget = Annotated[
    str,
    typer.Option(
        "--qdrant",
        metavar="URL|FOLDER",
        help="The server to read, or the folder of an embedded Qdrant. Key of a server: VECTOROPS_QDRANT_API_KEY.",
    ),
]
ChosenSet = Annotated[
    str,
    typer.Argument(
        metavar="[SET]",
        help="A PointSet: NAME, NAMESPACE/NAME or INSTALLATION/NAMESPACE/NAME. Default: all.",
        show_default=False,
    ),
]


@ledger_app.command(name="show")
def show_ledger(qdrant: ReadTarget, chosen: ChosenSet = "", output: Format = Output.TABLE) -> None:
    """List the ledgers, with their points, parts and open windows. With a SET, also each part of its ledger.

    Standard error says what is wrong with a record.

    Exit code: 0, 1 Qdrant cannot be read or there is no such SET, 2 wrong usage.
    """
    from vectorops.local import ledgers, show

    found = _run(ledgers.show_ledgers(_target_to_read(qdrant), chosen))
    if chosen and not found.ledgers and not found.findings:
        _fail(f"no ledger of {chosen} was found", NOT_READY)
    show.print_ledgers(found, in_detail=bool(chosen), as_json=output is Output.JSON)


@ledger_app.command(name="check")
def check_ledger(qdrant: ReadTarget, chosen: ChosenSet = "", output: Format = Output.TABLE) -> None:
    """Compare the ledgers with what the Qdrant holds, and say what is wrong and what to do.

    Are all records there and readable? Is each owned point stored, and held by one set only? Do the collections know
    of their ledgers? Contents of points are not read.

    Exit code: 0 no problem was found (notices are none), 1 one was, or Qdrant cannot be read, 2 wrong usage.
    """
    from vectorops.local import ledgers, show

    found = _run(ledgers.check_ledgers(_target_to_read(qdrant), chosen))
    if chosen and not found.ledgers and not found.findings:
        _fail(f"no ledger of {chosen} was found", NOT_READY)
    show.print_findings(found, as_json=output is Output.JSON)
    raise typer.Exit(READY if found.is_sound else NOT_READY)


@app.command()
def crds(
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", metavar="FOLDER", help="Write one file for each kind. Default: print all."),
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions, for `kubectl apply --server-side -f -`."""
    from vectorops.api.crd import render

    rendered = render()
    if output_dir is None:
        typer.echo("---\n".join(rendered.values()), nl=False)
        return
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        for name, text in rendered.items():
            (output_dir / name).write_text(text, encoding="utf-8")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}", WRONG_USAGE)


@app.command()
def orphan(
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", metavar="NAME", help="A namespace; repeat it for more.", show_default=False),
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")] = False,
    delete_crds: Annotated[
        bool, typer.Option("--delete-crds", help="And then the CustomResourceDefinitions. Needs --all-namespaces.")
    ] = False,
) -> None:
    """Delete all resources from a cluster, and leave what they made in Qdrant as it is, whatever their deletionPolicy.

    For moving away, and for removing the CRDs. Applied again, to an operator of the same installation, they find all of
    it. Works with and without a running operator.

    Exit code: 0 none is left, 1 some are, 2 wrong usage.
    """
    from vectorops.kube import orphan as orphaning

    if bool(namespace) == all_namespaces:
        raise typer.BadParameter("which ones? Either --namespace or --all-namespaces")
    if delete_crds and not all_namespaces:
        raise typer.BadParameter(
            "--delete-crds would delete the resources of other namespaces: it needs --all-namespaces"
        )
    raise typer.Exit(orphaning.run_orphan(namespace or (), typer.echo, delete_crds=delete_crds))


def _operator(settings: Settings) -> None:
    """Run the operator of a cluster (in a pod, or with the current kubeconfig)."""
    from vectorops.kube.app import run_operator

    raise typer.Exit(run_operator(settings))


app.command("run")(command_of(Settings, _operator))


def main() -> NoReturn:
    """Entry point of the console script and of `python -m vectorops`."""
    app(prog_name="vectorops")
    raise AssertionError("typer ends the process")


# ---- shared by the commands ----


def _read(paths: list[str], namespace: str | None, invalid: int) -> "Manifests":
    from vectorops.errors import InvalidManifest
    from vectorops.local.manifests import read_manifests

    try:
        manifests = read_manifests(paths, namespace=namespace)
    except InvalidManifest as error:
        _fail("\n".join([*error.problems, "nothing was applied"]), invalid)
    for notice in manifests.notices:
        typer.echo(notice, err=True)
    return manifests


def _target_to_read(given: str) -> "Override":
    """Raises typer.BadParameter."""
    from vectorops.local.override import API_KEY_VARIABLE, Override, WrongTarget

    try:
        target = Override.parse(given, os.environ.get(API_KEY_VARIABLE) or None)
    except WrongTarget as error:
        raise typer.BadParameter(f"--qdrant: {error}") from None
    if target.folder is not None and not target.folder.is_dir():
        raise typer.BadParameter(f"--qdrant: there is no folder {target.folder}")
    return target


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end. ^C ends it between two requests; the next run goes on from there."""
    import asyncio

    from vectorops.errors import VectorOpsError
    from vectorops.garbage import search_seldom

    search_seldom()
    try:
        return asyncio.run(coroutine)
    except VectorOpsError as error:
        # Met outside of any one resource, as in looking for what to prune.
        _fail(f"{error.reason}: {error}; run the same command again to go on", NOT_READY)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on", INTERRUPTED)


def _tell_unmet(options: "Options") -> bool:
    """Was there something to move back for each --roll-back? A wrong one must not look as if it were done."""
    unmet = sorted(options.grants.roll_back - options.grants.met_roll_back)
    for incarnation in unmet:
        typer.echo(
            f"--roll-back {incarnation}: nothing was moved back: none of the collections that could be looked at "
            "serves readers under this incarnation, with an older one still there; in the grace period it is "
            "status.migration.to.incarnation. If it was carried out before, run once without it",
            err=True,
        )
    return not unmet


def _fail(words: str, code: int) -> NoReturn:
    typer.echo(words, err=True)
    sys.exit(code)

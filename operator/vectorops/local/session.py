"""The cluster from the files and the context that `apply`, `plan` and `schema` work in."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NoReturn

from vectorops.api.connection import QdrantConnectionSpec
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.local.cluster import LocalCluster, Tell
from vectorops.local.manifests import Manifests
from vectorops.local.override import Override
from vectorops.points.staging_folder import StagingFolder
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database
from vectorops.reconcilers.base import Context, Grants
from vectorops.reconcilers.databases import Connect, Databases
from vectorops.reconcilers.secrets import ANY_SECRETS
from vectorops.sources.source_settings import SourceSettings

DEFAULT_OWNER: Final = "cli"
"""The installation of a command that names none. It is the same on all machines, so that a second apply from another
laptop finds what it owns.
"""

EMBEDDER_KEY_VARIABLE: Final = "VECTOROPS_EMBEDDER_API_KEY"
"""The API key for hosted embedders whose Secret is not in the files."""

READS: Final = frozenset(
    {
        "aliases",
        "all_replicas_answer",
        "check",
        "close",
        "cluster",
        "collection",
        "collection_cluster",
        "collection_names",
        "count",
        "id_pages",
        "points",
        "scroll",
        "search",
        "seconds_up",
        "shard_keys",
        "snapshots",
        "snapshots_under_way",
        "stored_sizes",
        "with_shard_key",
    }
)
"""Methods of a Database that write nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the commands."""

    override: Override | None = None
    """`--qdrant`."""
    owner: str = DEFAULT_OWNER
    """The installation."""
    prune: bool = False
    """Delete what the owner no longer declares?"""
    timeout_seconds: float = 300.0
    embedders: EmbedderSettings = field(default_factory=EmbedderSettings)
    """Where models come from."""
    sources: SourceSettings = field(default_factory=SourceSettings)
    """What sources may use of this machine."""
    grants: Grants = field(default_factory=Grants)
    """What is allowed in this one run."""
    waits_for_migrations: bool = True
    """Does `apply` wait until readers were moved?"""


@dataclass(frozen=True, slots=True)
class Session:
    """An open session."""

    cluster: LocalCluster
    """The cluster of `context`, with the methods of a local one."""
    context: Context


@asynccontextmanager
async def open_session(
    manifests: Manifests, options: Options, *, read_only: bool, tell: Tell = lambda *_: None
) -> AsyncIterator[Session]:
    """Opens a session, and closes it at the end. read_only: every write raises AssertionError."""
    cluster = LocalCluster(
        manifests.resources.values(), manifests.secrets, tell, manifests.labels, manifests.config_maps
    )
    opener: Connect = connect
    if options.override is not None:
        await options.override.rewrite(cluster)
        opener = options.override.connect()
    databases = Databases(_read_only(opener) if read_only else opener, ANY_SECRETS)
    embedders = Embedders(options.embedders, api_key=os.environ.get(EMBEDDER_KEY_VARIABLE) or None)
    try:
        writer = secrets.token_hex(8)
        sources = replace(options.sources, manifest_folders=manifests.folders)
        staging = StagingFolder(sources.staging_folder, sources.staging_bytes)
        context = Context(
            cluster, databases, embedders, options.owner, writer, options.grants, sources=sources, staging=staging
        )
        yield Session(cluster, context)
    finally:
        await embedders.close()
        await databases.close_all()


def _read_only(opener: Connect) -> Connect:
    guarded: dict[Database, Database] = {}

    def open_read_only(spec: QdrantConnectionSpec, credentials: Credentials) -> Database:
        # One for each database: several connections may share a folder, which can be opened only once.
        database = opener(spec, credentials)
        return guarded.setdefault(database, read_only(database))

    return open_read_only


def read_only(database: Database) -> Database:
    """The same database without its writes, so that `plan` cannot change anything.

    All methods but READS are refused, including methods that are added later. The result is an instance of the same
    class, because callers check the class.
    """
    guarded = copy(database)
    for name in dir(database):
        if not name.startswith("_") and name not in READS and callable(getattr(database, name)):
            setattr(guarded, name, partial(_refuse_write, name))
    return guarded


def _refuse_write(name: str, *_: object, **__: object) -> NoReturn:
    raise AssertionError(f"plan must not write, but called {name}")

"""What `apply` and `plan` both begin with: the cluster that the files make, and a context to work in. Closed when
they end.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Final, NoReturn

from vectorops.api.connection import QdrantConnectionSpec
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.local.cluster import LocalCluster, Tell
from vectorops.local.manifests import Manifests
from vectorops.local.override import Override
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database
from vectorops.reconcilers.base import Context, Grants
from vectorops.reconcilers.databases import Connect, Databases

DEFAULT_OWNER: Final = "cli"
"""The installation of a command that names none. One name for all, so that a second apply from another laptop finds
its own.
"""

EMBEDDER_KEY_VARIABLE: Final = "VECTOROPS_EMBEDDER_API_KEY"
"""The key of hosted embedders, where the files do not hold the Secret that a collection names."""

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
        "points",
        "scroll",
        "seconds_up",
        "shard_keys",
        "with_shard_key",
    }
)
"""Methods of a Database that change nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """override: `--qdrant`. owner: the installation. prune: remove what the owner no longer declares.

    embedders: where models come from. grants: what is allowed in this one run.
    """

    override: Override | None = None
    owner: str = DEFAULT_OWNER
    prune: bool = False
    timeout_seconds: float = 300.0
    embedders: EmbedderSettings = field(default_factory=EmbedderSettings)
    grants: Grants = field(default_factory=Grants)


@dataclass(frozen=True, slots=True)
class Session:
    """cluster: the same as in `context`, with what only a local one can do."""

    cluster: LocalCluster
    context: Context


@asynccontextmanager
async def session(
    manifests: Manifests, options: Options, *, read_only: bool, tell: Tell = lambda *_: None
) -> AsyncIterator[Session]:
    """Opens what `apply` (or, read_only, `plan`) works with."""
    cluster = LocalCluster(manifests.resources.values(), manifests.secrets, tell)
    opener: Connect = connect
    if options.override is not None:
        await options.override.rewrite(cluster)
        opener = options.override.connect()
    databases = Databases(_read_only(opener) if read_only else opener)
    embedders = Embedders(options.embedders, api_key=os.environ.get(EMBEDDER_KEY_VARIABLE) or None)
    try:
        writer = secrets.token_hex(8)
        yield Session(cluster, Context(cluster, databases, embedders, options.owner, writer, options.grants))
    finally:
        await embedders.close()
        await databases.close_all()


def _read_only(opener: Connect) -> Connect:
    guarded: dict[Database, Database] = {}

    def open_read_only(spec: QdrantConnectionSpec, credentials: Credentials) -> Database:
        # One for each: a folder that several connections share can be opened once only.
        database = opener(spec, credentials)
        return guarded.setdefault(database, read_only(database))

    return open_read_only


def read_only(database: Database) -> Database:
    """The same database without its writing: `plan` changes nothing because it has nothing to change it with.

    Whatever is not known to read is refused, so that a method which is added later cannot slip through. It stays an
    object of its own class, since what a database can do is asked by its class.
    """
    guarded = copy(database)
    for name in dir(database):
        if not name.startswith("_") and name not in READS and callable(getattr(database, name)):
            setattr(guarded, name, _refuse(name))
    return guarded


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError(f"plan must not write, and called {name}")

    return refuse

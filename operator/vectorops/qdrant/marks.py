"""The mark: who owns a collection, written into the collection's own `metadata` (Qdrant >= 1.16).

It is found by installation + namespace + name, never by UID, so a rebuilt cluster finds its own. It names its
collection, because a snapshot restored under another name carries a copy. Beside the mark stand the registrations
of ledgers, one key for each PointSet: Qdrant merges metadata by top-level key, so nobody overwrites another's.

A mark of format 1 names a QdrantConnection, and keeps its bytes for ever. One of format 2 differs in a single field,
`connection_kind`, and is written only where that names another kind.

A collection of ledgers carries a mark of its own kind. It names nobody, since all installations share the collection.
Versions that do not know this kind take it for a mark that they cannot read, and leave the collection alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Final, get_args, get_origin, get_type_hints

from vectorops.api.meta import GROUP, QDRANT_COLLECTION, QDRANT_CONNECTION, ConnectionKind, JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal

FORMAT: Final = 1
CLUSTER_FORMAT: Final = 2
"""Format of a mark whose connection is cluster-wide. A version that knows no such connection cannot read it: it would
look for a QdrantConnection of that name.
"""
FORMATS: Final = frozenset({FORMAT, CLUSTER_FORMAT})
OUR_METADATA: Final = f"{GROUP}/"
"""What each key begins with that we put into the metadata of a collection."""
MARK_KEY: Final = f"{GROUP}/mark"
REGISTRATION_PREFIX: Final = f"{GROUP}/ledger/"
LEDGER_KEY: Final = f"{GROUP}/ledger-collection"
"""Key in the metadata of a managed collection: where the ledgers of its sets are, if not in the default collection."""
SNAPSHOT_KEY: Final = f"{GROUP}/snapshot"
"""Key in the metadata of a managed collection: the last snapshot that it was to have (`reconcilers.snapshots`)."""
NAME_BYTES: Final = 255
"""Longest name of a collection, in UTF-8: Qdrant 1.16.3 refuses 256 characters (422), and its folder has the same name,
which file systems limit to 255 bytes (128 characters of two bytes: 500 "File name too long"). An alias may be longer.
"""
SUFFIX_DIGITS: Final = 8
"""Digits of its incarnation that end the name of a collection behind an alias: `NAME-1a2b3c4d`."""
LEDGER_KIND: Final = "Ledger"
LEDGER_METADATA: Final[JsonObject] = {MARK_KEY: {"format": FORMAT, "kind": LEDGER_KIND}}
"""The mark of a collection of ledgers, as it goes into the body of a create or PATCH."""


OF_MIGRATIONS: Final = ("alias", "switched_at", "predecessor", "rolled_back")
"""Fields of a mark that are no keys in JSON while they are empty."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The ownership record of one physical collection.

    Its fields, in this order, are its keys in JSON; the format follows.
    """

    installation: str
    namespace: str
    name: str
    uid: str
    """Of the resource that wrote it; informs people, decides nothing."""
    collection: str
    incarnation: str
    connection: str = ""
    """Name of the connection, so that the command line can prune by marks alone."""
    deletion_policy: str = "Retain"
    last_applied: JsonObject = field(default_factory=dict)
    """What of the collection's configuration, indexes and aliases the owner manages (`collections.plan`)."""
    embedders: JsonObject = field(default_factory=dict)
    """By the vector's name, which model made its vectors (`collections.locks`)."""
    released: bool = False
    """The owner is gone and left the collection behind; whoever adopts it keeps the incarnation."""
    previous: str = ""
    """The installation that this collection was taken over from; its ledgers are inherited."""
    kind: str = QDRANT_COLLECTION
    connection_kind: str = QDRANT_CONNECTION
    """Kind of the connection; no key in JSON if it is a QdrantConnection."""
    alias: str = ""
    """The alias by which readers find the collection, if it can be replaced behind it (`layout: Aliased`). It and the
    fields below have no key in JSON while they are empty.
    """
    switched_at: str = ""
    """When readers were last moved to this collection (RFC 3339); "" if they never were."""
    predecessor: str = ""
    """The collection that this one was made to replace."""
    rolled_back: JsonObject = field(default_factory=dict)
    """What readers were moved back from (`collections.next_move`)."""

    def belongs_to(self, installation: str, ref: Ref) -> bool:
        """Is `ref` of this installation the owner?"""
        return not self.released and (self.installation, self.kind, self.namespace, self.name) == (
            installation,
            ref.kind,
            ref.namespace,
            ref.name,
        )

    @property
    def owner(self) -> str:
        """For messages."""
        return f"{self.kind} {self.namespace}/{self.name} of installation {self.installation!r}"

    def release(self) -> Mark:
        """The same collection, left behind."""
        return replace(self, released=True)

    def metadata(self) -> JsonObject:
        """As it goes into the body of a create or PATCH."""
        record = asdict(self)
        if self.connection_kind == QDRANT_CONNECTION:
            del record["connection_kind"]
        for name in OF_MIGRATIONS:
            if not record[name]:
                del record[name]
        return {MARK_KEY: record | {"format": _format(self.connection_kind)}}


def new_incarnation() -> str:
    """A random id for a physical collection: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def name_behind(alias: str, incarnation: str) -> str:
    """The name of the physical collection behind an alias: `NAME-1a2b3c4d`.

    Raises Terminal InvalidSpec if Qdrant takes no name so long.
    """
    name = f"{alias}-{incarnation[:SUFFIX_DIGITS]}"
    if (size := len(name.encode())) > NAME_BYTES:
        raise Terminal(
            Reason.INVALID_SPEC,
            f"with layout: Aliased, the collection behind the alias {alias!r} would be called {name!r}: these are "
            f"{size} bytes, and Qdrant takes {NAME_BYTES}; choose a collectionName of at most "
            f"{NAME_BYTES - SUFFIX_DIGITS - 1} bytes",
        )
    return name


def mark_of(collection: Mapping[str, object], name: str) -> Mark | None:
    """The mark of a collection, None if it has none that speaks of it.

    collection: `result` of GET /collections/{name}; name: the physical name, not an alias.
    Raises Terminal UnknownMark if it is damaged, or was written in a format that this version does not know: it must
    not be overwritten. OwnedByAnother if ledgers are kept in the collection.
    """
    raw = _readable(collection, name)
    if raw is None:
        return None
    if raw.get("kind") == LEDGER_KIND:
        raise Terminal(
            Reason.OWNED_BY_ANOTHER,
            f"VectorOps keeps ledgers in collection {name!r}, so nothing else may be in it: choose another collection",
        )
    known = {key: value for key, value in raw.items() if key in Mark.__dataclass_fields__}
    try:
        mark = Mark(**known)
    except TypeError:
        mark = None
    is_whole = mark is not None and all(type(getattr(mark, name)) is kind for name, kind in _types().items())
    if mark is None or not is_whole or _format(mark.connection_kind) != raw["format"]:
        raise Terminal(
            Reason.UNKNOWN_MARK,
            f"the ownership mark of collection {name!r} is damaged; "
            f"mend it, or remove the key {MARK_KEY!r} from the collection's metadata",
        )
    return mark if mark.collection == name else None


def is_ledger(collection: Mapping[str, object], name: str) -> bool:
    """Does the collection carry the mark of one that ledgers are kept in?

    False: it carries no mark. Raises Terminal OwnedByAnother if it is marked as anything else, UnknownMark.
    """
    raw = _readable(collection, name)
    if raw is None or raw.get("kind") == LEDGER_KIND:
        return raw is not None
    raise Terminal(
        Reason.OWNED_BY_ANOTHER, f"collection {name!r} is managed as a collection of points, so no ledger can be in it"
    )


def _readable(collection: Mapping[str, object], name: str) -> Mapping[str, Any] | None:
    """The stored mark, of whatever kind; None if there is none. Raises Terminal UnknownMark."""
    config = collection.get("config")
    metadata = config.get("metadata") if isinstance(config, Mapping) else None
    raw = metadata.get(MARK_KEY) if isinstance(metadata, Mapping) else None
    if raw is None:
        return None
    # A collection of ledgers is reached by no connection of its own: its mark has one format.
    if (
        not isinstance(raw, Mapping)
        or type(raw.get("format")) is not int
        or raw["format"] not in ({FORMAT} if raw.get("kind") == LEDGER_KIND else FORMATS)
    ):
        raise Terminal(
            Reason.UNKNOWN_MARK,
            f"collection {name!r} carries an ownership mark that this version of VectorOps cannot read; "
            f"upgrade it, or remove the key {MARK_KEY!r} from the collection's metadata",
        )
    return raw


def _format(connection_kind: str) -> int | None:
    """The format of a mark with such a connection; None if this version knows no such kind."""
    if connection_kind == QDRANT_CONNECTION:
        return FORMAT
    return CLUSTER_FORMAT if connection_kind in get_args(ConnectionKind) else None


@cache
def _types() -> Mapping[str, type]:
    """What each field of a mark is, as it comes out of JSON."""
    return {name: get_origin(kind) or kind for name, kind in get_type_hints(Mark).items()}


def registration_key(installation: str, point_set: Ref) -> str:
    """Key in the metadata that says: a ledger of this PointSet must exist."""
    return f"{REGISTRATION_PREFIX}{installation}/{point_set.namespace}/{point_set.name}"


def has_metadata(collection: Mapping[str, object]) -> bool:
    """Did the collection ever have metadata? Qdrant keeps an empty object where all keys were removed (seen on
    1.16.3).
    """
    config = collection.get("config")
    return isinstance(config, Mapping) and config.get("metadata") is not None

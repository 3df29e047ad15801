"""The mark: who owns a collection, written into the collection's own `metadata` (Qdrant >= 1.16).

It is found by installation + namespace + name, never by UID, so a rebuilt cluster finds its own. It names its
collection, because a snapshot restored under another name carries a copy. Beside the mark stand the registrations
of ledgers, one key for each PointSet: Qdrant merges metadata by top-level key, so nobody overwrites another's.

Used by `collections` (writes marks), `reconcilers.pointset` and `local.prune` (read them).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from vectorops.api.meta import GROUP, JsonObject, Ref
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal

FORMAT: Final = 1
MARK_KEY: Final = f"{GROUP}/mark"
REGISTRATION_PREFIX: Final = f"{GROUP}/ledger/"


@dataclass(frozen=True, slots=True)
class Mark:
    """The ownership record of one physical collection.

    uid: of the resource that wrote it; informs people, decides nothing.
    connection: name of the QdrantConnection, so that the command line can prune by marks alone.
    last_applied: what of the collection's configuration, indexes and aliases the owner manages (`collections.plan`).
    embedders: by the vector's name, which model made its vectors (`collections.locks`).
    released: the owner is gone and left the collection behind; whoever adopts it keeps the incarnation.
    previous: the installation that this collection was taken over from; its ledgers are inherited.
    """

    installation: str
    namespace: str
    name: str
    uid: str
    collection: str
    incarnation: str
    connection: str = ""
    deletion_policy: str = "Retain"
    last_applied: JsonObject = field(default_factory=dict)
    embedders: JsonObject = field(default_factory=dict)
    released: bool = False
    previous: str = ""
    kind: str = "QdrantCollection"
    format: int = FORMAT

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
        return {MARK_KEY: asdict(self)}


def new_incarnation() -> str:
    """A random id for a physical collection: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def mark_of(collection: Mapping[str, object], name: str) -> Mark | None:
    """The mark of a collection, None if it has none that speaks of it.

    collection: `result` of GET /collections/{name}; name: the physical name, not an alias.
    Raises Terminal UnknownMark if it was written in a format that this version does not know: it must not be
    overwritten.
    """
    raw = _metadata(collection).get(MARK_KEY)
    if raw is None:
        return None
    if not isinstance(raw, Mapping) or raw.get("format") != FORMAT:
        raise Terminal(
            Reason.UNKNOWN_MARK,
            f"collection {name!r} carries an ownership mark that this version of VectorOps cannot read; "
            f"upgrade it, or remove the key {MARK_KEY!r} from the collection's metadata",
        )
    known = {key: value for key, value in raw.items() if key in Mark.__dataclass_fields__}
    try:
        mark = Mark(**known)
    except TypeError:
        raise Terminal(Reason.UNKNOWN_MARK, f"the ownership mark of collection {name!r} is incomplete") from None
    return mark if mark.collection == name else None


def registration_key(installation: str, point_set: Ref) -> str:
    """Key in the metadata that says: a ledger of this PointSet must exist."""
    return f"{REGISTRATION_PREFIX}{installation}/{point_set.namespace}/{point_set.name}"


def registrations(collection: Mapping[str, object], incarnation: str) -> dict[str, str]:
    """Ledgers that must exist for this physical collection: registration key to incarnation.

    Those of another incarnation came with a restored snapshot and do not count.
    """
    return {
        key: value
        for key, value in _metadata(collection).items()
        if key.startswith(REGISTRATION_PREFIX) and isinstance(value, str) and value == incarnation
    }


def _metadata(collection: Mapping[str, object]) -> Mapping[str, object]:
    config = collection.get("config")
    metadata = config.get("metadata") if isinstance(config, Mapping) else None
    return metadata if isinstance(metadata, Mapping) else {}

"""What the mark of a collection remembers of what we did, so that only what is ours is taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.qdrant.observe import Path


@dataclass(frozen=True, slots=True)
class LastApplied:
    """`last_applied` of the mark."""

    spec: str = ""
    """Hash of the declaration that was carried out completely; "" while one is being carried out."""
    indexes: frozenset[str] = frozenset()
    """Paths of our payload indexes, to be deleted when they are no longer declared."""
    aliases: frozenset[str] = frozenset()
    """Our aliases, likewise."""
    shard_keys: frozenset[str] = frozenset()
    """Our shard keys, likewise."""
    metadata: frozenset[str] = frozenset()
    """Our keys of the metadata, likewise."""
    resets: frozenset[Path] = frozenset()
    """Paths of values that we set and can reset."""
    approved: int = 0
    """How many approved plans about single vectors were started. It is hashed into each plan, so that the same plan, if
    it comes again later, needs another approval.
    """
    server: str = ""
    """The version of Qdrant that `settled` was seen on."""
    settled: frozenset[Path] = frozenset()
    """Values that this version did not store as we sent them, so we do not send them again."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LastApplied:
        """From the mark; missing fields have their defaults. Raises Terminal UnknownMark if somebody damaged it."""
        texts = [stored.get(key, "") for key in ("spec", "server")]
        names = [stored.get(key, []) for key in ("indexes", "aliases", "shard_keys", "metadata")]
        paths = [stored.get(key, []) for key in ("resets", "settled")]
        approved = stored.get("approved", 0)
        if not (
            all(isinstance(text, str) for text in texts)
            and all(map(_is_list_of_strings, names))
            and all(isinstance(some, list) and all(map(_is_list_of_strings, some)) for some in paths)
            and type(approved) is int
        ):
            raise Terminal(
                Reason.UNKNOWN_MARK,
                "`last_applied` in the ownership mark of the collection is damaged; repair the mark",
            )
        return cls(
            spec=texts[0],
            indexes=frozenset(names[0]),
            aliases=frozenset(names[1]),
            shard_keys=frozenset(names[2]),
            metadata=frozenset(names[3]),
            resets=frozenset(map(tuple, paths[0])),
            approved=approved,
            server=texts[1],
            settled=frozenset(map(tuple, paths[1])),
        )

    def to_json(self) -> JsonObject:
        """For the mark, without what is empty; the same bytes for the same content."""
        stored: JsonObject = {
            "spec": self.spec,
            "indexes": sorted(self.indexes),
            "aliases": sorted(self.aliases),
            "shard_keys": sorted(self.shard_keys),
            "metadata": sorted(self.metadata),
            "resets": [list(path) for path in sorted(self.resets)],
            "approved": self.approved,
            "server": self.server,
            "settled": [list(path) for path in sorted(self.settled)],
        }
        return {key: value for key, value in stored.items() if value}


def _is_list_of_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

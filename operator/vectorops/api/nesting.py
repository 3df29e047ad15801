"""How deeply the free JSON of a resource may be nested, and how JSON is read that is nested more deeply.

The Kubernetes API server takes JSON of 10,000 levels. What reads and writes it on the way, here and in Qdrant, takes
fewer, each another number. So the limit is below all of these, and the same in a cluster and on the command line.
"""

from __future__ import annotations

import itertools
import re
from typing import Any, Final, TypeVar

from pydantic_core import PydanticCustomError

LEVELS: Final = 32
"""Objects and lists within each other, in one field of free JSON; the field's own value is the first."""
WORDS: Final = f"nested more than {LEVELS} levels deep"
READ_LEVELS: Final = 100
"""What of an answer of the API server is read. Free JSON begins four levels below the top."""

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)

T = TypeVar("T")


def bounded(value: T) -> T:
    """The value of a field of free JSON, for its model. Raises PydanticCustomError if it is nested too deeply."""
    if isinstance(value, dict | list) and is_deeper(value, LEVELS):
        raise PydanticCustomError("nesting", WORDS)
    return value


def is_deeper(value: object, levels: int) -> bool:
    """Has a JSON value more levels of objects and lists? Without recursion: it may be nested as deeply as it likes."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    while level and levels:
        items = itertools.chain.from_iterable(one.values() if isinstance(one, dict) else one for one in level)
        level = [item for item in items if isinstance(item, dict | list)]
        levels -= 1
    return bool(level)


def cut_deep(content: bytes, levels: int = READ_LEVELS) -> bytes:
    """The same JSON text with `null` for whatever lies deeper. What is no JSON stays none."""
    kept: list[bytes] = []
    depth = begin = 0
    for token in _TOKEN.finditer(content):
        first = content[token.start()]
        if first in b"[{":
            depth += 1
            if depth == levels + 1:
                kept += content[begin : token.start()], b"null"
        elif first in b"]}":
            if depth == levels + 1:
                begin = token.end()
            depth -= 1
    kept.append(content[begin:])
    return b"".join(kept)

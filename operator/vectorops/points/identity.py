"""Maps a declared id to one of Qdrant's two kinds of id.

This mapping is a published specification (docs/point-ids.md) with test vectors (tests/unit/points/test_identity.py). It
must never change for an id that it once accepted.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, Literal
from uuid import UUID

from vectorops.points.fingerprints import NotCanonical, canonical_json
from vectorops.qdrant.database import PointId

NAMESPACE: Final = UUID("6d9ab8e0-6f1c-5c0b-9a3e-2f1d7a5c4b10")
"""Namespace of the UUIDv5 of all ids that are neither integers nor UUIDs."""

MAX_INTEGER: Final = 2**64 - 1
EXACT_FLOAT: Final = 2**53
"""Up to here a float represents every integer exactly. The API server turns integers from 2^63 on into floats."""

_HEX: Final = r"[0-9a-fA-F]"
_UUID: Final = re.compile(
    r"(?:urn:uuid:)?(?P<brace>\{)?"
    rf"(?P<digits>{_HEX}{{32}}|{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}})"
    r"(?(brace)\})",
    re.IGNORECASE,
)
"""The spellings of a UUID that Qdrant accepts: hyphenated, 32 digits, in braces, as a URN, in either case."""

IdFormat = Literal["Auto", "Integer"]


class UnusableId(ValueError):
    """The declared id cannot be an id. The message says why."""


def point_id(declared: Any, id_format: IdFormat = "Auto") -> PointId:
    """The id in Qdrant for an id in JSON.

    Auto: an integer from 0 to 2^64-1 is itself; a string that is a UUID, in any spelling, is that UUID; every other
    string is the UUIDv5 of its UTF-8 bytes under `NAMESPACE`; any other JSON value but null is first turned into
    its canonical JSON. Integer: integers and their decimal strings only.
    Raises UnusableId.
    """
    if isinstance(declared, float) and declared.is_integer():
        if abs(declared) >= EXACT_FLOAT:
            raise UnusableId(
                f"the number {declared:g} may have lost digits on its way; write it as a string with idFormat: Integer"
            )
        declared = int(declared)
    if isinstance(declared, int) and not isinstance(declared, bool):
        return _check_range(declared)
    if id_format == "Integer":
        if not isinstance(declared, str) or not re.fullmatch(r"0|[1-9][0-9]{0,19}", declared):
            raise UnusableId("idFormat is Integer: the id must be an integer, or a string of its decimal digits")
        return _check_range(int(declared))
    if declared is None:
        raise UnusableId("the id is null")
    return _to_uuid(declared if isinstance(declared, str) else _to_canonical_json(declared))


def _check_range(number: int) -> int:
    if not 0 <= number <= MAX_INTEGER:
        raise UnusableId(f"the integer {number} is not in the range 0 to 2^64-1")
    return number


def _to_canonical_json(declared: Any) -> str:
    try:
        return canonical_json(declared).decode()
    except NotCanonical as error:
        raise UnusableId(f"the id has no canonical form: {error}") from None


def _to_uuid(text: str) -> UUID:
    if spelled := _UUID.fullmatch(text):
        return UUID(spelled["digits"])
    try:
        name = text.encode()
    except UnicodeEncodeError:
        raise UnusableId("the id is not valid Unicode text") from None
    # As `uuid.uuid5` does it, in a third of the time.
    return UUID(bytes=hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16], version=5)

"""Fingerprints: what a payload, a vector and a text are compared by, so that only what changed is written, and
embedded.

Format 1 of the ledger; test vectors in tests/unit/points/test_fingerprints.py. A change here would write every
point of every user again: a new version must keep the old functions for one release.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from vectorops.vectors import Sparse, VectorData

RESERVED: Final = 16
"""Hashes below this get +16; the numbers below it have a meaning of their own in the ledger."""

EXACT_INTEGER: Final = 2**53


class NotCanonical(ValueError):
    """A value that JSON, or Qdrant, cannot hold. The text says what and where, never the value."""


def fingerprint_payload(payload: dict[str, Any]) -> int:
    """Fingerprint of a payload. An absent payload is {}: Qdrant gives back the same for both. Raises NotCanonical."""
    return _hash(b"payload\0", canonical_json(payload))


def fingerprint_payload_text(payload: dict[str, Any]) -> tuple[int, bytes]:
    """Fingerprint of a payload that is known to be valid (no NaN, integers of 64 bits), and its JSON.

    Its keys are sorted. A whole float stays one in the JSON, where the fingerprint takes it for an integer.
    """
    text = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    # Only a whole float is not written as the fingerprint wants it, and each up to 2^53 ends so.
    return (fingerprint_payload(payload) if b".0" in text else _hash(b"payload\0", text)), text


def fingerprint_dense_vectors(vectors: NDArray[np.float32]) -> list[int]:
    """The same as `fingerprint_vector` for each row. vectors: shape (n, size)."""
    numbers = np.ascontiguousarray(vectors + np.float32(0.0), dtype="<f4")
    content, width = memoryview(numbers.tobytes()), 4 * numbers.shape[1]
    domain = _domain(numbers.shape[1:])
    return [_hash(domain, content[start : start + width]) for start in range(0, len(content), width or 1)]


def fingerprint_vector(vector: VectorData) -> int:
    """Fingerprint of one vector after rounding to float32: dense (shape (size,)), multi (shape (rows, size)) or
    sparse.
    """
    if isinstance(vector, Sparse):
        elements = vector.indices.astype("<u4").tobytes() + vector.values.astype("<f4").tobytes()
        return _hash(b"sparse\0", np.uint32(len(vector.indices)).astype("<u4").tobytes() + elements)
    # +0.0 turns -0.0 into 0.0: they are the same number in every distance.
    numbers = np.ascontiguousarray(vector + np.float32(0.0), dtype="<f4")
    return _hash(_domain(vector.shape), numbers.data.cast("B") if numbers.size else b"")


@lru_cache
def _domain(shape: tuple[int, ...]) -> bytes:
    """Of vectors of this shape."""
    kind = b"multi\0" if len(shape) == 2 else b"dense\0"
    return kind + np.asarray(shape, dtype="<u4").tobytes()


def fingerprint_text(text: str, identity: str) -> int:
    """Fingerprint of a vector that is made of a text. identity: of the embedder (`embedders.base.Resolved.identity`).

    Known before the text is embedded: what is embedded already is not embedded again. Raises NotCanonical.
    """
    try:
        return _hash(b"text\0", identity.encode() + b"\0" + text.encode())
    except UnicodeEncodeError:
        raise NotCanonical("not valid Unicode text") from None


def unpredicted(fingerprint: int) -> int:
    """What the ledger keeps instead of a fingerprint while Qdrant gives back other numbers than were expected of it.

    The content is still known by it, and a change of the declaration is still noticed; the numbers are not compared.
    """
    return _hash(b"unpredicted\0", fingerprint.to_bytes(8, "little"))


def canonical_json(value: Any) -> bytes:
    """One spelling for each JSON value: keys sorted, no spaces, shortest numbers, whole floats as integers (the API
    server turns 1.0 into 1), -0.0 as 0. Raises NotCanonical for NaN, infinities, integers beyond 64 bits, lone
    surrogates, and what is nested too deeply to be visited.
    """
    try:
        return orjson.dumps(_normal(value, ""), option=orjson.OPT_SORT_KEYS)
    except (TypeError, UnicodeEncodeError) as error:
        raise NotCanonical(f"not valid Unicode text, or not JSON ({type(error).__name__})") from None
    except RecursionError:
        raise NotCanonical("nested too deeply") from None


_NORMAL: Final = frozenset({str, bool, type(None)})
"""Types whose values have one spelling only."""


def _normal(value: Any, path: str) -> Any:
    match value:
        case bool() | None | str():
            return value
        case int():
            if not -(2**63) <= value < 2**64:
                raise NotCanonical(f"{path or 'value'}: an integer beyond 64 bits")
            return value
        case float():
            if not math.isfinite(value):
                raise NotCanonical(f"{path or 'value'}: NaN or infinite")
            return int(value) if value.is_integer() and abs(value) <= EXACT_INTEGER else value
        case dict():
            return {
                key: item if type(item) in _NORMAL else _normal(item, f"{path}.{key}" if path else str(key))
                for key, item in value.items()
            }
        case list() | tuple():
            return [_normal(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise NotCanonical(f"{path or 'value'}: {type(value).__name__} is not JSON")


def _hash(domain: bytes, content: bytes | memoryview) -> int:
    found = xxhash.xxh3_64_intdigest(b"".join((domain, content)))
    return found if found >= RESERVED else found + RESERVED

"""JSON text to values, none of which changes on the way."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

_CLASSES: Final = bytes(
    ord("0") if chr(code).isdigit() and code < 128 else ord(",") if chr(code) in "-,:[ \t\r\n" else code
    for code in range(256)
)
_LONG: Final = b"," + b"0" * 19


class BadJson(ValueError):
    """Why a text is no JSON that can be kept. Never content."""


def load_exact_json(text: bytes) -> Any:
    """The value of a JSON text. Of keys that are given twice the last wins, as in Qdrant.

    Raises BadJson for what is no JSON: NaN, bad UTF-8 and half of a surrogate pair are none; and for integers beyond 64
    bits.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadJson(f"no JSON: {error.msg.split(':')[0]} at character {error.pos + 1}") from None
    # orjson makes floats of integers beyond 64 bits. To search for 19 digits is cheaper than to visit all values.
    if _LONG in b"," + text.translate(_CLASSES):
        try:
            json.loads(text, parse_int=_check_integer)
        except RecursionError:
            # The standard library reads fewer levels than orjson, and how many depends on who calls it.
            raise BadJson("nested too deeply") from None
    return value


def _check_integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise BadJson("an integer beyond 64 bits: write it as text")
    return int(digits)

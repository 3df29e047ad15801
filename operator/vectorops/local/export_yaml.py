"""Manifests as YAML that every reader understands alike: this command line, kubectl and an API server.

Readers of YAML 1.1 and 1.2 disagree about plain scalars: `1e3`, `0x10`, `no` or `2026-11-27` is a text to one and
something else to the next. So every string is quoted, unless it is a word that nobody can take for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import yaml

from vectorops.api.meta import JsonObject
from vectorops.local.documents import WORDS

PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[-./][A-Za-z0-9_]+)*")
"""What is a text to all readers, with the exception of `WORDS`."""


def to_yaml(documents: Iterable[tuple[Sequence[str], JsonObject]]) -> str:
    """Documents, each with the lines of its comment. The same documents give the same text."""
    written = [
        "".join(f"# {line}\n" for line in comment)
        + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
        for comment, document in documents
    ]
    return "---\n".join(written)


class _Dumper(yaml.SafeDumper):
    """Quotes strings, writes lists of numbers in one line, and repeats what occurs twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    is_plain = PLAIN.fullmatch(text) and text not in WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    numbers = bool(items) and all(isinstance(item, int | float) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=numbers)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)

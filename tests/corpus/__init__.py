"""The cases beside this file (see README.md), read for the two tests that have them judged."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import yaml

Manifest: TypeAlias = dict[str, Any]
Verdict = Literal["good", "bad"]

API_VERSION: Final = "vectorops.dev/v1alpha1"
FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """manifest: what is judged; of an update, the new state. old: the state before; None when the resource is new.

    expect: words that the message must contain; empty for good cases.
    """

    file: str
    title: str
    manifest: Manifest
    old: Manifest | None
    expect: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.title}"


def cases(verdict: Verdict) -> list[Case]:
    """All cases of a verdict, in the order of the files."""
    return [case for file in sorted((FOLDER / verdict).glob("*.yaml")) for case in _read(file)]


def _read(file: Path) -> Iterator[Case]:
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        yield Case(
            file=file.stem,
            title=document["title"],
            manifest=_complete(document["manifest"] if "manifest" in document else document["new"]),
            old=_complete(document["old"]) if "old" in document else None,
            expect=tuple(document.get("expect", ())),
        )


def _complete(manifest: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "metadata": {"name": "subject"}, **_expanded(manifest)}


def _expanded(value: Any) -> Any:
    """With `{repeat: N, item: X}` replaced by a list of N copies."""
    if isinstance(value, dict):
        if value.keys() == {"repeat", "item"}:
            return [_numbered(copy.deepcopy(value["item"]), number) for number in range(value["repeat"])]
        return {key: _expanded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return value


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        return {key: _numbered(item, number) for key, item in value.items()}
    return value.replace("{}", str(number)) if isinstance(value, str) else value

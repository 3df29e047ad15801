"""From the paths given to `vectorops apply` and `plan` to resources and Secrets, or to the full list of what is
wrong with them.

Files and folders are taken as kubectl takes them, and each resource gets the verdict that the API server would give
(`api.validation`). All problems of all files are collected before anything is applied.
"""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from vectorops.api.kinds import BY_NAME
from vectorops.api.meta import APPROVE_PLAN, GROUP, TAKE_OVER_FROM, JsonObject, Ref, Resource
from vectorops.api.validation import validate
from vectorops.errors import InvalidManifest
from vectorops.local.cluster import first_day
from vectorops.local.documents import Document, Unreadable, documents

EXTENSIONS: Final = (".json", ".yaml", ".yml")
STDIN: Final = "-"
DEFAULT_NAMESPACE: Final = "default"
GRANTS: Final = {APPROVE_PLAN: "--approve HASH", TAKE_OVER_FROM: "--take-over-from INSTALLATION"}
"""Annotations that are set once by a person in a cluster, and what stands for them here."""


@dataclass(slots=True)
class Manifests:
    """What the files hold.

    secrets: by namespace and name, values decoded. notices: what was left out, and why; one line each.
    """

    resources: dict[Ref, Resource] = field(default_factory=dict)
    secrets: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict, repr=False)
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of a file. place: for messages, `notes.yaml (document 2, PointSet a/b)`."""

    raw: JsonObject
    place: str

    @property
    def kind(self) -> str:
        return str(self.raw.get("kind"))

    @property
    def is_read(self) -> bool:
        """Or is it left to a cluster?"""
        return self.kind == "Secret" or self.kind in BY_NAME or str(self.raw["apiVersion"]).startswith(f"{GROUP}/")

    @property
    def key(self) -> tuple[str, str]:
        return self.raw["metadata"]["namespace"], self.raw["metadata"]["name"]


class _Wrong(Exception):
    """What is wrong with one object."""


def read(paths: Sequence[str], *, namespace: str | None = None) -> Manifests:
    """Reads all manifests. Raises InvalidManifest with every problem of every file.

    paths: files, folders (their own files, not those of folders in them), or `-` for standard input.
    namespace: that of objects which name none (default: `default`); if given, an object of another namespace is a
        problem.
    """
    found = Manifests()
    problems: list[str] = []
    seen: dict[tuple[str, str, str], str] = {}
    for path in paths:
        for item in _objects(path, namespace, problems):
            if not item.is_read:
                found.notices.append(f"{item.place}: left out; without a cluster only our kinds and Secrets are read")
                continue
            twice = seen.setdefault((item.kind, *item.key), item.place)
            if twice is not item.place:
                problems.append(f"{item.place}: given twice, first in {twice}")
            elif item.kind == "Secret":
                _take_secret(item, found, problems)
            else:
                _take_resource(item, found, problems)
    if not problems and not found.resources:
        # A generator that failed must not pass for a wish to have nothing: `--prune` would act on it.
        problems.append(f"{', '.join(paths)}: no resource of {GROUP} is in there")
    if problems:
        raise InvalidManifest(problems)
    return found


# ---- paths and documents ----


def _objects(path: str, namespace: str | None, problems: list[str]) -> Iterator[_Object]:
    """All objects under one path that have a kind and a name; what else there is goes to `problems`."""
    for label, text in _texts(path, problems):
        try:
            for number, document in enumerate(documents(text), start=1):
                yield from _objects_of(document, f"{label} (document {number}", namespace, problems)
        except Unreadable as error:
            problems.append(f"{label}:{error.line}: {error.words}")


def _texts(path: str, problems: list[str]) -> Iterator[tuple[str, str]]:
    """(name for messages, text) of each file under a path."""
    if path == STDIN:
        files: list[tuple[str, Path | None]] = [("standard input", None)]
    elif Path(path).is_dir():
        inside = sorted(file for file in Path(path).iterdir() if file.suffix in EXTENSIONS and file.is_file())
        files = [(str(file), file) for file in inside]
        if not files:
            problems.append(f"{path}: this folder holds no {', '.join('*' + suffix for suffix in EXTENSIONS)}")
    else:
        files = [(path, Path(path))]
    for label, file in files:
        try:
            content = file.read_bytes() if file else sys.stdin.buffer.read()
            yield label, content.decode("utf-8-sig")
        except OSError as error:
            problems.append(f"{label}: {error.strerror}")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            problems.append(f"{label}:{line}: not UTF-8 text")


def _objects_of(document: Document, prefix: str, namespace: str | None, problems: list[str]) -> Iterator[_Object]:
    """The object that a document is, or those of a `kind: List`."""
    value = document.value
    if not isinstance(value, dict):
        problems.append(f"{prefix}, line {document.line}): an object with apiVersion and kind is expected")
        return
    items = value.get("items")
    if str(value.get("kind")).endswith("List") and isinstance(items, list):
        for number, item in enumerate(items, start=1):
            yield from _objects_of(Document(item, document.line), f"{prefix}, item {number}", namespace, problems)
        return
    try:
        yield _object(value, f"{prefix}, line {document.line})", prefix, namespace)
    except _Wrong as error:
        problems.append(str(error))


def _object(raw: JsonObject, unnamed: str, prefix: str, namespace: str | None) -> _Object:
    for key in ("apiVersion", "kind"):
        if not isinstance(raw.get(key), str) or not raw[key]:
            raise _Wrong(f"{unnamed}: {key} is missing")
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not _Object(raw, "").is_read:
        return _Object(raw, f"{prefix}, {raw['kind']} {name or 'without a name'})")
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise _Wrong(f"{prefix}, {raw['kind']}): metadata.name is missing")
    own = metadata.get("namespace")
    if own is not None and not isinstance(own, str):
        raise _Wrong(f"{prefix}, {raw['kind']} {name}): metadata.namespace: must be a string")
    effective = own or namespace or DEFAULT_NAMESPACE
    place = f"{prefix}, {raw['kind']} {effective}/{name})"
    if namespace and effective != namespace:
        raise _Wrong(f"{place}: metadata.namespace: {effective} is not the namespace that was asked for, {namespace}")
    return _Object({**raw, "metadata": {**metadata, "namespace": effective}}, place)


# ---- objects ----


def _take_resource(item: _Object, found: Manifests, problems: list[str]) -> None:
    wrong = validate(item.raw) or _grants(item.raw)
    if wrong:
        problems.extend(f"{item.place}: {words}" for words in wrong)
        return
    resource = _resource(item.raw)
    found.resources[resource.ref] = resource


def _grants(raw: JsonObject) -> list[str]:
    """What a file allows that only a person may, for one run: it would allow it again at each."""
    given = raw["metadata"].get("annotations") or {}
    return [
        f"metadata.annotations: {key}: no file can say this, since it would be true for each later run too; "
        f"remove it, and say {option} to the one run that is to do it"
        for key, option in GRANTS.items()
        if key in given
    ]


def _resource(raw: JsonObject) -> Resource:
    """As the API server would hand it out on its first day: of the metadata only what people set, and no status."""
    given = raw["metadata"]
    ref = Ref(raw["kind"], given["namespace"], given["name"])
    meta = first_day(ref, labels=given.get("labels") or {}, annotations=given.get("annotations") or {})
    return Resource(ref.kind, meta, raw["spec"], {})


def _take_secret(item: _Object, found: Manifests, problems: list[str]) -> None:
    wrong: list[str] = []
    data = {key: _decoded(value, f"data.{key}", wrong) for key, value in _strings(item.raw, "data", wrong).items()}
    data |= {key: value.encode() for key, value in _strings(item.raw, "stringData", wrong).items()}
    problems.extend(f"{item.place}: {words}" for words in wrong)
    found.secrets[item.key] = data


def _strings(raw: JsonObject, name: str, wrong: list[str]) -> dict[str, str]:
    """A map of strings, or nothing and a problem. Never shows a value."""
    given = raw.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        wrong.append(f"{name}: must be a mapping of strings")
        return {}
    wrong.extend(
        f"{name}.{key}: must be a string; put it in quotes"
        for key, value in given.items()
        if not isinstance(value, str)
    )
    return {key: value for key, value in cast("dict[str, object]", given).items() if isinstance(value, str)}


def _decoded(value: str, place: str, wrong: list[str]) -> bytes:
    try:
        # Line breaks inside are common (`base64` folds its output) and allowed.
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        wrong.append(f"{place}: must be base64; plain text goes under stringData")
        return b""

"""Reads the files of `vectorops apply` and `plan`: resources, Secrets, ConfigMaps that are sources, or all problems.

Files and folders are read like kubectl does, and each resource is validated like the API server does
(`api.validation`). The problems of all files are collected before anything is applied.
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
from vectorops.api.meta import APPROVE_PLAN, GROUP, SOURCE_LABEL, TAKE_OVER_FROM, JsonObject, Ref, Resource
from vectorops.api.validation import validate
from vectorops.errors import InvalidManifest
from vectorops.local.cluster import first_day
from vectorops.local.documents import Document, Unreadable, parse_documents

EXTENSIONS: Final = (".json", ".yaml", ".yml")
STDIN: Final = "-"
DEFAULT_NAMESPACE: Final = "default"
GRANTS: Final = {APPROVE_PLAN: "--approve HASH", TAKE_OVER_FROM: "--take-over-from INSTALLATION"}
"""Annotations that a person sets in a cluster for one time, and the options that replace them here."""


@dataclass(slots=True)
class Manifests:
    """The content of the files."""

    resources: dict[Ref, Resource] = field(default_factory=dict)
    folders: dict[Ref, Path] = field(default_factory=dict)
    """The folder of the file that each resource comes from; that of the process for standard input."""
    secrets: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict, repr=False)
    """By namespace and name; the values are decoded."""
    config_maps: list[JsonObject] = field(default_factory=list, repr=False)
    """Those that may be sources, with strings as labels and as values."""
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of namespaces, by name: a ClusterQdrantConnection may ask for them."""
    notices: list[str] = field(default_factory=list)
    """What was skipped, and why; one line each."""


@dataclass(frozen=True, slots=True)
class _ManifestObject:
    """One object of a file."""

    raw: JsonObject
    place: str
    """For messages: `notes.yaml (document 2, PointSet a/b)`."""

    @property
    def kind(self) -> str:
        return str(self.raw.get("kind"))

    @property
    def is_namespaced(self) -> bool:
        return self.kind not in BY_NAME or BY_NAME[self.kind].is_namespaced

    @property
    def labels(self) -> dict[str, str]:
        """Of a Namespace, what can be selected by; {} of all else."""
        metadata = self.raw.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) and self.kind == "Namespace" else None
        return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}

    @property
    def is_read(self) -> bool:
        """Is it one of ours, a Secret, or a ConfigMap that may be a source? Others need a cluster."""
        is_core = self.kind == "Secret" or (self.kind == "ConfigMap" and self._is_source)
        return is_core or self.kind in BY_NAME or str(self.raw["apiVersion"]).startswith(f"{GROUP}/")

    @property
    def why_unread(self) -> str:
        """Why it is skipped."""
        if self.kind == "ConfigMap":
            return f'a ConfigMap is read as a source if it has the label {SOURCE_LABEL}: "true"'
        return "without a cluster only our kinds, Secrets and ConfigMaps of sources are read"

    @property
    def _is_source(self) -> bool:
        metadata = self.raw.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        return isinstance(labels, dict) and labels.get(SOURCE_LABEL) == "true"

    @property
    def key(self) -> tuple[str, str]:
        return self.raw["metadata"].get("namespace", ""), self.raw["metadata"]["name"]


class _Invalid(Exception):
    """The problem of one object."""


def read_manifests(paths: Sequence[str], *, namespace: str | None = None) -> Manifests:
    """Reads all manifests. Raises InvalidManifest with every problem of every file.

    paths: files, folders (without their subfolders), or `-` for standard input.
    namespace: for objects that name none (default: `default`); if given, an object in another namespace is a problem.
    """
    found = Manifests()
    problems: list[str] = []
    seen: dict[tuple[str, str, str], str] = {}
    for path in paths:
        for item, folder in _read_objects(path, namespace, problems):
            if item.labels:
                found.labels[str(item.raw["metadata"].get("name"))] = item.labels
                continue
            if not item.is_read:
                found.notices.append(f"{item.place}: skipped; {item.why_unread}")
                continue
            first = seen.setdefault((item.kind, *item.key), item.place)
            if first is not item.place:
                problems.append(f"{item.place}: declared twice, first in {first}")
            elif item.kind in ("Secret", "ConfigMap"):
                _add_values(item, found, problems)
            else:
                _add_resource(item, folder, found, problems)
                if (item.raw.get("spec") or {}).get("readerConfigMap") is True:
                    found.notices.append(f"{item.place}: spec.readerConfigMap: only the operator writes a ConfigMap")
    if not problems and not found.resources:
        # The empty output of a failed generator must not mean that nothing is wanted: `--prune` would delete
        # everything.
        problems.append(f"{', '.join(paths)}: no resource of {GROUP} found")
    if problems:
        raise InvalidManifest(problems)
    return found


# ---- paths and documents ----


def _read_objects(path: str, namespace: str | None, problems: list[str]) -> Iterator[tuple[_ManifestObject, Path]]:
    """All objects under one path that have a kind and a name, each with the folder of its file. The problems of others
    go to `problems`.
    """
    for label, text in _read_files(path, problems):
        folder = Path() if path == STDIN else Path(label).parent
        try:
            for number, document in enumerate(parse_documents(text), start=1):
                for item in _objects_of(document, f"{label} (document {number}", namespace, problems):
                    yield item, folder
        except Unreadable as error:
            problems.append(f"{label}:{error.line}: {error.words}")


def _read_files(path: str, problems: list[str]) -> Iterator[tuple[str, str]]:
    """(name for messages, text) of each file under a path."""
    if path == STDIN:
        files: list[tuple[str, Path | None]] = [("standard input", None)]
    elif Path(path).is_dir():
        inside = sorted(file for file in Path(path).iterdir() if file.suffix in EXTENSIONS and file.is_file())
        files = [(str(file), file) for file in inside]
        if not files:
            problems.append(f"{path}: this folder has no {', '.join('*' + suffix for suffix in EXTENSIONS)}")
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


def _objects_of(
    document: Document, prefix: str, namespace: str | None, problems: list[str]
) -> Iterator[_ManifestObject]:
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
        yield _parse_object(value, f"{prefix}, line {document.line})", prefix, namespace)
    except _Invalid as error:
        problems.append(str(error))


def _parse_object(raw: JsonObject, unnamed: str, prefix: str, namespace: str | None) -> _ManifestObject:
    for key in ("apiVersion", "kind"):
        if not isinstance(raw.get(key), str) or not raw[key]:
            raise _Invalid(f"{unnamed}: {key} is missing")
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not _ManifestObject(raw, "").is_read:
        return _ManifestObject(raw, f"{prefix}, {raw['kind']} {name or 'without a name'})")
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise _Invalid(f"{prefix}, {raw['kind']}): metadata.name is missing")
    own = metadata.get("namespace")
    if own is not None and not isinstance(own, str):
        raise _Invalid(f"{prefix}, {raw['kind']} {name}): metadata.namespace: must be a string")
    if not _ManifestObject(raw, "").is_namespaced:
        # The API server drops the namespace of a cluster-scoped object.
        unscoped = {key: value for key, value in metadata.items() if key != "namespace"}
        return _ManifestObject({**raw, "metadata": unscoped}, f"{prefix}, {raw['kind']} {name})")
    effective = own or namespace or DEFAULT_NAMESPACE
    place = f"{prefix}, {raw['kind']} {effective}/{name})"
    if namespace and effective != namespace:
        raise _Invalid(f"{place}: metadata.namespace: {effective} is not the requested namespace {namespace}")
    return _ManifestObject({**raw, "metadata": {**metadata, "namespace": effective}}, place)


# ---- objects ----


def _add_resource(item: _ManifestObject, folder: Path, found: Manifests, problems: list[str]) -> None:
    wrong = validate(item.raw) or _find_grants(item.raw)
    if wrong:
        problems.extend(f"{item.place}: {words}" for words in wrong)
        return
    given = item.raw["metadata"]
    ref = Ref(item.kind, given.get("namespace", ""), given["name"])
    # As the API server returns a new object: of the metadata only what people set, and no status.
    meta = first_day(ref, labels=given.get("labels") or {}, annotations=given.get("annotations") or {})
    found.resources[ref] = Resource(ref.kind, meta, item.raw["spec"], {})
    found.folders[ref] = folder


def _find_grants(raw: JsonObject) -> list[str]:
    """Problems of annotations that allow something for one run: in a file they would allow it in every run."""
    given = raw["metadata"].get("annotations") or {}
    return [
        f"metadata.annotations: {key}: not allowed in a file, because it would apply to every later run too; "
        f"remove it, and use {option} in the one run that should do it"
        for key, option in GRANTS.items()
        if key in given
    ]


def _add_values(item: _ManifestObject, found: Manifests, problems: list[str]) -> None:
    """Adds a Secret or a ConfigMap."""
    wrong: list[str] = []
    encoded, plain = ("data", "stringData") if item.kind == "Secret" else ("binaryData", "data")
    coded, texts = _strings(item.raw, encoded, wrong), _strings(item.raw, plain, wrong)
    decoded = {key: _decode(value, f"{encoded}.{key}", plain, wrong) for key, value in coded.items()}
    problems.extend(f"{item.place}: {words}" for words in wrong)
    if item.kind == "Secret":
        found.secrets[item.key] = decoded | {key: value.encode() for key, value in texts.items()}
        return
    metadata = item.raw["metadata"]
    labels = {str(key): str(value) for key, value in metadata["labels"].items()}
    found.config_maps.append({"metadata": {**metadata, "labels": labels}, encoded: coded, plain: texts})


def _strings(raw: JsonObject, name: str, wrong: list[str]) -> dict[str, str]:
    """A map of strings; {} and a problem if it is none. Problems show no value."""
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


def _decode(value: str, place: str, plain: str, wrong: list[str]) -> bytes:
    try:
        # Line breaks are common (`base64` wraps its output) and allowed.
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        wrong.append(f"{place}: must be base64; plain text goes under {plain}")
        return b""

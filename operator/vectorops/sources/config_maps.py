"""Files in ConfigMaps: each key of each ConfigMap that has the labels is a file."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import xxhash

from vectorops.api.meta import SOURCE_LABEL, JsonObject
from vectorops.api.reasons import Reason
from vectorops.api.source import ConfigMapsSource
from vectorops.errors import Terminal, Transient
from vectorops.sources.base import Fetched, SourceFile, check_count
from vectorops.sources.new_file import NewFile

ReadConfigMaps = Callable[[Mapping[str, str]], Awaitable[Sequence[JsonObject]]]
"""The ConfigMaps of one namespace that have all of these labels, whole, as Kubernetes gives them."""


class ConfigMapFiles:
    """See `base.OpenedSource`. The content is kept from `list` to `close`."""

    def __init__(self, declared: ConfigMapsSource, read: ReadConfigMaps) -> None:
        self._labels = {**declared.selector.match_labels, SOURCE_LABEL: "true"}
        self._keys = declared.keys or "*"
        self._read = read
        self._contents: dict[str, bytes] = {}

    async def list(self) -> Sequence[SourceFile]:
        contents = {}
        files = []
        for config_map in await self._read(self._labels):
            metadata = config_map["metadata"]
            # The newest one counts: of each generation of a ConfigMap with a hash in its name, as kustomize makes it,
            # the old one stays for a while.
            created = _seconds(metadata.get("creationTimestamp"))
            for key, content in _contents(config_map).items():
                if fnmatchcase(key, self._keys):
                    name = f"configmap/{metadata['name']}:{key}"
                    contents[name] = content
                    files.append(SourceFile(name, xxhash.xxh3_128_hexdigest(content), len(content), created))
        check_count(len(files), "the selector of ConfigMaps")
        self._contents = contents
        return sorted(files, key=lambda file: file.name)

    async def fetch(self, file: SourceFile, folder: Path) -> Fetched:
        content = self._contents.get(file.name)
        if content is None or xxhash.xxh3_128_hexdigest(content) != file.version:
            raise Transient(Reason.SOURCE_CHANGED, f"{file.name}: the ConfigMap changed since it was listed")
        with NewFile(folder, file.name) as written:
            written.append(content)
            return written.finish()

    async def close(self) -> None:
        self._contents = {}


def _contents(config_map: JsonObject) -> dict[str, bytes]:
    values = {key: value.encode() for key, value in (config_map.get("data") or {}).items()}
    for key, value in (config_map.get("binaryData") or {}).items():
        try:
            values[key] = b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            # An API server lets none pass; a file on the command line may hold one.
            name = f"configmap/{config_map['metadata']['name']}:{key}"
            raise Terminal(Reason.SOURCE_INVALID, f"{name}: binaryData is not base64") from error
    return values


def _seconds(timestamp: object) -> int:
    """Of a timestamp of Kubernetes, since 1970; 0 without one, as in a file."""
    if isinstance(timestamp, datetime):
        return int(timestamp.replace(tzinfo=timestamp.tzinfo or UTC).timestamp())
    return int(datetime.fromisoformat(timestamp).timestamp()) if isinstance(timestamp, str) else 0

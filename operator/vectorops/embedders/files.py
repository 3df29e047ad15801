"""The files of models: found in the model folder, in the hub's cache, or on the hub, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vectorops.embedders.base import EmbedderSettings


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One model at one revision, its small files at hand.

    revision: a commit, or `sha256:...` of the files of a plain folder. names: paths of all its files, with /.
    origin: where it was found, for `sources`: `the model folder`, `the hub's cache` or `the hub`.
    """

    model: str
    revision: str
    origin: str
    names: frozenset[str]

    async def json(self, name: str) -> Any:
        """A JSON file, None if there is none of that name."""
        raise NotImplementedError

    async def head(self, name: str, size: int) -> bytes:
        """The first bytes of a file, as many as there are."""
        raise NotImplementedError


class ModelFiles:
    """See the module. Shared by the providers whose models are files."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings

    async def find(self, model: str, revision: str | None) -> Snapshot:
        """revision: branch, tag, commit, or `sha256:...`; None: what is there, the newest commit of the hub.

        Raises Terminal ModelNotFound, ModelGated, ModelRefused (not on the allow-list), Transient EmbedderUnreachable.
        """
        raise NotImplementedError

    async def fetch(self, model: str, revision: str, patterns: Sequence[str]) -> Path:
        """The folder with all files of this revision that match one of the patterns (fnmatch), downloaded if need be.

        revision: of a Snapshot. Raises as `find`; Terminal ModelNotFound, too, if a plain folder's files are no longer
        those of the digest.
        """
        raise NotImplementedError

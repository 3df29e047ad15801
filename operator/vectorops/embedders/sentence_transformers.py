"""Skeleton."""

from __future__ import annotations

from typing import Any

from vectorops.embedders.base import Embedder, EmbedderSettings, Resolved
from vectorops.embedders.files import ModelFiles


class SentenceTransformers:
    """See `base.Provider`."""

    def __init__(self, files: ModelFiles, settings: EmbedderSettings) -> None:
        self._files = files
        self._settings = settings

    async def resolve(self, spec: Any, *, pinned: str | None, api_key: str | None) -> Resolved:
        raise NotImplementedError

    def open(self, resolved: Resolved, *, api_key: str | None) -> Embedder:
        raise NotImplementedError

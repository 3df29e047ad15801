"""Skeleton."""

from __future__ import annotations

from typing import Any

from vectorops.api.embedder import OpenAIEmbedder
from vectorops.embedders.base import Embedder, EmbedderSettings, Resolved


def normalized_url(spec: OpenAIEmbedder) -> str:
    """The base URL in one spelling: what tells two servers apart."""
    return spec.base_url or "https://api.openai.com/v1"


class OpenAI:
    """See `base.Provider`."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings

    async def resolve(self, spec: Any, *, pinned: str | None, api_key: str | None) -> Resolved:
        raise NotImplementedError

    def open(self, resolved: Resolved, *, api_key: str | None) -> Embedder:
        raise NotImplementedError

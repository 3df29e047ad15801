"""Models of the sentence-transformers library: schemas from small files, vectors from a child process."""

from __future__ import annotations

import asyncio
from typing import Final

from vectorops.api.embedder import SentenceTransformersEmbedder
from vectorops.api.reasons import Reason
from vectorops.embedders.architecture import (
    HEAD_BYTES,
    MODULES,
    Architecture,
    Files,
    files_wanted,
    heads_wanted,
    modules_wanted,
    read_architecture,
)
from vectorops.embedders.base import FOLDER_REVISION, EmbedderSettings, Resolved, TextEmbedder
from vectorops.embedders.files import ModelFiles, ModelSnapshot
from vectorops.errors import Terminal

PROVIDER: Final = "sentenceTransformers"

MOST_FILES: Final = 100
"""Small files that are read of a model. Its author is not trusted; they are read in the operator's own process."""


class SentenceTransformers:
    """See `base.Provider`."""

    def __init__(self, files: ModelFiles, settings: EmbedderSettings) -> None:
        self._files = files
        self._settings = settings

    async def resolve(self, spec: SentenceTransformersEmbedder, *, pinned: str | None, api_key: str | None) -> Resolved:  # noqa: ARG002
        snapshot = await self._files.find(spec.model, self._revision_to_find(spec, pinned))
        found = await architecture_of(snapshot)
        size, dimensions = _resolve_dimensions(spec, found)
        prompts = spec.prompts
        document = prompts.document if prompts is not None else None
        query = prompts.query if prompts is not None else None
        sources = dict(found.sources) | {"revision": snapshot.origin}
        if dimensions is not None:
            sources["size"] = "`dimensions`"
        return Resolved(
            declared={},
            provider=PROVIDER,
            model=spec.model,
            kind=found.kind,
            size=size,
            revision=snapshot.revision,
            distance=found.distance,
            # A vector that is cut afterwards is shorter than 1.
            normalized=found.normalized and size == found.size,
            dimensions=dimensions,
            document_prompt=found.document_prompt if document is None else document,
            query_prompt=found.query_prompt if query is None else query,
            sources=sources,
        )

    def open(self, resolved: Resolved, *, api_key: str | None) -> TextEmbedder:  # noqa: ARG002
        from vectorops.embedders.worker import LocalEmbedder

        return LocalEmbedder(resolved, self._files, self._settings)

    def _revision_to_find(self, spec: SentenceTransformersEmbedder, pinned: str | None) -> str | None:
        if pinned is None or pinned.startswith(FOLDER_REVISION):
            # The files of a folder may have changed: the plan compares them with the lock.
            return spec.revision
        if spec.revision is None and self._files.has_folder(spec.model):
            # A folder now replaces the hub. Its revision differs, and the plan says so.
            return None
        return pinned


async def architecture_of(snapshot: ModelSnapshot) -> Architecture:
    """What a model gives, read from its files. Raises Terminal, and what `ModelSnapshot` raises."""
    wanted = modules_wanted(files_wanted(snapshot.names), await snapshot.json(MODULES))
    if len(wanted) > MOST_FILES:
        raise Terminal(
            Reason.MODEL_REFUSED,
            f"the model {snapshot.model} has {len(wanted)} files that describe it, more than {MOST_FILES}; declare "
            "`size` instead of the embedder",
        )
    contents = await asyncio.gather(*map(snapshot.json, wanted))
    files = Files(snapshot.model, snapshot.names, dict(zip(wanted, contents, strict=True)))
    heads = {name: await snapshot.head(name, HEAD_BYTES) for name in heads_wanted(files)}
    return read_architecture(Files(files.model, files.names, files.contents, heads))


def _resolve_dimensions(spec: SentenceTransformersEmbedder, found: Architecture) -> tuple[int | None, int | None]:
    """The size of the vectors, and the number of components to keep if the model itself keeps another number."""
    if spec.dimensions is None or spec.dimensions == found.size:
        return found.size, None
    if found.kind != "dense" or found.full_size is None:
        raise Terminal(
            Reason.INVALID_SPEC,
            f"dimensions {spec.dimensions}: vectors of the {found.kind} model {spec.model} cannot be cut; remove "
            "`dimensions`",
        )
    if spec.dimensions > found.full_size:
        raise Terminal(
            Reason.INVALID_SPEC,
            f"dimensions {spec.dimensions}: the model {spec.model} gives {found.full_size}; declare that or less",
        )
    return spec.dimensions, spec.dimensions

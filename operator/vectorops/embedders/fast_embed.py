"""Models of the fastembed library: their schema from a table of what it supports, their vectors from a child process.

One of the providers of `pool`. The library knows a fixed list of models, so that a table says all about them;
`python -m vectorops.embedders.fast_embed` writes it anew from the installed library, and a test compares the two.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from vectorops.api.embedder import FastEmbedEmbedder
from vectorops.api.meta import JsonObject
from vectorops.api.reasons import Reason
from vectorops.embedders.base import FOLDER_REVISION, Embedder, EmbedderSettings, Resolved
from vectorops.embedders.files import ModelFiles, Snapshot
from vectorops.embedders.worker import LocalEmbedder
from vectorops.errors import Terminal
from vectorops.vectors import VectorKind

PROVIDER: Final = "fastEmbed"

TABLE: Final = "tables/fastembed.json"

SMALL_FILES: Final = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
)
"""What the library reads of a model's folder beside the files that its list names."""


@dataclass(frozen=True, slots=True)
class Supported:
    """One model of the library's list.

    size: components, None for a sparse vector. idf: are its terms to be weighed by the server? repository: of the hub,
    that the library loads it from. files: what it needs beside `SMALL_FILES`, the model itself first.
    """

    model: str
    kind: VectorKind
    size: int | None
    idf: bool
    repository: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """models: by name in lower case, as the library compares them. source: of the table, in words."""

    models: Mapping[str, Supported]
    source: str


class FastEmbed:
    """See `base.Provider`."""

    def __init__(self, files: ModelFiles, settings: EmbedderSettings) -> None:
        self._files = files
        self._settings = settings

    async def resolve(self, spec: FastEmbedEmbedder, *, pinned: str | None, api_key: str | None) -> Resolved:  # noqa: ARG002
        supported = known(spec.model)
        snapshot = await self._snapshot(supported, spec.revision, pinned)
        known_by_table = [
            "kind",
            *(["size"] if supported.size is not None else []),
            *(["modifier"] if supported.idf else []),
        ]
        sources = dict.fromkeys(known_by_table, table().source)
        sources["revision"] = f"{snapshot.origin}, {snapshot.model}"
        prompts = spec.prompts
        return Resolved(
            declared={},
            provider=PROVIDER,
            model=supported.model,
            kind=supported.kind,
            size=supported.size,
            revision=snapshot.revision,
            modifier="idf" if supported.idf else None,
            document_prompt=(prompts.document if prompts is not None else None) or "",
            query_prompt=(prompts.query if prompts is not None else None) or "",
            sources=sources,
        )

    def open(self, resolved: Resolved, *, api_key: str | None) -> Embedder:  # noqa: ARG002
        supported = known(resolved.model)
        is_folder = resolved.revision.startswith(FOLDER_REVISION)
        return LocalEmbedder(
            resolved,
            self._files,
            self._settings,
            repository=self._place(supported) if is_folder else supported.repository,
            patterns=(*SMALL_FILES, *supported.files),
        )

    async def _snapshot(self, supported: Supported, declared: str | None, pinned: str | None) -> Snapshot:
        """Where all of the model's files are."""
        place = self._place(supported)
        if pinned is None or pinned.startswith(FOLDER_REVISION):
            # The files of a folder may have changed: what they are now is compared with the lock.
            revision = declared
        elif declared is None and self._files.has_folder(place):
            # A folder has been put in the hub's place: another revision, which is for the plan to say.
            revision = None
        else:
            revision = pinned
        snapshot = await self._files.find(place, revision)
        missing = [name for name in supported.files if name not in snapshot.names]
        # What the cache has not is fetched when the first text comes.
        if missing and snapshot.origin != "the hub's cache":
            raise Terminal(
                Reason.MODEL_NOT_FOUND,
                f"fastembed runs the model {supported.model} from {supported.repository}, and needs the file "
                f"{missing[0]!r}, which is not there in {snapshot.origin}: complete the folder, or declare a revision "
                "that has it",
            )
        return snapshot

    def _place(self, supported: Supported) -> str:
        """The name that the files are found by. A folder may also have the name that the library gives the model; one
        in the layout of another library does not count.
        """
        folder = self._settings.model_folder
        if (
            folder is not None
            and not self._files.has_folder(supported.repository)
            and (folder / supported.model / supported.files[0]).is_file()
        ):
            return supported.model
        return supported.repository


def known(model: str) -> Supported:
    """A model of the table. Raises Terminal ModelNotFound."""
    models = table().models
    found = models.get(model.lower())
    if found is None:
        near = [models[name].model for name in difflib.get_close_matches(model.lower(), models, cutoff=0.5)]
        near_words = f": did you mean {' or '.join(near)}?" if near else ""
        raise Terminal(
            Reason.MODEL_NOT_FOUND, f"{model} is no model of {table().source}{near_words or ': name one that is'}"
        )
    return found


@functools.cache
def table() -> Table:
    """What the library supports."""
    stored = json.loads(files("vectorops.embedders").joinpath(TABLE).read_text())
    models = [Supported(**(model | {"files": tuple(model["files"])})) for model in stored["models"]]
    return Table(
        {model.model.lower(): model for model in models},
        f"the list of fastembed {stored['version']} of {stored['date']}",
    )


def listed() -> list[JsonObject]:
    """The models of the table, from the installed library. Those that no hub has are left out: they have no commit."""
    from fastembed import LateInteractionTextEmbedding, SparseTextEmbedding, TextEmbedding

    classes: dict[VectorKind, Any] = {
        "dense": TextEmbedding,
        "sparse": SparseTextEmbedding,
        "multivector": LateInteractionTextEmbedding,
    }
    return [
        {
            "model": model["model"],
            "kind": kind,
            "size": model.get("dim"),
            "idf": bool(model.get("requires_idf")),
            "repository": model["sources"]["hf"],
            "files": [model["model_file"], *model["additional_files"]],
        }
        for kind, library in classes.items()
        for model in library.list_supported_models()
        if model["sources"]["hf"] is not None
    ]


if __name__ == "__main__":
    content = {"version": version("fastembed"), "date": f"{datetime.now(UTC):%Y-%m-%d}", "models": listed()}
    Path(__file__).with_name("tables").joinpath("fastembed.json").write_text(json.dumps(content, indent=1) + "\n")

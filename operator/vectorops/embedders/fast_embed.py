"""Models of the fastembed library: schemas from a table of its models, vectors from a child process.

The library has a fixed list of models, so a table describes them all. `python -m vectorops.embedders.fast_embed` writes
it from the installed library, and a test compares the two.
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
from vectorops.embedders.base import FOLDER_REVISION, EmbedderSettings, Resolved, TextEmbedder
from vectorops.embedders.files import ModelFiles, ModelSnapshot
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
"""Files of a model that the library reads besides those in its list."""


@dataclass(frozen=True, slots=True)
class SupportedModel:
    """One model of the library's list."""

    model: str
    kind: VectorKind
    size: int | None
    """Components; None for a sparse vector."""
    idf: bool
    """Should the server weigh its terms?"""
    repository: str
    """The repository on the hub from which the library loads it."""
    files: tuple[str, ...]
    """What it needs besides `SMALL_FILES`, the model itself first."""


@dataclass(frozen=True, slots=True)
class SupportedModels:
    """The table."""

    models: Mapping[str, SupportedModel]
    """By name in lower case, as the library compares them."""
    source: str
    """Where the table comes from, for people."""


class FastEmbed:
    """See `base.Provider`."""

    def __init__(self, files: ModelFiles, settings: EmbedderSettings) -> None:
        self._files = files
        self._settings = settings

    async def resolve(self, spec: FastEmbedEmbedder, *, pinned: str | None, api_key: str | None) -> Resolved:  # noqa: ARG002
        supported = find_model(spec.model)
        snapshot = await self._find_snapshot(supported, spec.revision, pinned)
        known_by_table = [
            "kind",
            *(["size"] if supported.size is not None else []),
            *(["modifier"] if supported.idf else []),
        ]
        sources = dict.fromkeys(known_by_table, supported_models().source)
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

    def open(self, resolved: Resolved, *, api_key: str | None) -> TextEmbedder:  # noqa: ARG002
        supported = find_model(resolved.model)
        is_folder = resolved.revision.startswith(FOLDER_REVISION)
        return LocalEmbedder(
            resolved,
            self._files,
            self._settings,
            repository=self._name_of_files(supported) if is_folder else supported.repository,
            patterns=(*SMALL_FILES, *supported.files),
        )

    async def _find_snapshot(
        self, supported: SupportedModel, declared: str | None, pinned: str | None
    ) -> ModelSnapshot:
        """The model's files. Raises Terminal ModelNotFound if one is missing."""
        place = self._name_of_files(supported)
        if pinned is None or pinned.startswith(FOLDER_REVISION):
            # The files of a folder may have changed: the plan compares them with the lock.
            revision = declared
        elif declared is None and self._files.has_folder(place):
            # A folder now replaces the hub. Its revision differs, and the plan says so.
            revision = None
        else:
            revision = pinned
        snapshot = await self._files.find(place, revision)
        missing = [name for name in supported.files if name not in snapshot.names]
        # What the cache lacks is downloaded for the first text.
        if missing and snapshot.origin != "the hub's cache":
            raise Terminal(
                Reason.MODEL_NOT_FOUND,
                f"fastembed runs the model {supported.model} from {supported.repository} and needs the file "
                f"{missing[0]!r}, which is missing in {snapshot.origin}: complete the folder, or declare a revision "
                "that has it",
            )
        return snapshot

    def _name_of_files(self, supported: SupportedModel) -> str:
        """The name under which to find the files: that of the repository, or the library's name for the model if the
        model folder has a folder of that name in fastembed's layout.
        """
        folder = self._settings.model_folder
        if (
            folder is not None
            and not self._files.has_folder(supported.repository)
            and (folder / supported.model / supported.files[0]).is_file()
        ):
            return supported.model
        return supported.repository


def find_model(model: str) -> SupportedModel:
    """A model of the table. Raises Terminal ModelNotFound."""
    models = supported_models().models
    found = models.get(model.lower())
    if found is None:
        near = [models[name].model for name in difflib.get_close_matches(model.lower(), models, cutoff=0.5)]
        hint = f": did you mean {' or '.join(near)}?" if near else ": use one of its models"
        raise Terminal(Reason.MODEL_NOT_FOUND, f"{model} is not in {supported_models().source}{hint}")
    return found


@functools.cache
def supported_models() -> SupportedModels:
    """The table in the package."""
    stored = json.loads(files("vectorops.embedders").joinpath(TABLE).read_text())
    models = [SupportedModel(**(model | {"files": tuple(model["files"])})) for model in stored["models"]]
    return SupportedModels(
        {model.model.lower(): model for model in models},
        f"the list of fastembed {stored['version']} of {stored['date']}",
    )


def list_library() -> list[JsonObject]:
    """The models of the installed library. Models that are on no hub are left out: they have no commit."""
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
    content = {"version": version("fastembed"), "date": f"{datetime.now(UTC):%Y-%m-%d}", "models": list_library()}
    Path(__file__).with_name("tables").joinpath("fastembed.json").write_text(json.dumps(content, indent=1) + "\n")

"""The contract of embedders: what is known of a model without loading it, and what embedding texts gives.

A provider makes `Resolved`, the collection's mark keeps it as the *embedder lock*, and the provider gets it back when
texts are to be embedded: the lock decides which model embeds, not what the manifest says meanwhile. The rest of the
operator uses `pool.Embedders` only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from vectorops.api.collection import Distance
from vectorops.api.meta import JsonObject
from vectorops.vectors import VectorData, VectorKind

IDENTITY_FORMAT: Final = 1
"""Increased when a change of ours makes the same model give other vectors. Then all texts are embedded again."""

FOLDER_REVISION: Final = "sha256:"
"""Prefix of the revision of a model that is identified by its files and not by a commit."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """One vector's embedder: which model, to the commit, and the schema of its vectors."""

    declared: JsonObject
    """The member of `embedder` that it was resolved from, as `declared_as` returns it."""
    provider: str
    """Name of that member."""
    model: str
    kind: VectorKind
    size: int | None
    """Components; None for a sparse vector."""
    revision: str = ""
    """A commit; `sha256:...` of the files of a plain folder; "" for a hosted model."""
    distance: Distance | None = None
    """None if the model states none."""
    normalized: bool = False
    """Does the model itself scale its vectors to length 1? Then Cosine and Dot are the same."""
    modifier: Literal["idf"] | None = None
    """For a sparse model whose terms the server should weigh."""
    dimensions: int | None = None
    """Components that are kept; None: all."""
    document_prompt: str = ""
    """Put before each text."""
    query_prompt: str = ""
    base_url: str = ""
    """Of a hosted model, normalized."""
    document_extra_body: JsonObject = field(default_factory=dict)
    """Further fields of a request to a hosted model."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where kind, size, distance, modifier and revision come from, for people."""

    @property
    def identity(self) -> str:
        """Hash of all that decides which vector a text gets: 16 hexadecimal digits. Options for queries are no part of
        it: they change no stored vector.
        """
        content = [
            IDENTITY_FORMAT,
            self.provider,
            self.model,
            self.revision,
            self.kind,
            self.size,
            self.dimensions,
            self.document_prompt,
            self.base_url,
            # Only if there is one: the identities of all other models must not change.
            *([sorted(self.document_extra_body.items())] if self.document_extra_body else []),
        ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]

    @property
    def query_extra_body(self) -> JsonObject:
        """Further fields of a request for a query, as declared."""
        found: JsonObject = self.declared.get(self.provider, {}).get("extraBody", {}).get("queries") or {}
        return found

    @property
    def words(self) -> str:
        """For people: `model sentence-transformers/all-MiniLM-L6-v2 at c9745ed1d9f2`."""
        short = self.revision.removeprefix(FOLDER_REVISION)[:12]
        at = f" at {short}" if short else f" at {self.base_url}" if self.base_url else ""
        cut = f", {self.dimensions} dimensions" if self.dimensions is not None else ""
        return f"model {self.model}{at}{cut}"

    def to_json(self) -> JsonObject:
        """For the mark, without what is empty."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "", {}, False)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Resolved | None:
        """From the mark; None if an incompatible version wrote it, or if somebody damaged it."""
        known = {key: value for key, value in stored.items() if key in cls.__dataclass_fields__}
        try:
            found = cls(**({"size": None} | known))
        except TypeError:
            return None
        return found if found._has_valid_types() else None

    def _has_valid_types(self) -> bool:
        texts = (self.provider, self.model, self.kind, self.revision, self.document_prompt, self.query_prompt)
        try:
            objects = (self.declared, self.sources, self.document_extra_body, self.query_extra_body)
        except AttributeError:
            # The parent of the fields for queries is no object.
            return False
        return (
            all(isinstance(text, str) for text in (*texts, self.base_url, self.distance or "", self.modifier or ""))
            and all(number is None or type(number) is int for number in (self.size, self.dimensions))
            and all(isinstance(value, Mapping) for value in objects)
        )


def digest_of(api_key: str | None) -> str:
    """Identifies an account at a server, and may be kept longer than the key itself."""
    return hashlib.sha256((api_key or "").encode()).hexdigest()


def declared_as(provider: str, spec: JsonObject) -> JsonObject:
    """The declared member without its authentication: what decides the resolution. spec: the member, dumped."""
    return {provider: {key: value for key, value in spec.items() if key != "apiKeySecretRef"}}


@dataclass(frozen=True, slots=True)
class Unusable:
    """One text got no vector."""

    reason: str
    """Why, without any of its content."""


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """The result of embedding some texts."""

    vectors: tuple[VectorData | Unusable, ...]
    """One for each text, in the same order."""
    truncated: int = 0
    """How many texts were longer than the model reads."""


class TextEmbedder(Protocol):
    """One opened model. Nothing is loaded before the first text."""

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        """The vectors of documents. The embedder adds the document prompt, and cuts the texts into batches.

        texts: any number; none of them is empty.
        Raises Transient (EmbedderUnreachable, EmbedderUnauthorized, EmbedderFailed, RateLimited) or Terminal
        (EmbedderNotInstalled, EmbedderRejected, EmbedderMismatch, EmbedderFailed, ModelRefused, ModelNotFound).
        """

    async def embed_queries(self, texts: Sequence[str], resolved: Resolved) -> EmbeddedTexts:
        """The vectors of queries, with the query prompt and the fields for queries of `resolved`.

        resolved: of this model. What it says of queries is no part of its identity, so that users of one opened model
        may differ in it. Texts and errors: as of `embed`; texts that are too long are not counted.
        """

    async def close(self) -> None: ...


class Provider(Protocol):
    """One member of the union `embedder`."""

    async def resolve(self, spec: Any, *, pinned: str | None, api_key: str | None) -> Resolved:
        """The schema of the declared model, found without loading weights.

        spec: the member of `api.embedder.Embedder`. pinned: the revision in the lock, used if the declaration names
        none. Raises Terminal or Transient with what is wrong and what to do.
        """

    def open(self, resolved: Resolved, *, api_key: str | None) -> TextEmbedder:
        """Opens a resolved model, which costs little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """What the operator, or the command line, allows embedders to do."""

    model_folder: Path | None = None
    """Holds plain model folders, by the model's name. It is searched before the hub."""
    offline: bool = False
    """Send no request to the hub."""
    allowed_models: tuple[str, ...] = ()
    """Patterns as in `fnmatch`; empty allows all."""
    allowed_hosts: tuple[str, ...] = ()
    """Likewise, for hosted models."""
    device: str | None = None
    """As torch names it; None: the library chooses."""
    threads: int | None = None
    """Of one local model; None: one for each core."""
    idle_seconds: float = 300.0
    """How long a local model stays loaded without work."""
    concurrency: int = 4
    """Simultaneous requests to one hosted server with one key."""
    timeout_seconds: float = 60.0
    """For one answer."""

"""The contract of embedders: what is known of a model without loading it, and what embedding texts gives.

`Resolved` is made by a provider, kept in the collection's mark as the *embedder lock*, and handed back to the provider
when texts are to be embedded: what is embedded is always what the lock says, never what a manifest says meanwhile.
`pool.Embedders` is what the rest of the operator sees of all this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from vectorops.api.meta import JsonObject
from vectorops.vectors import VectorData, VectorKind

IDENTITY_FORMAT: Final = 1
"""Raised when the same model would give other vectors through a change of ours; then all texts are embedded anew."""

FOLDER_REVISION: Final = "sha256:"
"""What the revision of a model begins with that is known by its files and not by a commit."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """One vector's embedder: which model, to the commit, and what its vectors look like.

    declared: the member of `embedder` that it was resolved from, as `declared_as` gives it.
    provider: name of that member. revision: a commit; `sha256:...` of the files of a plain folder; "" for a hosted
    model. size: components, None for a sparse vector. distance: None if the model says nothing.
    normalized: does the model itself scale its vectors to length 1? (Then Cosine and Dot are the same.)
    modifier: "idf" for a sparse model whose terms are to be weighed. dimensions: components that are kept, None: all.
    document_prompt, query_prompt: put before a text, "" for none. base_url: of a hosted model, normalized, else "".
    document_extra_body: further fields of a request to it.
    sources: where kind, size, distance, modifier and revision come from, in words.
    """

    declared: JsonObject
    provider: str
    model: str
    kind: VectorKind
    size: int | None
    revision: str = ""
    distance: Literal["Cosine", "Dot", "Euclid", "Manhattan"] | None = None
    normalized: bool = False
    modifier: Literal["idf"] | None = None
    dimensions: int | None = None
    document_prompt: str = ""
    query_prompt: str = ""
    base_url: str = ""
    document_extra_body: JsonObject = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Hash of all that decides what vector a text gets: 16 hexadecimal digits. Not what is for queries: it changes
        no stored vector.
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
            # Only where there is one: all others stay who they were.
            *([sorted(self.document_extra_body.items())] if self.document_extra_body else []),
        ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]

    @property
    def query_extra_body(self) -> JsonObject:
        """Further fields that a request for a query is to have: as declared, the operator sends none."""
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
        """As kept in the mark: what is empty is left out."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "", {}, False)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Resolved | None:
        """From the mark; None if it was written by a version that knew less, or more, or if somebody damaged it."""
        known = {key: value for key, value in stored.items() if key in cls.__dataclass_fields__}
        try:
            found = cls(**({"size": None} | known))
        except TypeError:
            return None
        return found if found._is_sound() else None

    def _is_sound(self) -> bool:
        """Is each field of the type that it is declared with?"""
        texts = (self.provider, self.model, self.kind, self.revision, self.document_prompt, self.query_prompt)
        try:
            objects = (self.declared, self.sources, self.document_extra_body, self.query_extra_body)
        except AttributeError:
            # What is to hold the fields for queries is no object.
            return False
        return (
            all(isinstance(text, str) for text in (*texts, self.base_url, self.distance or "", self.modifier or ""))
            and all(number is None or type(number) is int for number in (self.size, self.dimensions))
            and all(isinstance(value, Mapping) for value in objects)
        )


def digest_of(api_key: str | None) -> str:
    """What tells one account at a server from another, and can be kept longer than the key."""
    return hashlib.sha256((api_key or "").encode()).hexdigest()


def declared_as(provider: str, spec: JsonObject) -> JsonObject:
    """What decides the resolution: the declared member without how to authenticate. spec: the member, dumped."""
    return {provider: {key: value for key, value in spec.items() if key != "apiKeySecretRef"}}


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why one text got no vector. Never content."""

    reason: str


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """vectors: one for each text, in the same order. truncated: how many texts were longer than the model reads."""

    vectors: tuple[VectorData | Unusable, ...]
    truncated: int = 0


class Embedder(Protocol):
    """One opened model. Nothing is loaded before the first text."""

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        """The vectors of texts that are documents; none of them is empty. The document prompt is added here.

        Any number of texts; what is sensible at a time is the embedder's business.
        Raises Transient (EmbedderUnreachable, EmbedderUnauthorized, EmbedderFailed, RateLimited) or Terminal
        (EmbedderNotInstalled, EmbedderRejected, EmbedderMismatch, EmbedderFailed, ModelRefused, ModelNotFound).
        """

    async def close(self) -> None: ...


class Provider(Protocol):
    """One member of the union `embedder`."""

    async def resolve(self, spec: Any, *, pinned: str | None, api_key: str | None) -> Resolved:
        """What the declared model looks like, found out without loading weights.

        spec: the member of `api.embedder.Embedder`. pinned: the revision that the lock names, to be used where the
        declaration leaves it open. Raises Terminal or Transient with what is wrong and what to do.
        """

    def open(self, resolved: Resolved, *, api_key: str | None) -> Embedder:
        """The embedder of a resolved model; cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderSettings:
    """What the operator, or the command line, allows and gives to embedders.

    model_folder: holds plain model folders, by the model's name; looked at before the hub. offline: never ask the hub.
    allowed_models, allowed_hosts: patterns as of `fnmatch`; empty allows all. device: as torch names it, None: what the
    library chooses. threads: of one local model, None: as many as there are cores. idle_seconds: how long a local model
    stays loaded without work. concurrency: requests in flight to one hosted server with one key. timeout_seconds: for
    one answer.
    """

    model_folder: Path | None = None
    offline: bool = False
    allowed_models: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    device: str | None = None
    threads: int | None = None
    idle_seconds: float = 300.0
    concurrency: int = 4
    timeout_seconds: float = 60.0

"""Embedders: the models that a vector's schema comes from, and that make vectors of texts.

One member of the union for each provider; `vectorops.embedders` holds one module for each.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from vectorops.api.meta import Model, OneOf, SecretKeyRef, Whole

MAX_SIZE: Final = 65536
"""Most components that Qdrant takes in a dense vector."""

HubModel = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)?$")
]
"""Name of a model on the hub, as owner/name, or of a folder below the model folder. Never a path that leads
elsewhere.
"""

Revision = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)*$")
]
"""Branch, tag or commit. It becomes part of a path, in the hub's cache and in its URLs: no part begins with a dot."""

Dimensions = Annotated[int, Field(ge=1, le=MAX_SIZE), Whole]


MAX_PROMPT: Final = 2000
"""Most characters of a prompt. It stands in status, and in the mark."""


class Prompts(Model):
    """What is put before a text. Documents and queries are told apart by models that were trained so."""

    document: Annotated[str, Field(max_length=MAX_PROMPT)] | None = Field(
        default=None, description="Before each text of a point. Default: what the model says, else nothing."
    )
    query: Annotated[str, Field(max_length=MAX_PROMPT)] | None = Field(
        default=None,
        description="Before each text that is searched for. The operator embeds none; status shows it to those who "
        "do. Default: what the model says, else nothing.",
    )


class SentenceTransformersEmbedder(Model):
    """A model of the sentence-transformers library: dense, sparse or multi-vector."""

    model: HubModel = Field(description="Name on the model hub, as sentence-transformers/all-MiniLM-L6-v2.")
    revision: Revision | None = Field(
        default=None,
        description="Branch, tag or commit. Default: the commit that is newest when the model is first resolved; it "
        "then stays.",
    )
    dimensions: Dimensions | None = Field(
        default=None, description="Keep only the first so many components, for models that were trained for it."
    )
    prompts: Prompts | None = Field(default=None, description="Instead of the model's own prompts.")


class FastEmbedEmbedder(Model):
    """A model of the fastembed library: dense, sparse or late interaction."""

    model: HubModel = Field(description="Name in fastembed's list of supported models, as BAAI/bge-small-en-v1.5.")
    revision: Revision | None = Field(
        default=None,
        description="Branch, tag or commit of the repository that fastembed loads the model from. Default: the commit "
        "that is newest when the model is first resolved; it then stays.",
    )
    prompts: Prompts | None = Field(default=None, description="Put before the texts.")


class OpenAIEmbedder(Model):
    """A model behind a server that speaks OpenAI's embeddings API: OpenAI, Azure, Ollama, vLLM, TEI."""

    model: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")] = Field(
        description="Name of the model as the server knows it, as text-embedding-3-small."
    )
    base_url: (
        Annotated[
            str,
            Field(
                max_length=2048,
                pattern=r"^https?://([-._A-Za-z0-9]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
                r"(/[-._~%!$&'()*+,;=:/A-Za-z0-9]*)?(\?[-._~%!$&'()*+,;=:/A-Za-z0-9]*)?$",
            ),
        ]
        | None
    ) = Field(
        default=None,
        alias="baseURL",
        description="What stands before /embeddings. No credentials in it. Default: https://api.openai.com/v1.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None, description="API key, sent as a bearer token. Rotated without a restart."
    )
    dimensions: Dimensions | None = Field(
        default=None, description="Asked of the server: fewer components than the model gives by itself."
    )
    prompts: Prompts | None = Field(default=None, description="Put before the texts.")


class Embedder(OneOf):
    """Where a vector's schema comes from: exactly one provider."""

    sentence_transformers: SentenceTransformersEmbedder | None = Field(
        default=None, description="A model of the sentence-transformers library, run by the operator."
    )
    fast_embed: FastEmbedEmbedder | None = Field(
        default=None, description="A model of the fastembed library, run by the operator."
    )
    open_ai: OpenAIEmbedder | None = Field(
        default=None, alias="openAI", description="A server that speaks OpenAI's embeddings API."
    )


class EmbedderStatus(Model):
    """The embedder of one vector as resolved: which model makes its vectors, to the commit."""

    provider: str = Field(description="Member of `embedder` that was declared.")
    model: str = Field(description="Name of the model.")
    revision: str | None = Field(
        default=None, description="Commit, or digest of the files, of the model; absent for a hosted one."
    )
    dimensions: int | None = Field(default=None, description="Components that are kept, if not all.")
    base_url: str | None = Field(default=None, alias="baseURL", description="The server of a hosted model.")
    document_prompt: str | None = Field(default=None, description="Put before each text of a point.")
    query_prompt: str | None = Field(default=None, description="To be put before each text that is searched for.")
    identity: str = Field(description="Hash of all that decides what vector a text gets.")

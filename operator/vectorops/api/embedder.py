"""Embedders: the models that a vector's schema comes from, and that make vectors of texts.

One member of the union for each provider; `vectorops.embedders` holds one module for each.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from vectorops.api.meta import FreeJson, JsonObject, Model, OneOf, SecretKeyRef, Whole
from vectorops.api.rules import Matches

MAX_SIZE: Final = 65536
"""Most components that Qdrant takes in a dense vector."""

MAX_EXACT: Final = 2**53
"""So far a whole number is the same as a float."""

HubModel = Annotated[
    str,
    Field(min_length=1, max_length=200),
    Matches(
        r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)?$",
        "must be name or owner/name: letters, digits, -, _ and ., with a letter or digit first",
    ),
]
"""Name of a model on the hub, as owner/name, or of a folder below the model folder. Never a path that leads
elsewhere.
"""

Revision = Annotated[
    str,
    Field(min_length=1, max_length=200),
    Matches(
        r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)*$",
        "must be a branch, tag or commit: letters, digits, -, _, . and /, with a letter or digit first and after /",
    ),
]
"""Branch, tag or commit. It becomes part of a path, in the hub's cache and in its URLs: no part begins with a dot."""

Dimensions = Annotated[int, Field(ge=1, le=MAX_SIZE), Whole]


MAX_PROMPT: Final = 2000
"""Most characters of a prompt, and of a further field of requests. They stand in status, and in the mark."""


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


RESERVED: Final = ("model", "input", "dimensions", "encoding_format")
"""Fields of a request that the operator fills in itself."""


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        if name in RESERVED:
            raise PydanticCustomError("reserved", "{name} is filled in by the operator", {"name": name})
        if not isinstance(value, str | int | float):
            raise PydanticCustomError("flat", "{name} must be a string, a number or a boolean", {"name": name})
        if not _is_unicode(f"{name}{value}"):
            raise PydanticCustomError("flat", "a field holds characters that are not Unicode", {})
        if len(name) > MAX_PROMPT or len(str(value)) > MAX_PROMPT:
            raise PydanticCustomError("flat", "a field may not be more than {most} characters", {"most": MAX_PROMPT})
    # The API server makes 1 of 1.0, and that must not look like another embedder.
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT else value
        for name, value in fields.items()
    }


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Fields = Annotated[FreeJson, Field(max_length=16), AfterValidator(_flat)]


class ExtraBody(Model):
    """Further fields of requests, by what the texts are. Values: strings, numbers, booleans."""

    documents: Fields | None = Field(
        default=None,
        description="For the texts of points, as {input_type: passage}. They decide what vector a text gets, as the "
        "model does.",
    )
    queries: Fields | None = Field(
        default=None,
        description="For texts that are searched for, as {input_type: query}. The operator embeds none; status shows "
        "it to those who do.",
    )


class OpenAIEmbedder(Model):
    """A model behind a server that speaks OpenAI's embeddings API: OpenAI, Azure, Ollama, vLLM, TEI."""

    model: Annotated[
        str, Field(min_length=1, max_length=200), Matches(r"^[!-~]+$", "must be printable ASCII without a space")
    ] = Field(description="Name of the model as the server knows it, as text-embedding-3-small.")
    base_url: (
        Annotated[
            str,
            Field(max_length=2048),
            Matches(
                r"^https?://([-._A-Za-z0-9]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
                r"(/[-._~%!$&'()*+,;=:/A-Za-z0-9]*)?(\?[-._~%!$&'()*+,;=:/A-Za-z0-9]*)?$",
                "must be http:// or https://, a host, and if need be a port, a path and a query: no credentials or "
                "fragment",
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
    extra_body: ExtraBody | None = Field(
        default=None,
        description="Further fields of requests, for servers that need them; none of model, input, dimensions, "
        "encoding_format. No secrets: status shows them.",
    )


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
    document_extra_body: JsonObject | None = Field(
        default=None, description="Further fields of a request for texts of points."
    )
    query_extra_body: JsonObject | None = Field(
        default=None, description="Further fields that a request for a text that is searched for is to have."
    )
    identity: str = Field(description="Hash of all that decides what vector a text gets.")

"""Models behind servers that speak OpenAI's embeddings API: OpenAI, Azure, Ollama, vLLM, text-embeddings-inference.

`tables/hosted.json` has what is known of models by their names. For another model, one word is embedded to learn the
size. A server may run any model under a name, so the size of every vector is compared with the locked one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import json
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import httpx
import numpy as np
import orjson

from vectorops.api.embedder import MAX_SIZE, OpenAIEmbedder
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved, TextEmbedder, Unusable, digest_of
from vectorops.embedders.hosted import (
    CONNECT_SECONDS,
    TRIES,
    Clock,
    HostedClient,
    HostedServer,
    NonsenseError,
    Refusal,
    TooSlow,
    batches,
    estimated_tokens,
)
from vectorops.errors import Terminal, Transient, VectorOpsError
from vectorops.outbound import AllowedHosts, Outbound
from vectorops.vectors import VectorData
from vectorops.words import counted

PROVIDER: Final = "openAI"
OPENAI_URL: Final = "https://api.openai.com/v1"
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

MOST_TEXTS: Final = 64
"""In one request to a server that documents no limit, so that a model on a few cores answers in time."""
MOST_TOKENS: Final = 300_000
"""Likewise."""
FEWEST_TEXTS: Final = 16
"""Batches are not made smaller than this to use more connections."""
PROBE: Final = "word"

BYTES_OF_NUMBER: Final = 32
"""Most bytes of a component in JSON; base64 is shorter."""
BYTES_AROUND: Final = 1_000_000
"""Most bytes of an answer without its numbers: names, usage, an error page."""

TOO_MANY: Final = re.compile(
    r"\bbatch|too many (inputs|texts|documents)|number of (inputs|texts)|at most \d+ (inputs|texts|items|documents)"
    r"|array too long|max_tokens_per_request|tokens per request",
    re.IGNORECASE,
)
"""Messages that mean: too many texts in one request. Other refusals are about a text."""
NO_BASE64: Final = re.compile(r"encoding_?format|base64", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HostedModelFacts:
    """A model in the table."""

    size: int
    source: str
    dimensions: range | tuple[int, ...] = ()
    """Values of `dimensions` that a request may have, besides the size."""
    distance: Literal["Cosine"] | None = None
    normalized: bool = False

    @property
    def words(self) -> str:
        """The allowed dimensions, for people."""
        if isinstance(self.dimensions, range):
            return f"{self.dimensions.start} to {self.dimensions.stop - 1}"
        return ", ".join(map(str, self.dimensions or (self.size,)))


@dataclass(frozen=True, slots=True)
class ServerRules:
    """What a server documents about its requests; the defaults fit most servers."""

    texts: int = MOST_TEXTS
    tokens: int = MOST_TOKENS
    key_header: str | None = None
    """A header for the key besides the bearer token."""
    dimensions_field: str = "dimensions"
    """Its name for `dimensions`."""


@dataclass(frozen=True, slots=True)
class HostedTable:
    """`tables/hosted.json`."""

    date: str
    models: dict[str, HostedModelFacts]
    """By name."""
    servers: tuple[tuple[str, ServerRules], ...]
    """Patterns of hosts, and their rules."""

    def model(self, name: str) -> HostedModelFacts | None:
        """By the name in requests; Ollama's tag `:latest` is ignored."""
        return self.models.get(name.removesuffix(":latest"))

    def rules(self, host: str) -> ServerRules:
        """By the server's host."""
        return next((rules for pattern, rules in self.servers if fnmatchcase(host, pattern)), ServerRules())


@functools.cache
def hosted_table() -> HostedTable:
    """The table in the package."""
    stored = json.loads((files("vectorops.embedders") / "tables/hosted.json").read_text("utf-8"))
    models: dict[str, HostedModelFacts] = {}
    for row in stored["models"]:
        dimensions = row.pop("dimensions", ())
        if isinstance(dimensions, dict):
            dimensions = range(dimensions["from"], dimensions["to"] + 1)
        facts = HostedModelFacts(**{key: value for key, value in row.items() if key != "names"}, dimensions=dimensions)
        models |= dict.fromkeys(row["names"], facts)
    servers = tuple(
        (row["host"], ServerRules(**{key: value for key, value in row.items() if key not in ("host", "source")}))
        for row in stored["servers"]
    )
    return HostedTable(stored["date"], models, servers)


def normalized_url(spec: OpenAIEmbedder) -> str:
    """The base URL in one spelling, which identifies the server."""
    found = re.fullmatch(r"(https?)://(\[[^]]*\]|[^:/?\[]+)(?::(\d+))?([^?]*)(\?.+)?\??", spec.base_url or OPENAI_URL)
    assert found is not None  # a rule of the field
    scheme, host, port, path, query = found.groups()
    kept = f":{int(port)}" if port is not None and int(port) != DEFAULT_PORTS[scheme] else ""
    return f"{scheme}://{host.lower()}{kept}{path.rstrip('/')}{query or ''}"


class OpenAI:
    """See `base.Provider`."""

    def __init__(self, settings: EmbedderSettings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._allowed = AllowedHosts(settings.allowed_hosts, Reason.MODEL_REFUSED, "--allowed-host")
        self._clock = clock or Clock()
        # By key as well: limits belong to an account, and one tenant's used-up limit must not pause another tenant.
        self._servers: dict[tuple[str, str], HostedServer] = {}

    async def resolve(self, spec: OpenAIEmbedder, *, pinned: str | None, api_key: str | None) -> Resolved:  # noqa: ARG002
        prompts = spec.prompts
        resolved = Resolved(
            declared={},
            provider=PROVIDER,
            model=spec.model,
            kind="dense",
            size=None,
            dimensions=spec.dimensions,
            base_url=normalized_url(spec),
            document_extra_body=(spec.extra_body.documents if spec.extra_body else None) or {},
        )
        self._check_allowed(resolved)
        name = hosted_table().rules(urlsplit(resolved.base_url).hostname or "").dimensions_field
        if name in resolved.document_extra_body:
            raise Terminal(
                Reason.INVALID_SPEC,
                f"extraBody.documents.{name} is this server's field for the dimensions; declare `dimensions` instead",
            )
        facts = hosted_table().model(spec.model)
        if facts is not None:
            resolved = _resolve_from_table(resolved, facts)
        else:
            size = await self._probe_size(resolved, api_key)
            resolved = replace(resolved, size=size, sources={"size": "probe: one word was embedded"})
        return replace(
            resolved,
            document_prompt=prompts.document or "" if prompts is not None else "",
            query_prompt=prompts.query or "" if prompts is not None else "",
            sources={"kind": "the API has dense vectors only", **resolved.sources},
        )

    def open(self, resolved: Resolved, *, api_key: str | None) -> TextEmbedder:
        return self._open(resolved, api_key)

    def _open(self, resolved: Resolved, api_key: str | None) -> HostedModel:
        self._check_allowed(resolved)
        parts = urlsplit(resolved.base_url)
        rules = hosted_table().rules(parts.hostname or "")
        account = (resolved.base_url, digest_of(api_key))
        server = self._servers.get(account)
        if server is None:
            place = f"the embedding server {parts.netloc}"
            server = HostedServer(place, self._settings.concurrency, self._clock, rules.texts, rules.tokens)
            self._servers[account] = server
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            # Otherwise the error message of the HTTP client would show the key.
            if not re.fullmatch(r"[!-~]+", api_key):
                raise Terminal(Reason.SECRET_INVALID, "the API key has characters that no HTTP header can hold")
            headers["Authorization"] = f"Bearer {api_key}"
            if rules.key_header is not None:
                headers[rules.key_header] = api_key
        timeout = self._settings.timeout_seconds
        http = httpx.AsyncClient(
            transport=Outbound(self._allowed),
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            headers=headers,
            trust_env=False,
        )
        url = parts._replace(path=f"{parts.path}/embeddings").geturl()
        client = HostedClient(url, resolved.model, http, server, timeout)
        return HostedModel(resolved, client, rules.dimensions_field, (api_key,) if api_key else ())

    async def _probe_size(self, resolved: Resolved, api_key: str | None) -> int:
        model = self._open(resolved, api_key)
        try:
            vector = (await model.embed([PROBE])).vectors[0]
        finally:
            await model.close()
        if isinstance(vector, Unusable):
            raise Terminal(Reason.EMBEDDER_REJECTED, f"one word was embedded to learn the size, but {vector.reason}")
        assert isinstance(vector, np.ndarray)
        if resolved.dimensions not in (None, len(vector)):
            raise Terminal(
                Reason.INVALID_SPEC,
                f"dimensions {resolved.dimensions}: the model {resolved.model} gives {len(vector)} in spite of it; "
                "declare that, or remove `dimensions`",
            )
        return len(vector)

    def _check_allowed(self, resolved: Resolved) -> None:
        try:
            url = httpx.URL(resolved.base_url)
        except httpx.InvalidURL as error:
            raise Terminal(Reason.INVALID_SPEC, f"baseURL {resolved.base_url} cannot be called: {error}") from error
        if not 0 < (url.port or 80) < 65536:
            raise Terminal(
                Reason.INVALID_SPEC, f"baseURL {resolved.base_url} cannot be called: the port does not exist"
            )
        self._allowed.check(url.host)


def _resolve_from_table(resolved: Resolved, facts: HostedModelFacts) -> Resolved:
    """Raises Terminal if the model does not have the declared dimensions."""
    asked = resolved.dimensions
    if asked is not None and asked != facts.size and asked not in facts.dimensions:
        raise Terminal(
            Reason.INVALID_SPEC,
            f"dimensions {asked}: the model {resolved.model} gives {facts.words}; declare one of these",
        )
    source = f"the table of hosted models ({facts.source}, {hosted_table().date})"
    sources = {"size": source if asked is None else f"`dimensions`, which {source} allows"}
    if facts.distance is not None:
        sources["distance"] = source
    return replace(
        resolved,
        size=asked or facts.size,
        distance=facts.distance,
        normalized=facts.normalized,
        sources=sources,
    )


@dataclass(slots=True)
class _Call:
    """One call of `embed`."""

    work: deque[list[str]]
    """Batches still to be sent."""
    found: dict[str, VectorData | Unusable]
    """The result for each text."""
    failures: list[VectorOpsError] = field(default_factory=list)
    """After the first failure nothing more is sent."""
    probe_was_accepted: bool = False
    """Does the server accept a harmless text?"""
    probing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while that is found out."""
    slow: int = 0
    """Requests in a row without an answer in time."""


class HostedModel:
    """An opened model; see `base.TextEmbedder`."""

    def __init__(
        self, resolved: Resolved, client: HostedClient, dimensions_field: str, secrets: tuple[str, ...]
    ) -> None:
        self._resolved = resolved
        self._client = client
        self._dimensions_field = dimensions_field
        self._secrets = secrets
        # Vectors of the last call, if it failed: they are paid for, and the same texts come again.
        self._rescued: dict[str, VectorData] = {}
        # Kept here and not in `server`: a server that is loading its model is slow only once.
        self._texts_in_time = client.server.most_texts

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        sent = [self._resolved.document_prompt + text for text in texts]
        wanted = dict.fromkeys(sent)
        found: dict[str, VectorData | Unusable] = {}
        for text in wanted:
            if text in self._rescued:
                found[text] = self._rescued.pop(text)
            elif not _is_encodable(text):
                found[text] = Unusable("the text has characters that are not Unicode")
        server, missing = self._client.server, [text for text in wanted if text not in found]
        share = max(-(-len(missing) // server.concurrency), FEWEST_TEXTS)
        call = _Call(deque(batches(missing, min(self._most_texts, share), server.most_tokens)), found)
        workers = min(server.concurrency, len(call.work))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._send_batches(call))
        finally:
            if len(found) < len(wanted):
                self._rescued = {text: got for text, got in found.items() if not isinstance(got, Unusable)}
        if call.failures:
            raise call.failures[0]
        # No count of truncated texts: servers refuse texts that are too long, or cut them silently.
        return EmbeddedTexts(tuple(found[text] for text in sent))

    async def embed_queries(self, texts: Sequence[str], resolved: Resolved) -> EmbeddedTexts:
        asking = replace(resolved, document_prompt=resolved.query_prompt, document_extra_body=resolved.query_extra_body)
        return await HostedModel(asking, self._client, self._dimensions_field, self._secrets).embed(texts)

    async def close(self) -> None:
        await self._client.http.aclose()

    @property
    def _most_texts(self) -> int:
        return min(self._client.server.most_texts, self._texts_in_time)

    async def _send_batches(self, call: _Call) -> None:
        """Sends batches until none is left, or until one has failed."""
        while call.work and not call.failures:
            batch = call.work.popleft()
            if len(batch) > self._most_texts:
                _split(call, batch, self._most_texts)
                continue
            try:
                await self._send_batch(call, batch)
            except VectorOpsError as error:
                call.failures.append(error)

    async def _send_batch(self, call: _Call, batch: list[str]) -> None:
        with_base64 = self._client.server.takes_base64
        answer = await self._ask(batch, with_base64=with_base64, may_split=len(batch) > 1)
        if isinstance(answer, TooSlow):
            call.slow += 1
            if call.slow == TRIES["failed"]:
                raise Transient(
                    Reason.EMBEDDER_UNREACHABLE,
                    f"{self._client.server.place} gives no answer within {self._client.timeout_seconds:g} s, not even "
                    "for fewer texts; retrying",
                )
            self._texts_in_time = len(batch) // 2
            _split(call, batch, len(batch) // 2)
        elif isinstance(answer, Refusal):
            await self._handle_refusal(call, batch, answer, with_base64=with_base64)
        else:
            call.slow = 0
            for vector in answer:
                self._check_size(vector)
            call.found.update(zip(batch, answer, strict=True))

    async def _handle_refusal(self, call: _Call, batch: list[str], refusal: Refusal, *, with_base64: bool) -> None:
        server = self._client.server
        too_many = refusal.status == 413 or TOO_MANY.search(f"{refusal.code} {refusal.said}") is not None
        if with_base64 and NO_BASE64.search(refusal.said):
            server.takes_base64 = False
            call.work.appendleft(batch)
        elif len(batch) > 1 and too_many:
            if "token" in f"{refusal.code} {refusal.said}".lower():
                server.most_tokens = min(server.most_tokens, max(sum(map(estimated_tokens, batch)) // 2, 1))
            else:
                server.most_texts = min(server.most_texts, len(batch) // 2)
            _split(call, batch, len(batch) // 2)
        else:
            # Otherwise a server that refuses everything would get two requests for each text.
            await self._check_accepts_probe(call)
            if with_base64 and not server.takes_base64:
                call.work.appendleft(batch)
            elif len(batch) > 1:
                _split(call, batch, len(batch) // 2)
            else:
                words = refusal.words(*batch, *self._secrets)
                call.found[batch[0]] = Unusable(f"the server refused this text: {words}")

    async def _check_accepts_probe(self, call: _Call) -> None:
        """Raises Terminal if the server refuses a harmless text as well. Does its work once for each call."""
        server = self._client.server
        async with call.probing:
            if call.failures:
                raise call.failures[0]
            if call.probe_was_accepted:
                return
            with_base64 = server.takes_base64
            answer = await self._ask([PROBE], with_base64=with_base64, may_split=False)
            if isinstance(answer, Refusal) and with_base64:
                # Not every server says that it refuses base64.
                answer = await self._ask([PROBE], with_base64=False, may_split=False)
                server.takes_base64 = isinstance(answer, Refusal)
            if isinstance(answer, Refusal):
                raise Terminal(
                    Reason.EMBEDDER_REJECTED,
                    f"{self._client.server.place} refuses every request for the model {self._resolved.model}: "
                    f"{answer.words(*self._secrets)}",
                )
            call.probe_was_accepted = True

    async def _ask(
        self, batch: list[str], *, with_base64: bool, may_split: bool
    ) -> list[VectorData | Unusable] | Refusal | TooSlow:
        body: dict[str, Any] = {
            **self._resolved.document_extra_body,
            "model": self._resolved.model,
            "input": batch,
        }
        if with_base64:
            # The field is omitted for numbers, which are the API's default: some servers do not know it.
            body["encoding_format"] = "base64"
        if self._resolved.dimensions is not None:
            body[self._dimensions_field] = self._resolved.dimensions
        numbers = len(batch) * (self._resolved.size or MAX_SIZE)
        return await self._client.post(
            body,
            lambda answer: vectors_in(answer, len(batch)),
            # Room for a model that is larger than the locked one; `_check_size` reports that.
            most_bytes=BYTES_AROUND + 4 * BYTES_OF_NUMBER * numbers,
            may_split=may_split,
        )

    def _check_size(self, vector: VectorData | Unusable) -> None:
        locked = self._resolved.size
        if isinstance(vector, np.ndarray) and locked is not None and len(vector) != locked:
            raise Terminal(
                Reason.EMBEDDER_MISMATCH,
                f"{self._client.server.place} gives vectors of size {len(vector)} for the model "
                f"{self._resolved.model}, which was resolved to size {locked}; none is written. Does another model run "
                "under this name?",
            )


def vectors_in(answer: bytes, count: int) -> list[VectorData | Unusable]:
    """The vectors of an answer to `count` texts, in the order of the texts. Raises NonsenseError."""
    data = _parse_answer(answer)
    data = data.get("data") if isinstance(data, dict) else None
    if not isinstance(data, list):
        raise NonsenseError("it has no `data`")
    if len(data) != count:
        raise NonsenseError(f"{counted(len(data), 'vector')} for {counted(count, 'text')}")
    found: dict[int, VectorData | Unusable] = {}
    for place, item in enumerate(data):
        if not isinstance(item, dict) or "embedding" not in item:
            raise NonsenseError("an item of `data` has no `embedding`")
        index = item.get("index", place)
        if not isinstance(index, int) or not 0 <= index < count or index in found:
            raise NonsenseError("an `index` in `data` is missing or repeated")
        found[index] = _parse_embedding(item["embedding"])
    return [found[index] for index in range(count)]


def _parse_answer(answer: bytes) -> Any:
    if not answer.strip():
        raise NonsenseError("it is empty")
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        pass
    try:
        # Servers in Python write NaN, which is no JSON. One such number must not fail all other texts.
        return json.loads(answer)
    except (ValueError, RecursionError):
        raise NonsenseError("it is an HTML page" if answer.lstrip()[:1] == b"<" else "it is no JSON") from None


def _parse_embedding(embedding: Any) -> VectorData | Unusable:
    """A vector, given as numbers or as base64 of float32 (little-endian)."""
    if isinstance(embedding, str):
        try:
            numbers = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        except (binascii.Error, ValueError):
            return Unusable("the server returned a vector that is not base64 of numbers")
    elif isinstance(embedding, list):
        try:
            numbers = np.array(embedding)
        except (ValueError, OverflowError):
            numbers = np.array([None])
        if numbers.size and (numbers.dtype.kind not in "fiu" or numbers.ndim != 1):
            return Unusable("the server returned a vector with other values than numbers")
    else:
        return Unusable("the server returned no vector")
    with np.errstate(over="ignore"):
        vector = numbers.astype(np.float32)
    if not np.isfinite(vector).all():
        return Unusable("the server returned a vector with components that are not finite")
    return vector


def _split(call: _Call, batch: list[str], at: int) -> None:
    """Puts a batch back in two parts, in order."""
    call.work.appendleft(batch[at:])
    call.work.appendleft(batch[:at])


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""A real HTTP server that speaks OpenAI's embeddings API, well and badly: what becomes of the texts."""

import asyncio
import json
import logging
import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from servers.embeddings import Answer, EmbeddingServer, Request, listed, numbers_of
from vectorops.api.embedder import OpenAIEmbedder
from vectorops.api.reasons import Reason
from vectorops.api.validation import validate
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved, Unusable
from vectorops.embedders.hosted import TRIES, Clock
from vectorops.embedders.open_ai import OpenAI, hosted_table, normalized_url
from vectorops.errors import RateLimited, Terminal, Transient, Unauthorized, VectorOpsError
from vectorops.logs import TALKATIVE

KEY = "sk-the-key-of-a-team"
SECRET = "the patient in room seven has a rare illness"
TEXTS = [f"{SECRET}, says report {number}" for number in range(200)]


@dataclass
class Time:
    """Moves only when something sleeps. sleeps: for how long each did."""

    seconds: float = 1000.0
    sleeps: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, wall=lambda: self.seconds, sleep=self.sleep, chance=lambda: 0.5)


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as server:
        yield server


@pytest.fixture
def time() -> Time:
    return Time()


@dataclass
class Site:
    """One server, and the provider that talks to it."""

    server: EmbeddingServer
    provider: OpenAI

    async def resolve(self, model: str = "unknown-model", api_key: str | None = KEY, **options: Any) -> Resolved:
        spec = OpenAIEmbedder.model_validate({"model": model, "baseURL": self.server.base_url, **options})
        return await self.provider.resolve(spec, pinned=None, api_key=api_key)

    def locked(self, **options: Any) -> Resolved:
        resolved = Resolved({}, "openAI", "unknown-model", "dense", 4, base_url=self.server.base_url)
        return replace(resolved, **options)

    async def embed(self, texts: list[str], **options: Any) -> EmbeddedTexts:
        model = self.provider.open(self.locked(**options), api_key=KEY)
        try:
            return await model.embed(texts)
        finally:
            await model.close()


@pytest.fixture
def site(server, time) -> Site:
    return Site(server, OpenAI(EmbedderSettings(), clock=time.clock))


def same(embedded: EmbeddedTexts, texts: list[str], size: int = 4) -> bool:
    """Has each text the vector that is its own, and all of them one?"""
    expected = np.array(numbers_of(texts, size), np.float32)
    pairs = zip(embedded.vectors, expected, strict=True)
    return all(isinstance(vector, np.ndarray) and np.array_equal(vector, own) for vector, own in pairs)


def failures(embedded: EmbeddedTexts) -> dict[int, str]:
    return {n: vector.reason for n, vector in enumerate(embedded.vectors) if isinstance(vector, Unusable)}


async def refused(coming: Any) -> VectorOpsError:
    with pytest.raises(VectorOpsError) as told:
        await coming
    return told.value


# ---- what a model looks like ----


async def test_a_well_known_model_is_resolved_without_asking_anyone(site):
    resolved = await site.resolve("text-embedding-3-small")

    assert (resolved.kind, resolved.size, resolved.distance, resolved.normalized) == ("dense", 1536, "Cosine", True)
    assert resolved.revision == ""
    assert "platform.openai.com" in resolved.sources["size"]
    assert hosted_table().date in resolved.sources["size"]
    assert site.server.requests == []


async def test_ollamas_tag_for_the_newest_is_the_same_name(site):
    assert (await site.resolve("nomic-embed-text:latest")).size == 768


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [("text-embedding-3-small", 512), ("text-embedding-3-large", 3072), ("voyage-3.5", 2048), ("mistral-embed", 1024)],
)
async def test_dimensions_that_the_model_offers_are_its_size(site, model, dimensions):
    resolved = await site.resolve(model, dimensions=dimensions)

    assert (resolved.size, resolved.dimensions) == (dimensions, dimensions)
    assert "`dimensions`" in resolved.sources["size"]


@pytest.mark.parametrize(
    ("model", "dimensions", "offered"),
    [
        ("text-embedding-3-small", 1537, "1 to 1536"),
        ("embed-v4.0", 700, "256, 512, 1024, 1536"),
        ("text-embedding-ada-002", 512, "1536"),
    ],
)
async def test_dimensions_that_the_model_does_not_offer_are_refused_with_both_values(site, model, dimensions, offered):
    error = await refused(site.resolve(model, dimensions=dimensions))

    assert isinstance(error, Terminal)
    assert error.reason is Reason.INVALID_SPEC
    assert str(dimensions) in error.message
    assert offered in error.message


async def test_an_unknown_model_is_asked_for_one_word(site):
    resolved = await site.resolve("BAAI/bge-m3")

    assert resolved.size == 4
    assert "probe" in resolved.sources["size"]
    assert [request.texts for request in site.server.requests] == [["word"]]


async def test_the_word_is_asked_for_in_the_declared_dimensions(site):
    resolved = await site.resolve(dimensions=3)

    assert (resolved.size, resolved.dimensions) == (3, 3)
    assert site.server.requests[0].body["dimensions"] == 3


async def test_a_server_that_does_not_care_about_dimensions_is_told_with_both_values(site):
    site.server.answer = lambda request: Answer(content=listed(numbers_of(request.texts)))

    error = await refused(site.resolve(dimensions=3))

    assert error.reason is Reason.INVALID_SPEC
    assert "dimensions 3" in error.message
    assert "gives 4" in error.message


async def test_prompts_are_those_that_are_declared(site):
    resolved = await site.resolve(prompts={"document": "passage: "})

    assert (resolved.document_prompt, resolved.query_prompt) == ("passage: ", "")
    assert site.server.texts == ["word"]


@pytest.mark.parametrize("answer", [Answer(content=listed([[math.nan, 1.0]])), Answer(content=listed([None]))])
async def test_a_word_without_a_usable_vector_resolves_nothing(site, answer):
    site.server.answer_always(answer)

    assert (await refused(site.resolve())).reason is Reason.EMBEDDER_REJECTED


EXTRA = {"documents": {"input_type": "passage", "truncate": True}, "queries": {"input_type": "query"}}


async def test_further_fields_go_with_every_request_for_documents(site):
    resolved = await site.resolve(extraBody=EXTRA)
    await site.embed(["a text"], document_extra_body=resolved.document_extra_body)

    assert [request.texts for request in site.server.requests] == [["word"], ["a text"]]
    for request in site.server.requests:
        assert request.body.items() >= {("input_type", "passage"), ("truncate", True)}
        assert request.body["model"] == "unknown-model"


async def test_queries_go_with_their_own_prompt_and_fields(site):
    resolved = await site.resolve(extraBody=EXTRA, prompts={"document": "d: ", "query": "q: "})
    resolved = replace(resolved, declared={"openAI": {"extraBody": EXTRA}})
    model = site.provider.open(resolved, api_key=KEY)
    site.server.requests.clear()

    found = await model.embed_queries(["one", "two"], resolved)
    await model.embed(["one"])
    await model.close()

    assert same(found, ["q: one", "q: two"])
    assert [request.texts for request in site.server.requests] == [["q: one", "q: two"], ["d: one"]]
    assert [request.body.get("input_type") for request in site.server.requests] == ["query", "passage"]
    assert "truncate" not in site.server.requests[0].body


async def test_a_server_that_knows_no_such_field_is_told_in_its_words(site):
    def picky(request):
        error = {"message": "input_type must be one of query, document", "type": "invalid_request_error"}
        return Answer(400, {"error": error}) if request.body.get("input_type") == "passage" else None

    site.server.answer = picky

    error = await refused(site.resolve(extraBody=EXTRA))

    assert error.reason is Reason.EMBEDDER_REJECTED
    assert "input_type must be one of query, document" in error.message


async def test_dimensions_are_not_asked_for_by_another_name():
    """The size of the vectors would be another one than what the table says."""
    provider = OpenAI(EmbedderSettings())
    spec = OpenAIEmbedder.model_validate(
        {
            "model": "voyage-3.5",
            "baseURL": "https://api.voyageai.com/v1",
            "extraBody": {"documents": {"output_dimension": 256}},
        }
    )

    error = await refused(provider.resolve(spec, pinned=None, api_key=KEY))

    assert error.reason is Reason.INVALID_SPEC
    assert "declare `dimensions`" in error.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "x"}, "model is filled in by the operator"),
        ({"input": ["x"]}, "input is filled in by the operator"),
        ({"dimensions": 3}, "dimensions is filled in by the operator"),
        ({"encoding_format": "float"}, "encoding_format is filled in by the operator"),
        ({"x": {"y": 1}}, "x must be a string, a number or a boolean"),
        ({"x": [1]}, "x must be a string, a number or a boolean"),
        ({"x": None}, "x must be a string, a number or a boolean"),
        ({"x": "\ud800"}, "a field holds characters that are not Unicode"),
        ({"x": "y" * 2001}, "a field may not be more than 2000 characters"),
    ],
    ids=str,
)
@pytest.mark.parametrize("part", ["documents", "queries"])
def test_further_fields_are_flat_and_none_of_the_operators_own(fields, words, part):
    manifest = {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "QdrantCollection",
        "metadata": {"name": "zoo"},
        "spec": {
            "connectionRef": {"name": "main"},
            "vector": {"embedder": {"openAI": {"model": "m", "extraBody": {part: fields}}}},
        },
    }

    assert validate(manifest) == [f"spec.vector.embedder.openAI.extraBody.{part}: {words}"]


def test_a_number_is_the_same_whichever_way_it_is_written():
    """The API server makes 1 of 1.0."""
    first, second = (
        OpenAIEmbedder.model_validate({"model": "m", "extraBody": {"documents": {"n": number}}}) for number in (1.0, 1)
    )

    assert json.dumps(first.dump()) == json.dumps(second.dump())


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        (None, "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://API.OpenAI.com:443/v1", "https://api.openai.com/v1"),
        ("http://ollama.models.svc:11434/v1", "http://ollama.models.svc:11434/v1"),
        ("http://TEI.svc:080", "http://tei.svc"),
        ("https://[2001:DB8::1]:443/V1", "https://[2001:db8::1]/V1"),
        (
            "https://x.openai.azure.com/openai/deployments/D?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/D?api-version=2024-10-21",
        ),
        ("http://a?", "http://a"),
    ],
)
def test_a_server_has_one_spelling(declared, kept):
    spec = OpenAIEmbedder.model_validate({"model": "m", "baseURL": declared})

    assert normalized_url(spec) == kept
    assert normalized_url(OpenAIEmbedder.model_validate({"model": "m", "baseURL": kept})) == kept


@pytest.mark.parametrize("known", hosted_table().models.values())
def test_the_table_offers_each_model_in_its_own_size(known):
    assert 0 < known.size <= 4096
    assert not known.dimensions or known.size in known.dimensions
    assert "." in known.source


# ---- what is allowed ----


async def test_a_host_that_is_not_allowed_is_refused_even_for_a_well_known_model(server):
    site = Site(server, OpenAI(EmbedderSettings(allowed_hosts=("*.openai.com",))))

    for coming in (site.resolve("text-embedding-3-small"), site.embed(["a"])):
        error = await refused(coming)
        assert error.reason is Reason.MODEL_REFUSED
        assert "--allowed-host 127.0.0.1" in error.message
    assert server.requests == []


async def test_a_port_that_cannot_be_is_told(site):
    spec = OpenAIEmbedder.model_validate({"model": "m", "baseURL": "http://a:99999/v1"})

    assert (await refused(site.provider.resolve(spec, pinned=None, api_key=None))).reason is Reason.INVALID_SPEC


# ---- requests ----


async def test_texts_get_their_vectors_in_order_and_each_is_sent_once(site):
    texts = [TEXTS[number % 150] for number in range(200)]

    assert same(await site.embed(texts), texts)
    assert sorted(site.server.texts) == sorted(TEXTS[:150])


async def test_no_text_needs_no_request(site):
    assert await site.embed([]) == EmbeddedTexts(())
    assert site.server.requests == []


async def test_the_document_prompt_stands_before_each_text(site):
    embedded = await site.embed(["a", "b"], document_prompt="passage: ")

    assert same(embedded, ["passage: a", "passage: b"])


async def test_a_request_says_what_it_must_and_no_more(site):
    await site.embed(["a"])

    (request,) = site.server.requests
    assert request.path == "/v1/embeddings"
    assert request.body == {"model": "unknown-model", "input": ["a"], "encoding_format": "base64"}
    assert request.headers["Authorization"] == f"Bearer {KEY}"


async def test_dimensions_are_asked_for_where_they_are_declared(site):
    embedded = await site.embed(["ab"], size=2, dimensions=2)

    assert same(embedded, ["ab"], size=2)
    assert site.server.requests[0].body["dimensions"] == 2


async def test_a_query_stays_behind_the_path(site):
    await site.embed(["a"], base_url=f"{site.server.base_url}/deployments/D?api-version=2024-10-21")

    assert site.server.requests[0].path == "/v1/deployments/D/embeddings?api-version=2024-10-21"


async def test_without_a_key_there_is_no_header(site):
    await site.resolve(api_key=None)

    assert "Authorization" not in site.server.requests[0].headers


def test_azure_gets_the_key_in_its_own_header_too_and_mistral_its_own_field():
    provider = OpenAI(EmbedderSettings())
    azure = Resolved({}, "openAI", "m", "dense", 4, base_url="https://x.openai.azure.com/openai/deployments/D")
    plain = Resolved({}, "openAI", "m", "dense", 4, base_url="https://openai.azure.com.example/v1")

    assert provider._open(azure, KEY)._client.http.headers["api-key"] == KEY
    assert "api-key" not in provider._open(plain, KEY)._client.http.headers
    assert hosted_table().rules("api.mistral.ai").dimensions_field == "output_dimension"


@pytest.mark.parametrize("key", ["sk-\n1", "sk-ü"])
async def test_a_key_that_no_header_can_carry_is_told_and_not_shown(site, key):
    error = await refused(site.resolve(api_key=key))

    assert error.reason is Reason.SECRET_INVALID
    assert "sk-" not in error.message


async def test_no_more_requests_are_in_flight_than_allowed_for_all_models_of_a_server(server, time):
    site = Site(server, OpenAI(EmbedderSettings(concurrency=2), clock=time.clock))

    both = await asyncio.gather(site.embed(TEXTS, model="one"), site.embed(TEXTS, model="two"))

    assert all(same(embedded, TEXTS) for embedded in both)
    assert server.most_in_flight <= 2
    assert len(server.requests) > 2


async def test_one_text_that_is_no_unicode_costs_the_others_nothing(site):
    embedded = await site.embed(["a", "\ud800"])

    assert list(failures(embedded)) == [1]
    assert same(EmbeddedTexts(embedded.vectors[:1]), ["a"])


# ---- what servers take ----


@pytest.mark.parametrize(
    "words",
    ["encoding_format is not supported", "base64 encoding is not currently supported", "unexpected field"],
)
async def test_a_server_that_refuses_base64_is_asked_without_from_then_on(site, words):
    def answer(request: Request) -> Answer | None:
        return Answer(400, {"error": {"message": words}}) if "encoding_format" in request.body else None

    site.server.answer = answer
    model = site.provider.open(site.locked(), api_key=KEY)
    assert same(await model.embed(["a", "b"]), ["a", "b"])
    asked = len(site.server.requests)

    assert same(await model.embed(["c"]), ["c"])

    assert len(site.server.requests) == asked + 1
    await model.close()


async def test_a_server_that_ignores_base64_is_understood(site):
    site.server.answer = lambda request: Answer(content=listed(numbers_of(request.texts)))

    assert same(await site.embed(["a", "b"]), ["a", "b"])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (413, ""),
        (422, {"error": "batch size 64 > maximum allowed batch size 32", "error_type": "Validation"}),
        (400, {"message": "total number of texts must be at most 32 texts"}),
    ],
)
async def test_a_server_that_takes_fewer_texts_at_a_time_is_given_fewer_and_that_is_remembered(site, status, words):
    def answer(request: Request) -> Answer | None:
        return Answer(status, words) if len(request.texts) > 32 else None

    site.server.answer = answer
    assert same(await site.embed(TEXTS), TEXTS)
    site.server.requests.clear()

    assert same(await site.embed(TEXTS), TEXTS)
    assert max(len(request.texts) for request in site.server.requests) <= 32
    assert len(site.server.texts) == len(TEXTS)


async def test_a_server_that_takes_fewer_tokens_at_a_time_is_given_fewer(site):
    def answer(request: Request) -> Answer | None:
        too_many = sum(map(len, request.texts)) > 1000
        return Answer(400, {"error": {"code": "max_tokens_per_request", "message": "no"}}) if too_many else None

    site.server.answer = answer
    assert same(await site.embed(TEXTS), TEXTS)
    site.server.requests.clear()

    assert same(await site.embed(TEXTS), TEXTS)
    assert len(site.server.texts) == len(TEXTS)


async def test_a_server_that_is_too_slow_for_a_batch_is_given_smaller_ones(server, time):
    site = Site(server, OpenAI(EmbedderSettings(timeout_seconds=0.3, concurrency=1), clock=time.clock))
    server.answer = lambda request: Answer(hangs=True) if len(request.texts) > 16 else None

    assert same(await site.embed(TEXTS[:32]), TEXTS[:32])


async def test_a_server_that_was_slow_once_is_given_whole_batches_again(server, time):
    site = Site(server, OpenAI(EmbedderSettings(timeout_seconds=0.3, concurrency=1), clock=time.clock))
    server.answer_next(Answer(hangs=True), Answer(hangs=True))
    await site.embed(TEXTS[:64])
    server.requests.clear()

    assert same(await site.embed(TEXTS[:64]), TEXTS[:64])
    assert [len(request.texts) for request in server.requests] == [64]


async def test_an_answer_that_is_not_encoded_as_it_says_is_the_servers_fault(site):
    site.server.answer_always(Answer(content=b"{}", headers={"Content-Encoding": "gzip"}))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, Terminal)
    assert error.reason is Reason.EMBEDDER_REJECTED


# ---- a server that wants a pause, or is down ----


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:17:10 GMT"}, 30.0),
        ({"x-ratelimit-reset-requests": "1m3s", "x-ratelimit-remaining-requests": "0"}, 63.0),
        ({"x-ratelimit-reset-tokens": "250ms", "x-ratelimit-reset-requests": "9s"}, 0.25),
        ({}, 0.5),
    ],
)
async def test_a_pause_is_kept_for_as_long_as_the_server_asks(site, time, headers, seconds):
    site.server.answer_next(Answer(429, headers=headers))

    assert same(await site.embed(["a"]), ["a"])
    assert sum(time.sleeps) == pytest.approx(seconds)


async def test_a_pause_holds_for_every_model_of_the_server(site, time):
    site.server.answer_next(Answer(429, headers={"Retry-After": "300"}))
    await refused(site.embed(["a"], model="one"))

    error = await refused(site.embed(["b"], model="two"))

    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(300.0)
    assert site.server.texts == ["a"]
    time.seconds += 300
    assert same(await site.embed(["b"], model="two"), ["b"])


async def test_who_used_up_his_own_limit_pauses_nobody_with_another_key(site):
    site.server.answer_next(Answer(429, headers={"Retry-After": "300"}))
    await refused(site.embed(["a"]))

    other = site.provider.open(site.locked(), api_key="sk-of-another-team")
    embedded = await other.embed(["b"])
    await other.close()

    assert same(embedded, ["b"])


@pytest.mark.parametrize("asked", ["999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_no_pause_is_believed_for_longer_than_an_hour(site, time, asked):
    site.server.answer_next(Answer(429, headers={"Retry-After": asked}))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(3600.0)
    time.seconds += 3600
    assert same(await site.embed(["a"]), ["a"])


async def test_a_server_that_never_stops_asking_for_pauses_is_left_alone_in_the_end(site):
    site.server.answer_always(Answer(429, headers={"Retry-After": "2"}))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, RateLimited)
    assert (error.reason, error.retry_after) == (Reason.RATE_LIMITED, 2.0)
    assert len(site.server.requests) == TRIES["limited"]


@pytest.mark.parametrize("status", [429, 503])
async def test_pauses_that_never_end_give_the_worker_back(site, time, status):
    site.server.answer_always(Answer(status, headers={"Retry-After": "50"}))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, Transient)
    assert error.retry_after == pytest.approx(50.0)
    assert sum(time.sleeps) == pytest.approx(100.0)


async def test_a_quota_that_is_used_up_is_not_waited_for(site):
    site.server.answer_always(Answer(429, {"error": {"code": "insufficient_quota", "message": "pay"}}))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, RateLimited)
    assert "insufficient_quota" in error.message
    assert len(site.server.requests) == 1


@pytest.mark.parametrize("answer", [Answer(500), Answer(503, b"<html>"), Answer(408), Answer(hangs_up=True)])
async def test_a_failure_that_passes_costs_nothing(site, answer):
    site.server.answer_next(answer, answer)

    assert same(await site.embed(["a"]), ["a"])


@pytest.mark.parametrize("answer", [Answer(500), Answer(503), Answer(hangs_up=True), Answer(hangs=True)])
async def test_a_failure_that_stays_is_tried_a_few_times_and_then_later(server, time, answer):
    site = Site(server, OpenAI(EmbedderSettings(timeout_seconds=0.3), clock=time.clock))
    server.answer_always(answer)

    error = await refused(site.embed(["a"]))

    assert isinstance(error, Transient)
    assert error.reason is Reason.EMBEDDER_UNREACHABLE
    assert f"127.0.0.1:{server.port}" in error.message
    assert len(server.requests) == TRIES["failed"]


async def test_a_server_that_hangs_for_ever_is_not_asked_for_ever_in_smaller_and_smaller_batches(server, time):
    site = Site(server, OpenAI(EmbedderSettings(timeout_seconds=0.2, concurrency=1), clock=time.clock))
    server.answer_always(Answer(hangs=True))

    assert (await refused(site.embed(TEXTS))).reason is Reason.EMBEDDER_UNREACHABLE
    assert len(server.requests) == TRIES["failed"]


async def test_no_server_at_all_is_tried_later(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await refused(site.embed(["a"], base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))

    assert (type(error), error.reason) == (Transient, Reason.EMBEDDER_UNREACHABLE)


async def test_a_name_that_does_not_resolve_is_told(site):
    error = await refused(site.embed(["a"], base_url="http://there-is-no-such-name.invalid/v1"))

    assert error.reason is Reason.EMBEDDER_UNREACHABLE
    assert "does not resolve" in error.message


async def test_vectors_that_were_made_before_a_failure_are_not_asked_for_again(server, time):
    site = Site(server, OpenAI(EmbedderSettings(concurrency=1), clock=time.clock))
    model = site.provider.open(site.locked(), api_key=KEY)
    server.answer_next(*[Answer(content=listed(numbers_of(TEXTS[:64])))], *[Answer(500)] * TRIES["failed"])
    assert (await refused(model.embed(TEXTS))).reason is Reason.EMBEDDER_UNREACHABLE
    server.requests.clear()

    assert same(await model.embed(TEXTS), TEXTS)
    assert sorted(server.texts) == sorted(TEXTS[64:])
    await model.close()


# ---- refusals ----


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_is_waited_for_and_does_not_look_like_one_of_the_database(site, status):
    site.server.answer_always(Answer(status, {"error": {"message": f"Incorrect API key: {KEY}"}}))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, Transient)
    assert not isinstance(error, Unauthorized)
    assert error.reason is Reason.EMBEDDER_UNAUTHORIZED
    assert len(site.server.requests) == 1


async def test_an_unknown_model_or_path_says_what_to_look_at(site):
    site.server.answer_always(Answer(404, {"error": {"message": "no"}}))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, Terminal)
    assert error.reason is Reason.EMBEDDER_REJECTED
    for word in ("unknown-model", "baseURL", "/embeddings"):
        assert word in error.message


async def test_a_redirect_is_not_followed(site):
    with EmbeddingServer() as other:
        site.server.answer_always(Answer(307, headers={"Location": f"{other.base_url}/embeddings"}))

        error = await refused(site.embed(["a"]))

        assert isinstance(error, Terminal)
        assert error.reason is Reason.EMBEDDER_REJECTED
        assert f"http://127.0.0.1:{other.port}" in error.message
        assert other.requests == []


async def test_a_text_that_the_server_refuses_is_the_only_one_without_a_vector(site):
    def answer(request: Request) -> Answer | None:
        refuses = any(text in (TEXTS[20], TEXTS[130]) for text in request.texts)
        return Answer(400, {"error": {"code": "context_length_exceeded", "message": "too long"}}) if refuses else None

    site.server.answer = answer
    embedded = await site.embed(TEXTS)

    told = failures(embedded)
    assert list(told) == [20, 130]
    assert told[20] == "the server refused this text: HTTP 400: context_length_exceeded: too long"
    good = [number for number in range(200) if number not in told]
    assert same(EmbeddedTexts(tuple(embedded.vectors[n] for n in good)), [TEXTS[n] for n in good])


@pytest.mark.parametrize(
    "message",
    [f"cannot embed {SECRET!r}", SECRET.upper(), f"token {KEY}", "\\u0074he patient", "in   room\nseven has a"],
)
async def test_the_servers_words_are_left_out_where_they_quote_the_text_or_the_key(site, message):
    def answer(request: Request) -> Answer | None:
        return Answer(400, {"error": {"code": "bad", "message": message}}) if request.texts != ["word"] else None

    site.server.answer = answer

    assert failures(await site.embed([SECRET])) == {0: "the server refused this text: HTTP 400: bad"}


async def test_a_server_that_refuses_everything_is_not_asked_for_each_text(site):
    site.server.answer_always(Answer(400, {"error": {"message": "this model does not embed"}}))

    error = await refused(site.embed(TEXTS))

    assert isinstance(error, Terminal)
    assert error.reason is Reason.EMBEDDER_REJECTED
    assert "this model does not embed" in error.message
    assert len(site.server.requests) < 10


# ---- nonsense ----


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>sign in</html>",
        b"not json",
        b"[" * 100_000,
        [],
        {},
        {"data": None},
        {"data": [{"index": 0}]},
        listed([]),
        listed([[1, 2, 3, 4]]),
        listed([[1, 2, 3, 4]] * 3),
        {"data": [{"index": 0, "embedding": [1, 2, 3, 4]}] * 2},
        {"data": [{"index": index, "embedding": [1, 2, 3, 4]} for index in (0, 2)]},
        {"data": [{"index": index, "embedding": [1, 2, 3, 4]} for index in (0, -1)]},
        {"data": [{"index": index, "embedding": [1, 2, 3, 4]} for index in ("0", "1")]},
    ],
)
async def test_an_answer_that_is_no_list_of_vectors_for_these_texts_is_nothing(site, content):
    site.server.answer_always(Answer(content=content))

    error = await refused(site.embed(["a", "b"]))

    assert isinstance(error, Terminal)
    assert error.reason is Reason.EMBEDDER_REJECTED
    assert len(site.server.requests) == TRIES["nonsense"]


async def test_an_error_page_during_a_restart_costs_nothing(site):
    site.server.answer_next(Answer(content=b"<html>"))

    assert same(await site.embed(["a"]), ["a"])


async def test_an_answer_without_end_is_not_read_to_its_end(site):
    site.server.answer_always(Answer(content=b" " * 3_000_000))

    error = await refused(site.embed(["a"]))

    assert error.reason is Reason.EMBEDDER_REJECTED
    assert len(site.server.requests) == 1


async def test_vectors_are_told_apart_by_their_index(site):
    def answer(request: Request) -> Answer:
        items = listed(numbers_of(request.texts))
        items["data"].reverse()
        return Answer(content=items)

    site.server.answer = answer

    assert same(await site.embed(["a", "bb", "ccc"]), ["a", "bb", "ccc"])


async def test_vectors_without_an_index_are_in_the_order_of_the_texts(site):
    site.server.answer = lambda request: Answer(
        content={"data": [{"embedding": vector} for vector in numbers_of(request.texts)]}
    )

    assert same(await site.embed(["a", "bb"]), ["a", "bb"])


@pytest.mark.parametrize("vector", [[1, 2, 3], [], [1, 2, 3, 4, 5], "AACAPwAAgD8="])
async def test_another_size_than_the_locked_one_is_told_with_both(site, vector):
    site.server.answer_always(Answer(content=listed([vector])))

    error = await refused(site.embed(["a"]))

    assert isinstance(error, Terminal)
    assert error.reason is Reason.EMBEDDER_MISMATCH
    size = 2 if isinstance(vector, str) else len(vector)
    assert f"size {size} " in error.message
    assert "size 4" in error.message


@pytest.mark.parametrize(
    "vector",
    [
        [1, 2, math.nan, 4],
        [1, 2, math.inf, 4],
        [1, 2, 1e39, 4],
        [1, None, 3, 4],
        ["1", "2", "3", "4"],
        [[1, 2], [3, 4]],
        [[1], [2, 3]],
        [1, 2, 3, {}],
        [10**400, 2, 3, 4],
        [True, False, True, True],
        None,
        {"float": [1, 2, 3, 4]},
        "no base64!",
        "AAAA",
        "AADAfwAAgD8AAIA/AACAPw==",
    ],
    ids=str,
)
async def test_a_vector_that_is_none_costs_only_its_own_text(site, vector):
    site.server.answer_always(Answer(content=listed([[1, 2, 3, 4], vector])))

    embedded = await site.embed(["a", "b"])

    assert list(failures(embedded)) == [1]
    assert np.array_equal(embedded.vectors[0], np.array([1, 2, 3, 4], np.float32))


# ---- nothing slips out ----


FAILURES = {
    "401": Answer(401, {"error": {"message": f"wrong: {KEY}", "code": "invalid_api_key"}}),
    "404": Answer(404, {"error": {"message": SECRET, "code": SECRET.replace(" ", "-")}}),
    "400": Answer(400, {"detail": [{"msg": "bad", "input": [SECRET], "key": KEY}]}),
    "413": Answer(413, SECRET.encode()),
    "418": Answer(418, {"error": {"code": SECRET.replace(" ", "_")[:60]}}),
    "429": Answer(429, {"error": {"message": SECRET}}, headers={"Retry-After": "1"}),
    "500": Answer(500, {"error": f"{SECRET} {KEY}"}),
    "302": Answer(302, headers={"Location": f"http://a/{KEY}?{SECRET.replace(' ', '+')}"}),
    "page": Answer(content=f"<html>{SECRET} {KEY}".encode()),
    "no list": Answer(content={"data": SECRET, KEY: SECRET}),
    "too few": Answer(content=listed([])),
    "another size": Answer(content=listed([[1.0]])),
    "not finite": Answer(content=listed([[math.nan] * 4])),
    "words": Answer(content=listed([[SECRET, KEY, SECRET, KEY]])),
    "gone": Answer(hangs_up=True),
    "a header that is none": Answer(headers={SECRET: KEY}),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_neither_key_nor_text_is_in_a_log_an_error_or_what_a_debugger_shows(site, caplog, name):
    caplog.set_level(logging.DEBUG)
    answer = FAILURES[name]
    site.server.answer = lambda request: answer if request.texts != ["word"] else None
    model = site.provider.open(site.locked(), api_key=KEY)
    said = [repr(model), repr(site.provider), repr(getattr(model, "_client", None))]
    try:
        said += failures(await model.embed([SECRET])).values()
    except VectorOpsError as error:
        chain: BaseException | None = error
        while chain is not None:
            said += [str(chain), repr(chain)]
            chain = chain.__cause__ or chain.__context__
    await model.close()
    # What the libraries say below a warning, `logs` writes at no level.
    logged = [record for record in caplog.records if not record.name.startswith(TALKATIVE)]
    said += [record.getMessage() + str(record.exc_text or "") for record in logged]

    everything = "\n".join(said)
    assert KEY not in everything
    for start in range(len(SECRET) - 12):
        for form in (SECRET, SECRET.replace(" ", "-"), SECRET.replace(" ", "_"), SECRET.replace(" ", "+")):
            assert form[start : start + 12] not in everything

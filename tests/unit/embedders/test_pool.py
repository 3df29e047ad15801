"""What is resolved once, what is opened once, and when it is let go."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from unit.virtual_time import in_virtual_time
from vectorops import metrics
from vectorops.api.embedder import Embedder
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved
from vectorops.embedders.pool import Embedders
from vectorops.errors import Terminal, Transient

MINILM = {"sentenceTransformers": {"model": "sentence-transformers/all-MiniLM-L6-v2"}}


def declared(model: str = MINILM["sentenceTransformers"]["model"], **options: Any) -> Embedder:
    return Embedder.model_validate({"sentenceTransformers": {"model": model, **options}})


@dataclass
class Model:
    """An opened model that tells what it was asked."""

    asked: list[tuple[str, ...]] = field(default_factory=list)
    closed: bool = False

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        await asyncio.sleep(1)
        assert not self.closed
        self.asked.append(tuple(texts))
        return EmbeddedTexts(
            tuple(np.zeros(2, np.float32) for _ in texts), truncated=len([t for t in texts if len(t) > 9])
        )

    async def embed_queries(self, texts: Sequence[str], resolved: Resolved) -> EmbeddedTexts:
        return await self.embed([resolved.query_prompt + text for text in texts])

    async def close(self) -> None:
        self.closed = True


@dataclass
class Hub:
    """A provider whose newest commit moves on."""

    newest: str = "a" * 40
    resolutions: list[tuple[str, str | None]] = field(default_factory=list)
    failing: bool = False
    opened: list[Model] = field(default_factory=list)

    async def resolve(self, spec: Any, *, pinned: str | None, api_key: str | None) -> Resolved:
        self.resolutions.append((spec.model, pinned))
        await asyncio.sleep(1)
        if self.failing:
            raise Transient(Reason.EMBEDDER_UNREACHABLE, "the hub does not answer")
        revision = spec.revision or pinned or self.newest
        return Resolved({}, "sentenceTransformers", spec.model, "dense", 2, revision=revision)

    def open(self, resolved: Resolved, *, api_key: str | None) -> Model:
        self.opened.append(Model())
        return self.opened[-1]


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def embedders(hub: Hub) -> Embedders:
    made = Embedders(EmbedderSettings(idle_seconds=60))
    made._providers = {"sentenceTransformers": hub}
    return made


# ---- resolving ----


@in_virtual_time
async def test_a_hundred_collections_share_one_resolution(hub, embedders):
    found = await asyncio.gather(*(embedders.resolve(declared()) for _ in range(100)))

    assert {each.revision for each in found} == {hub.newest}
    assert len(hub.resolutions) == 1


@in_virtual_time
async def test_a_new_collection_gets_the_commit_that_is_newest_when_it_comes(hub, embedders):
    await embedders.resolve(declared())
    hub.newest = "b" * 40
    await asyncio.sleep(3600)

    assert (await embedders.resolve(declared())).revision == "b" * 40


@in_virtual_time
async def test_a_lock_of_the_same_declaration_is_the_answer_without_asking_anybody(hub, embedders):
    locked = await embedders.resolve(declared())
    hub.resolutions.clear()
    hub.failing = True

    assert await Embedders.resolve(embedders, declared(), locked=locked) is locked
    assert hub.resolutions == []


@in_virtual_time
async def test_a_floating_revision_does_not_move_by_itself(hub, embedders):
    locked = await embedders.resolve(declared())
    hub.newest = "b" * 40

    again = await embedders.resolve(declared(prompts={"query": "find: "}), locked=locked)

    assert again.revision == "a" * 40


@in_virtual_time
async def test_where_there_is_no_lock_a_pin_holds_a_floating_revision(hub, embedders):
    assert (await embedders.resolve(declared(), pinned="b" * 40)).revision == "b" * 40


@in_virtual_time
async def test_a_declared_revision_moves(hub, embedders):
    locked = await embedders.resolve(declared())

    moved = await embedders.resolve(declared(revision="c" * 40), locked=locked)

    assert moved.revision == "c" * 40
    assert moved.identity != locked.identity


@in_virtual_time
async def test_another_model_is_not_pinned_to_the_revision_of_the_former_one(hub, embedders):
    locked = await embedders.resolve(declared())

    await embedders.resolve(declared("another/model"), locked=locked)

    assert hub.resolutions[-1] == ("another/model", None)


@in_virtual_time
async def test_the_files_of_a_plain_folder_are_looked_at_each_time(hub, embedders):
    hub.newest = "sha256:1"
    locked = await embedders.resolve(declared())
    hub.resolutions.clear()

    await embedders.resolve(declared(), locked=locked)
    await embedders.resolve(declared(), locked=locked)

    assert len(hub.resolutions) == 2


@in_virtual_time
async def test_a_folder_that_is_away_says_nothing_new_of_a_model(hub, embedders):
    hub.newest = "sha256:1"
    locked = await embedders.resolve(declared())
    hub.failing = True

    assert await embedders.resolve(declared(), locked=locked) == locked
    with pytest.raises(Transient):
        await embedders.resolve(declared(prompts={"document": "passage: "}), locked=locked)


@in_virtual_time
async def test_no_key_is_read_where_nothing_is_to_be_asked(hub, embedders):
    """So a Secret that is gone does not keep a collection from being looked after."""
    locked = await embedders.resolve(declared())

    async def missing() -> str | None:
        raise Transient(Reason.SECRET_NOT_FOUND, "there is no such Secret")

    assert await embedders.resolve(declared(), locked=locked, api_key=missing) is locked
    with pytest.raises(Transient, match="no such Secret"):
        await embedders.resolve(declared("another/model"), locked=locked, api_key=missing)


@in_virtual_time
async def test_a_failure_is_told_to_all_who_wait_and_not_kept(hub, embedders):
    hub.failing = True
    answers = await asyncio.gather(*(embedders.resolve(declared()) for _ in range(2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Transient, Transient]

    hub.failing = False
    assert (await embedders.resolve(declared())).revision == hub.newest


@in_virtual_time
async def test_who_goes_away_does_not_take_the_resolution_of_the_others_along(hub, embedders):
    first = asyncio.ensure_future(embedders.resolve(declared()))
    second = asyncio.ensure_future(embedders.resolve(declared()))
    await asyncio.sleep(0.5)

    first.cancel()

    assert (await second).revision == hub.newest


# ---- the allow-list ----


NAMED = [
    {"sentenceTransformers": {"model": "BAAI/bge-m3"}},
    {"fastEmbed": {"model": "BAAI/bge-m3"}},
    {"openAI": {"model": "BAAI/bge-m3", "baseURL": "http://127.0.0.1:9/v1"}},
]


@pytest.mark.parametrize("member", NAMED)
async def test_a_model_that_is_not_allowed_is_neither_asked_for_nor_opened(hub, member):
    made = Embedders(EmbedderSettings(allowed_models=("trusted/*", "text-*")))
    made._providers = dict.fromkeys(("sentenceTransformers", "fastEmbed", "openAI"), hub)

    for coming in (made.resolve(Embedder.model_validate(member)), made.embed(locked("BAAI/bge-m3"), ["one"])):
        with pytest.raises(Terminal, match="--allowed-model BAAI/bge-m3") as told:
            await coming
        assert told.value.reason is Reason.MODEL_REFUSED
    assert hub.resolutions == []
    assert hub.opened == []


@in_virtual_time
async def test_one_pattern_of_several_is_enough(hub):
    made = Embedders(EmbedderSettings(allowed_models=("other/*", "trusted/*")))
    made._providers = {"sentenceTransformers": hub}

    resolved = await made.resolve(declared("trusted/model"))

    assert (await made.embed(resolved, ["one"])).vectors
    await made.close()


async def test_a_model_is_allowed_by_the_name_that_is_declared_whatever_repository_it_comes_from(monkeypatch, tmp_path):
    """fastembed has this one from another owner."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    made = Embedders(EmbedderSettings(allowed_models=("BAAI/*",), offline=True))

    with pytest.raises(Terminal) as told:
        await made.resolve(Embedder.model_validate({"fastEmbed": {"model": "BAAI/bge-small-en-v1.5"}}))

    assert told.value.reason is Reason.MODEL_NOT_FOUND


# ---- embedding ----


def locked(model: str = "a/model", **options: Any) -> Resolved:
    return Resolved(MINILM, "sentenceTransformers", model, "dense", 2, revision="a" * 40, **options)


@in_virtual_time
async def test_a_model_is_opened_once_and_let_go_when_no_text_has_come_for_a_while(hub, embedders):
    await embedders.embed(locked(), ["one"])
    await asyncio.sleep(59)
    await embedders.embed(locked(), ["two"])
    await asyncio.sleep(59)
    assert [model.closed for model in hub.opened] == [False]

    await asyncio.sleep(2)
    assert [model.closed for model in hub.opened] == [True]

    await embedders.embed(locked(), ["three"])
    assert [model.asked for model in hub.opened] == [[("one",), ("two",)], [("three",)]]
    await embedders.close()


@in_virtual_time
async def test_a_model_at_work_is_not_let_go(hub, embedders):
    made = Embedders(EmbedderSettings(idle_seconds=0.5))
    made._providers = {"sentenceTransformers": hub}

    first = await asyncio.gather(made.embed(locked(), ["one"]), made.embed(locked(), ["two"]))

    assert [len(each.vectors) for each in first] == [1, 1]
    await made.close()


@in_virtual_time
async def test_another_prompt_is_another_model_and_another_query_prompt_is_not(hub, embedders):
    await embedders.embed(locked(), ["one"])
    await embedders.embed(replace(locked(), query_prompt="find: "), ["one"])
    assert len(hub.opened) == 1

    await embedders.embed(replace(locked(), document_prompt="passage: "), ["one"])
    assert len(hub.opened) == 2
    await embedders.close()


@in_virtual_time
async def test_queries_are_embedded_by_the_opened_model_and_are_not_counted_as_texts(hub, embedders):
    counted = metrics.TEXTS_EMBEDDED.labels("sentenceTransformers")
    before = counted._value.get()

    await embedders.embed(locked(), ["one"])
    await embedders.embed_queries(replace(locked(), query_prompt="q: "), ["one", "two"])

    assert [model.asked for model in hub.opened] == [[("one",), ("q: one", "q: two")]]
    assert counted._value.get() - before == 1
    await embedders.close()


@in_virtual_time
async def test_a_rotated_key_opens_the_server_anew(hub, embedders):
    await embedders.embed(locked(), ["one"], api_key="old")
    await embedders.embed(locked(), ["one"], api_key="new")

    assert len(hub.opened) == 2
    await embedders.close()


@in_virtual_time
async def test_a_call_that_ends_after_the_end_harms_nobody(hub, embedders):
    late = asyncio.ensure_future(embedders.embed(locked(), ["one"]))
    await asyncio.sleep(0.5)
    await embedders.close()
    await asyncio.gather(late, return_exceptions=True)

    await asyncio.sleep(120)

    assert [model.closed for model in hub.opened] == [True]


@in_virtual_time
async def test_the_end_closes_everything(hub, embedders):
    await embedders.embed(locked(), ["one"])
    await embedders.embed(locked("another/model"), ["one"])

    await embedders.close()

    assert [model.closed for model in hub.opened] == [True, True]


# ---- the lock ----


def test_a_lock_comes_back_from_the_mark_as_it_was():
    full = locked(
        distance="Dot", normalized=True, dimensions=1, document_prompt="passage: ", sources={"size": "config.json"}
    )

    assert Resolved.from_json(full.to_json()) == full
    assert Resolved.from_json(locked().to_json() | {"written": "by a later version"}) == locked()
    assert Resolved.from_json({"model": "half"}) is None


@pytest.mark.parametrize(
    "junk",
    [
        {"revision": 7},
        {"size": "x"},
        {"document_extra_body": 1},
        {"declared": {"sentenceTransformers": 1}},
        {"declared": {"sentenceTransformers": {"extraBody": {"queries": 1}}}},
    ],
)
def test_a_damaged_lock_is_none(junk):
    assert Resolved.from_json(locked().to_json() | junk) is None


@pytest.mark.parametrize(
    "change",
    [
        {"model": "b/model"},
        {"revision": "b" * 40},
        {"dimensions": 1},
        {"document_prompt": "passage: "},
        {"base_url": "https://models.example/v1"},
        {"document_extra_body": {"input_type": "passage"}},
    ],
)
def test_whatever_changes_vectors_changes_the_identity(change):
    assert replace(locked(), **change).identity != locked().identity


def test_what_changes_no_stored_vector_changes_no_identity():
    assert replace(locked(), query_prompt="find: ", sources={"size": "a probe"}).identity == locked().identity
    queries = {"openAI": {"model": "a/model", "extraBody": {"queries": {"input_type": "query"}}}}
    assert replace(locked(), declared=queries).identity == locked().identity


def test_the_identity_of_an_embedder_without_further_fields_is_the_one_of_before():
    """It is in the fingerprint of every text: all of them would be embedded again."""
    before = Resolved(
        {},
        "openAI",
        "text-embedding-3-small",
        "dense",
        512,
        dimensions=512,
        document_prompt="passage: ",
        base_url="https://api.openai.com/v1",
    )

    assert before.identity == "9d23f29c11abbca0"
    assert "document_extra_body" not in before.to_json()

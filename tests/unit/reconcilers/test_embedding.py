"""With which key, and by which lock, the vectors of a collection are resolved and made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.embedder import Embedder
from vectorops.api.meta import JsonObject, ObjectMeta, Resource
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, Resolved
from vectorops.embedders.pool import ApiKey
from vectorops.errors import Terminal, Transient, Waiting
from vectorops.qdrant.marks import Mark
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.cluster import Secret
from vectorops.reconcilers.embedding import Embedding, resolved

OPENAI = "https://api.openai.com/v1"
KEY_REF = {"name": "openai", "key": "api-key"}


@dataclass
class World:
    """A cluster with Secrets, and embedders that tell what they were asked."""

    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    api_key: str | None = None
    resolutions: list[tuple[Resolved | None, str | None]] = field(default_factory=list)
    embedded: list[tuple[str, str | None]] = field(default_factory=list)
    failing: Exception | None = None
    pins: list[str | None] = field(default_factory=list)

    async def secret(self, namespace: str, name: str) -> Secret | None:
        assert namespace == "team"
        return Secret(self.secrets[name], "1") if name in self.secrets else None

    async def resolve(
        self, declared: Embedder, *, locked: Resolved | None, pinned: str | None, api_key: ApiKey
    ) -> Resolved:
        self.pins.append(pinned)
        if self.failing is not None:
            raise self.failing
        self.resolutions.append((locked, await api_key()))
        return locked or hosted(OPENAI)

    async def embed(self, locked: Resolved, texts: Sequence[str], *, api_key: str | None) -> EmbeddedTexts:
        self.embedded.append((locked.model, api_key))
        return EmbeddedTexts(())

    @property
    def context(self) -> Context:
        return Context(cast("Any", self), cast("Any", None), cast("Any", self), "test", "writer")


def hosted(base_url: str, **options: Any) -> Resolved:
    return Resolved({"openAI": {}}, "openAI", "text-embedding-3-small", "dense", 1536, base_url=base_url, **options)


def local() -> Resolved:
    return Resolved({"sentenceTransformers": {}}, "sentenceTransformers", "a/model", "dense", 384, revision="a" * 40)


def collection(embedder: JsonObject) -> Resource:
    spec = {"connectionRef": {"name": "main"}, "vectors": [{"name": "text", "embedder": embedder}]}
    return Resource("QdrantCollection", ObjectMeta(name="docs", namespace="team"), spec, {})


def open_ai(**options: Any) -> JsonObject:
    return {"openAI": {"model": "text-embedding-3-small", "apiKeySecretRef": KEY_REF, **options}}


async def resolve(world: World, declared: Resource, mark: Mark | None = None) -> dict[str, Resolved]:
    return await resolved(world.context, declared, QdrantCollectionSpec.model_validate(declared.spec), mark)


def embedding(world: World, declared: Resource, locked: Resolved) -> Embedding:
    return Embedding(world.context, declared, {"text": locked})


# ---- resolving ----


async def test_the_key_comes_from_the_secret_that_the_collection_names():
    world = World({"openai": {"api-key": b"sk-1\n"}})

    await resolve(world, collection(open_ai()))

    assert world.resolutions == [(None, "sk-1")]


async def test_the_lock_in_the_mark_goes_along():
    world, locked = World({"openai": {"api-key": b"sk-1"}}), hosted(OPENAI)
    mark = Mark("test", "team", "docs", "uid", "docs", "1", embedders={"text": locked.to_json()})

    assert await resolve(world, collection(open_ai()), mark) == {"text": locked}
    assert world.resolutions == [(locked, "sk-1")]


@pytest.mark.parametrize("secrets", [{}, {"openai": {"another": b"x"}}])
async def test_a_missing_secret_is_told_with_vector_field_and_name(secrets):
    with pytest.raises(Transient) as told:
        await resolve(World(secrets), collection(open_ai()))

    assert told.value.reason is Reason.SECRET_NOT_FOUND
    for word in ("vector 'text'", "apiKeySecretRef", "'openai'"):
        assert word in told.value.message


async def test_a_key_that_no_header_can_carry_is_told_and_not_shown():
    with pytest.raises(Terminal) as told:
        await resolve(World({"openai": {"api-key": b"sk-\x00\xff"}}), collection(open_ai()))

    assert told.value.reason is Reason.SECRET_INVALID
    assert "sk-" not in told.value.message


async def test_on_the_command_line_a_variable_stands_in_for_the_secret():
    world = World(api_key="from-the-environment")

    await resolve(world, collection(open_ai()))

    assert world.resolutions == [(None, "from-the-environment")]


async def test_a_failure_that_several_share_is_placed_for_each_alone():
    failing = Terminal(Reason.MODEL_NOT_FOUND, "there is no such model")
    world = World(failing=failing)
    for _ in range(2):
        with pytest.raises(Terminal) as told:
            await resolve(world, collection({"sentenceTransformers": {"model": "a/model"}}))
        assert told.value.message == "vector 'text': there is no such model"
    assert failing.message == "there is no such model"


@pytest.mark.parametrize(
    ("managed_by", "declared", "pin"),
    [
        ("User", {"model": "a/model"}, "b" * 40),
        ("User", {"model": "another/model"}, None),
        ("User", {"model": "a/model", "revision": "main"}, None),
        ("System", {"model": "a/model"}, None),
    ],
)
async def test_a_collection_of_the_users_carries_no_lock_so_a_floating_revision_stays_as_status_shows_it(
    managed_by, declared, pin
):
    world, found = World(), collection({"sentenceTransformers": declared})
    shown = {"provider": "sentenceTransformers", "model": "a/model", "revision": "b" * 40, "identity": "1"}
    vectors = [{"name": "text", "kind": "dense", "embedder": shown}, {"name": "image", "kind": "dense"}]
    spec = found.spec | {"managedBy": managed_by}

    await resolve(world, replace(found, spec=spec, status={"schema": {"summary": "", "vectors": vectors}}))

    assert world.pins == [pin]


# ---- embedding ----


async def test_texts_are_embedded_with_the_locked_model_and_the_declared_key():
    world = World({"openai": {"api-key": b"sk-1"}})

    await embedding(world, collection(open_ai()), hosted(OPENAI)).embed("text", ["a text"])

    assert world.embedded == [("text-embedding-3-small", "sk-1")]


async def test_a_key_is_never_sent_to_another_server_than_it_is_declared_for():
    """The declaration has moved on to another server, and its plan is not approved yet."""
    world = World({"openai": {"api-key": b"sk-1"}})
    moved = collection(open_ai(baseURL="https://models.example/v1"))

    with pytest.raises(Waiting) as told:
        await embedding(world, moved, hosted(OPENAI)).embed("text", ["a text"])

    assert told.value.on == moved.ref
    assert world.embedded == []


async def test_a_local_model_goes_on_while_the_change_to_a_hosted_one_is_held_back():
    world = World()

    await embedding(world, collection(open_ai()), local()).embed("text", ["a text"])

    assert world.embedded == [("a/model", None)]

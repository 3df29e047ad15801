"""Which embedder makes vectors of a set's texts: the one that the collection was locked to. And what is forgotten."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from vectorops.api.embedder import Embedder
from vectorops.api.meta import JsonObject, ObjectMeta, Resource
from vectorops.api.pointset import PointSetSpec
from vectorops.api.reasons import Reason
from vectorops.embedders.base import Resolved
from vectorops.embedders.pool import ApiKey
from vectorops.errors import Terminal, Waiting
from vectorops.points.declared import vectors_of_texts
from vectorops.points.source_memory import SourceMemory
from vectorops.points.verification import Verification
from vectorops.qdrant.marks import Mark
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.copies import CopyMemory
from vectorops.reconcilers.pointset import PointSetReconciler
from vectorops.reconcilers.situation import embedding_of


@dataclass
class World:
    """Embedders that resolve every model to one of its name."""

    asked: list[str] = field(default_factory=list)
    failing: Exception | None = None

    async def resolve(
        self, declared: Embedder, *, locked: Resolved | None, pinned: str | None, api_key: ApiKey
    ) -> Resolved:
        assert declared.sentence_transformers is not None
        assert (locked, await api_key()) == (None, None)
        if self.failing is not None:
            raise self.failing
        self.asked.append(declared.sentence_transformers.model)
        return model(declared.sentence_transformers.model)

    @property
    def context(self) -> Context:
        return Context(cast("Any", self), cast("Any", None), cast("Any", self), "test", "writer")


def model(name: str) -> Resolved:
    declared = {"sentenceTransformers": {"model": name}}
    return Resolved(declared, "sentenceTransformers", name, "dense", 384, revision="a" * 40)


def collection(declared: str | None = "new/model", **spec: Any) -> Resource:
    """declared: the model of the vector `text`; None: it has a size."""
    text: JsonObject = {"name": "text"}
    text |= {"embedder": {"sentenceTransformers": {"model": declared}}} if declared else {"size": 384}
    spec = {"connectionRef": {"name": "main"}, "vectors": [text, {"name": "image", "size": 2}], **spec}
    return Resource("QdrantCollection", ObjectMeta(name="docs", namespace="team"), spec, {})


def mark(**locks: str) -> Mark:
    stored = {name: model(locked).to_json() for name, locked in locks.items()}
    return Mark("test", "team", "docs", "uid", "docs", "1", embedders=stored)


def points(**vectors: JsonObject) -> PointSetSpec:
    return PointSetSpec.model_validate(
        {"collectionRef": {"name": "docs"}, "points": [{"id": 1, "vectors": vectors, "payload": {}}]}
    )


TEXT = points(text={"text": "a lion"}, image={"values": [1, 2]})


async def identities(world: World, declared: Resource, spec: PointSetSpec, locked: Mark | None) -> dict[str, str]:
    return (await embedding_of(world.context, declared, vectors_of_texts(spec.inline_points), locked)).identities


async def test_the_locked_model_is_used_while_a_change_to_another_is_held_back():
    world = World()

    assert await identities(world, collection("new/model"), TEXT, mark(text="old/model")) == {
        "text": model("old/model").identity
    }
    assert world.asked == []


async def test_a_set_without_texts_needs_no_embedder():
    world, numbers = World(), points(text={"values": [1.0]})

    assert await identities(world, collection(managedBy="User"), numbers, None) == {}
    assert await identities(world, collection(), numbers, mark()) == {}
    assert world.asked == []


async def test_a_collection_that_was_not_looked_at_since_it_names_a_model_is_waited_for():
    with pytest.raises(Waiting) as told:
        await identities(World(), collection(), TEXT, mark())

    assert (told.value.reason, told.value.on) == (Reason.COLLECTION_NOT_READY, collection().ref)
    assert "the embedder of vector 'text' is not resolved yet" in told.value.message


async def test_an_embedder_that_is_no_longer_declared_embeds_nothing_although_its_lock_stays():
    assert await identities(World(), collection(None), TEXT, mark(text="old/model")) == {}


async def test_a_text_for_a_vector_without_embedder_is_no_reason_to_wait():
    """It fails as a point."""
    both = points(text={"text": "a lion"}, image={"text": "a picture"})

    assert (await identities(World(), collection(), both, mark(text="old/model"))).keys() == {"text"}


async def test_of_a_collection_that_its_user_manages_nothing_is_locked():
    world = World()
    users = collection("a/model", managedBy="User")

    assert await identities(world, users, TEXT, mark(text="from/before")) == {"text": model("a/model").identity}
    assert world.asked == ["a/model"]


async def test_a_model_that_cannot_be_resolved_is_told_as_it_is():
    world = World(failing=Terminal(Reason.MODEL_NOT_FOUND, "there is no such model"))

    with pytest.raises(Terminal) as told:
        await identities(world, collection(managedBy="User"), TEXT, None)

    assert (told.value.reason, told.value.message) == (
        Reason.MODEL_NOT_FOUND,
        "vector 'text': there is no such model",
    )


async def test_a_collection_that_is_not_valid_any_more_is_waited_for():
    with pytest.raises(Waiting) as told:
        await identities(World(), collection(vectors="nonsense"), TEXT, mark())

    assert told.value.on == collection().ref


async def test_when_a_set_is_gone_its_memories_go():
    world, copies = World(), CopyMemory()
    gone = Resource("PointSet", ObjectMeta(name="docs", namespace="team"), {}, {})
    context = world.context
    context.source_memory.suspect(gone.ref)
    copies.known[gone.ref, "another"] = (SourceMemory(), Verification())

    assert (await PointSetReconciler(copies).finalize(context, gone)).status is None

    assert not context.source_memory.is_suspected(gone.ref)
    assert copies.known == {}

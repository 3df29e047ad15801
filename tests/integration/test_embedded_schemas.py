"""Collections whose schema comes from a model: nobody types a size, and no other model comes in by accident.

The real all-MiniLM-L6-v2 is one of the models; the others are the small files of models, which is all that a schema is
read from. No text is embedded here.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client.models import Distance, VectorParams

from integration.command_line import CONNECTION, Answer, Shell
from integration.command_line import collection as manifest
from integration.conftest import StartOperator
from integration.team import Team, message, plan_hash, reason, unique
from integration.world import Stored, change_by_hand, config_of, connection, mark_of
from servers.hub import ModelHub
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.models import MINILM, minilm
from servers.operator import ForkedOperator
from servers.qdrant import QdrantServer

TWIN, LARGER = "small/twin", "small/larger"
FLOATING = "hub/floating"
SIZES = {TWIN: 384, LARGER: 512}


def model_files(size: int, **settings: Any) -> dict[str, bytes]:
    """A dense model without a single number in its weights."""
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    files: dict[str, Any] = {
        "modules.json": [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{module}"}
            for n, (module, path) in enumerate(modules)
        ],
        "config.json": {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": size},
        "1_Pooling/config.json": {"word_embedding_dimension": size, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine", **settings},
        "tokenizer.json": {},
    }
    weights = (2).to_bytes(8, "little") + b"{}"
    return {name: json.dumps(content).encode() for name, content in files.items()} | {"model.safetensors": weights}


def put(folder: Path, model: str, files: dict[str, bytes]) -> None:
    """Puts a model into a model folder."""
    for name, content in files.items():
        path = folder / model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of the operator."""
    folder = tmp_path_factory.mktemp("models")
    minilm(folder)
    for model, size in SIZES.items():
        put(folder, model, model_files(size))
    return folder


@pytest.fixture(scope="module")
def hub() -> Iterator[ModelHub]:
    with ModelHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def team_namespace(
    kube: KubeServer, qdrant: QdrantServer, models: Path, hub: ModelHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """As everywhere, but the operator has a model folder and a model hub."""

    async def prepare() -> str:
        async with kube.api() as api:
            namespace = await api.create_namespace("embedded")
            await api.apply(connection(namespace, qdrant))
            return namespace

    namespace, place = asyncio.run(prepare()), tmp_path_factory.mktemp("embedded")
    operator = ForkedOperator(
        place,
        kubeconfig=kube.kubeconfig(),
        installation=unique("embedded"),
        namespaces=[namespace],
        flags=[f"--model-folder={models}"],
        environment=asking(hub, place / "cache"),
    )
    operator.start()
    yield namespace
    operator.discard()


def asking(hub: ModelHub, cache: Path) -> dict[str, str]:
    """Variables that lead to a hub of the tests, with a cache of its own."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub"), "HF_HUB_OFFLINE": "0"}


def text(model: str = MINILM, *, embedder: Object | None = None, **vector: Any) -> Object:
    """The fields of a collection with one vector `text` of a model."""
    of_model = {"sentenceTransformers": {"model": model, **(embedder or {})}}
    return {"vectors": [{"name": "text", "embedder": of_model, **vector}]}


def locked(qdrant: QdrantServer, name: str) -> Any:
    """What the mark says of the model of `text`."""
    return mark_of(qdrant, name)["embedders"]["text"]


def shown(obj: Object) -> Any:
    """What the status says of `text`."""
    (vector,) = obj["status"]["schema"]["vectors"]
    return vector


# ---- resolved ----


async def test_a_model_is_named_and_the_collection_has_its_size_and_distance(team: Team, qdrant: QdrantServer) -> None:
    name = unique("named")

    made = await team.collection(name, **text())

    assert is_ready(made)
    assert config_of(qdrant, name)["params"]["vectors"] == {"text": {"size": 384, "distance": "Cosine"}}
    vector = shown(made)
    assert (vector["kind"], vector["size"], vector["distance"]) == ("dense", 384, "Cosine")
    assert vector["embedder"]["model"] == MINILM
    assert vector["embedder"]["revision"].startswith("sha256:")
    assert vector["sources"]["revision"] == "the model folder"
    assert "1_Pooling" in vector["sources"]["size"]
    assert vector["sources"]["datatype"] == "default"
    assert made["status"]["schema"]["summary"] == "text 384 Cosine"
    lock = locked(qdrant, name)
    assert (lock["model"], lock["revision"], lock["size"]) == (MINILM, vector["embedder"]["revision"], 384)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (text(TWIN, distance="Euclid"), ("distance", "Euclid", "Cosine", "config_sentence_transformers.json")),
        (text(TWIN, datatype="uint8"), ("datatype", "uint8", "float16")),
        (text(TWIN, multivector={"comparator": "max_sim"}), ("multivector", "max_sim", "one vector")),
        (text(TWIN, embedder={"dimensions": 1000}), ("dimensions 1000", "384")),
        (
            {"sparseVectors": [{"name": "text", "embedder": {"sentenceTransformers": {"model": TWIN}}}]},
            ("spec.sparseVectors[0].embedder", "dense", "384", "declare it under spec.vectors"),
        ),
    ],
    ids=["distance", "datatype", "multivector", "dimensions", "sparse"],
)
async def test_what_contradicts_the_model_is_refused_with_both_values(
    team: Team, stored: Stored, declared: Object, words: tuple[str, ...]
) -> None:
    name = unique("contradicted")

    refused = await team.collection(name, **declared)

    assert reason(refused) == "InvalidSpec"
    assert condition(refused, "Stalled")["status"] == "True"
    for word in words:
        assert word in message(refused)
    assert not await stored.exists(name)


async def test_cosine_and_dot_are_the_same_to_a_model_that_normalizes(team: Team, qdrant: QdrantServer) -> None:
    name = unique("dot")

    assert is_ready(await team.collection(name, **text(distance="Dot")))

    assert config_of(qdrant, name)["params"]["vectors"]["text"]["distance"] == "Dot"


async def test_a_model_that_is_nowhere_is_told_and_the_collection_stays_as_it_is(
    team: Team, qdrant: QdrantServer, hub: ModelHub
) -> None:
    name = unique("missing")
    await team.collection(name, **text(TWIN))
    before = config_of(qdrant, name)

    refused = await team.collection(name, **text("nobody/has-this"))

    assert reason(refused) == "ModelNotFound"
    assert "vector 'text'" in message(refused)
    assert "nobody/has-this" in message(refused)
    assert config_of(qdrant, name) == before
    assert shown(refused)["embedder"]["model"] == TWIN


# ---- other model ----


async def test_another_model_of_equal_size_waits_for_an_approval_that_fits_once(
    team: Team, qdrant: QdrantServer
) -> None:
    name = unique("twin")
    first = await team.collection(name, **text())
    lock = locked(qdrant, name)

    refused = await team.collection(name, **text(TWIN))
    assert reason(refused) == "PlanHeldBack"
    assert condition(refused, "Stalled")["status"] == "True"
    for word in (MINILM, TWIN, plan_hash(refused)):
        assert word in message(refused)
    assert not refused["status"]["plan"]["destructive"]
    assert shown(refused)["embedder"] == shown(first)["embedder"]
    assert locked(qdrant, name) == lock

    await team.approve(name, plan_hash(refused))
    done = await team.wait("QdrantCollection", name, is_ready)
    assert "plan" not in done["status"]
    assert shown(done)["embedder"]["model"] == locked(qdrant, name)["model"] == TWIN
    assert done["status"]["collection"] == first["status"]["collection"]

    back = await team.collection(name, **text())
    await team.approve(name, plan_hash(back))
    await team.wait("QdrantCollection", name, is_ready)
    # The way there again is another plan than that of the first time.
    again = await team.collection(name, **text(TWIN))
    await team.approve(name, plan_hash(refused))
    again = await team.look_again("QdrantCollection", name)
    assert reason(again) == "PlanHeldBack"
    assert plan_hash(again) not in {plan_hash(refused), plan_hash(back)}
    assert locked(qdrant, name)["model"] == MINILM


async def test_a_model_of_another_size_waits_with_both_models_and_sizes_named(team: Team, qdrant: QdrantServer) -> None:
    name = unique("larger")
    first = await team.collection(name, **text(TWIN), hnswConfig={"m": 20})

    refused = await team.collection(name, **text(LARGER), hnswConfig={"m": 20})
    assert reason(refused) == "PlanHeldBack"
    for word in ("size 384 -> 512", TWIN, LARGER, "created again", plan_hash(refused)):
        assert word in message(refused)
    assert (shown(refused)["size"], shown(refused)["embedder"]["model"]) == (384, TWIN)
    assert locked(qdrant, name)["model"] == TWIN

    await team.approve(name, plan_hash(refused))
    done = await team.wait("QdrantCollection", name, is_ready)
    assert config_of(qdrant, name)["params"]["vectors"]["text"]["size"] == 512
    assert config_of(qdrant, name)["hnsw_config"]["m"] == 20
    assert locked(qdrant, name)["model"] == LARGER
    assert done["status"]["collection"]["incarnation"] != first["status"]["collection"]["incarnation"]


async def test_the_way_over_a_declared_size_brings_no_other_model_in(team: Team, qdrant: QdrantServer) -> None:
    name = unique("detour")
    await team.collection(name, **text())
    assert is_ready(await team.collection(name, vectors=[{"name": "text", "size": 384}]))

    refused = await team.collection(name, **text(TWIN))

    assert reason(refused) == "PlanHeldBack"
    assert locked(qdrant, name)["model"] == MINILM


async def test_a_prompt_of_documents_is_asked_about_and_one_of_queries_is_not(team: Team, qdrant: QdrantServer) -> None:
    name = unique("prompts")
    await team.collection(name, **text(TWIN))

    asking = await team.collection(name, **text(TWIN, embedder={"prompts": {"query": "query: "}}))
    assert is_ready(asking)
    assert shown(asking)["embedder"]["queryPrompt"] == locked(qdrant, name)["query_prompt"] == "query: "

    telling = await team.collection(name, **text(TWIN, embedder={"prompts": {"document": "passage: "}}))
    assert reason(telling) == "PlanHeldBack"
    assert "document prompt 'none' -> 'passage: '" in message(telling)


# ---- the hub ----


async def test_a_floating_revision_stays_where_it_was_first_found(
    api: KubeApi,
    namespace: str,
    qdrant: QdrantServer,
    start_operator: StartOperator,
    hub: ModelHub,
    tmp_path: Path,
) -> None:
    """Also after a restart without anything cached. To move it is a change that is asked about."""
    name, model, team = unique("floating"), "floats/model", Team(api, namespace)
    first = hub.put(model, model_files(8))
    installation = unique("floating")
    operator = start_operator(installation=installation, environment=asking(hub, tmp_path / "one"))
    await team.connection(qdrant)
    made = await team.collection(name, **text(model))
    assert shown(made)["embedder"]["revision"] == locked(qdrant, name)["revision"] == first
    operator.kill()

    second = hub.put(model, model_files(8, prompts={"document": "passage: "}))
    asked = len(hub.requests)
    start_operator(installation=installation, environment=asking(hub, tmp_path / "another"))
    stays = await team.look_again("QdrantCollection", name)
    assert is_ready(stays)
    assert shown(stays) == shown(made)
    assert hub.requests[asked:] == []

    moved = await team.collection(name, **text(model, embedder={"revision": second}))
    assert reason(moved) == "PlanHeldBack"
    for word in (first[:12], second[:12]):
        assert word in message(moved)
    assert shown(moved)["embedder"] == shown(made)["embedder"]


async def test_a_hub_without_an_answer_stops_no_correction_and_no_deletion(
    team: Team, stored: Stored, qdrant: QdrantServer, hub: ModelHub
) -> None:
    name, new = unique("outage"), unique("new")
    hub.put(FLOATING, model_files(8))
    await team.collection(name, **text(FLOATING), hnswConfig={"m": 20}, deletionPolicy="Delete")
    hub.answer_with(503)
    try:
        change_by_hand(qdrant, name, {"hnsw_config": {"m": 9}})

        assert is_ready(await team.look_again("QdrantCollection", name))
        assert config_of(qdrant, name)["hnsw_config"]["m"] == 20
        waiting = await team.collection(new, **text("hub/another"), until="EmbedderUnreachable")
        assert "vector 'text'" in message(waiting)
        await team.delete("QdrantCollection", name)
        assert not await stored.exists(name)
        await team.delete("QdrantCollection", new)
    finally:
        hub.restore()


# ---- collections of others' ----


async def made_by_hand(stored: Stored, name: str, size: int) -> None:
    """A collection with an unnamed vector, that nobody declared."""
    params = VectorParams(size=size, distance=Distance.COSINE)
    await stored.client.create_collection(name, vectors_config=params)


async def test_a_collection_that_fits_the_model_is_adopted_and_locked(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    fitting, other = unique("fitting"), unique("other")
    await made_by_hand(stored, fitting, 384)
    await made_by_hand(stored, other, 3)
    unnamed: Object = {"vector": {"embedder": {"sentenceTransformers": {"model": TWIN}}}}

    adopted, refused = [await team.collection(name, **unnamed) for name in (fitting, other)]

    assert is_ready(adopted)
    assert mark_of(qdrant, fitting)["embedders"][""]["model"] == TWIN
    assert reason(refused) == "NotAdopted"
    for word in ("size 3 -> 384", TWIN):
        assert word in message(refused)
    assert mark_of(qdrant, other) == {}


async def test_in_a_collection_of_the_users_nothing_is_locked_and_sizes_are_compared(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    name = unique("users")
    await made_by_hand(stored, name, 384)

    def unnamed(model: str) -> Object:
        return {"managedBy": "User", "vector": {"embedder": {"sentenceTransformers": {"model": model}}}}

    compared = await team.collection(name, **unnamed(TWIN))
    differs = await team.collection(name, **unnamed(LARGER))

    assert is_ready(compared)
    assert shown(compared)["embedder"]["model"] == TWIN
    assert reason(differs) == "SchemaMismatch"
    assert "size 384 -> 512" in message(differs)
    assert mark_of(qdrant, name) == {}


# ---- the command line ----


def on_a_laptop(folder: Path, models: Path, command: str, **spec: Any) -> Answer:
    """`apply` or `plan` of one collection in a folder, which is a Qdrant that replaces single vectors."""
    shell = Shell(folder)
    shell.write("all.yaml", CONNECTION, manifest("zoo", vector=None, **spec))
    flags = ("--detailed-exitcode",) if command == "plan" else ()
    return shell.run(command, "-f", "all.yaml", "--qdrant", "store", "--offline", "--model-folder", str(models), *flags)


def test_a_plan_tells_of_another_model_before_anybody_is_asked(tmp_path: Path, models: Path) -> None:
    before = {"vectors": [*text(TWIN)["vectors"], {"name": "image", "size": 2}]}
    assert on_a_laptop(tmp_path, models, "apply", **before).code == 0
    assert on_a_laptop(tmp_path, models, "plan", **before).code == 0

    twin = on_a_laptop(tmp_path, models, "plan", vectors=[*text(MINILM)["vectors"], before["vectors"][1]])
    larger = on_a_laptop(tmp_path, models, "plan", vectors=[*text(LARGER)["vectors"], before["vectors"][1]])

    for answer, told in ((twin, "embedded again by their PointSets"), (larger, "size 384 -> 512")):
        assert "held back: approve plan" in answer.out
        assert f"model {TWIN} at" in answer.out
        assert told in answer.out
    assert "deleted and added again" in larger.out


def test_a_plan_tells_when_a_model_is_locked_for_the_first_time(tmp_path: Path, models: Path) -> None:
    assert on_a_laptop(tmp_path, models, "apply", vectors=[{"name": "text", "size": 384}]).code == 0

    first = on_a_laptop(tmp_path, models, "plan", **text(TWIN))
    assert "which models make the vectors" in first.out

    assert on_a_laptop(tmp_path, models, "apply", **text(TWIN)).code == 0
    assert on_a_laptop(tmp_path, models, "plan", **text(TWIN)).code == 0

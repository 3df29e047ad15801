"""`vectorops schema`: what models resolve to, before there is any database."""

import json
from pathlib import Path
from typing import Any

import pytest

from integration.command_line import CONNECTION, Answer, Shell, collection, point_set

RESOLVED, UNRESOLVED, WRONG = 0, 1, 2

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with one model that has all its small files, and weights without a single number in them."""
    transformer = {"type": "sentence_transformers.models.Transformer", "idx": 0, "name": "0", "path": ""}
    pooling = {"type": "sentence_transformers.models.Pooling", "idx": 1, "name": "1", "path": "1_Pooling"}
    scaling = {"type": "sentence_transformers.models.Normalize", "idx": 2, "name": "2", "path": "2_Normalize"}
    files: dict[str, Any] = {
        "modules.json": [transformer, pooling, scaling],
        "config.json": {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 384},
        "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": "cosine"},
        "tokenizer.json": {},
    }
    model = tmp_path / "models" / MINILM
    for name, content in files.items():
        path = model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return tmp_path / "models"


def embedded(name: str, **vector: Any) -> str:
    """A QdrantCollection with the one vector `text`, of MiniLM. vector: what else is said of it."""
    declared = {"name": "text", "embedder": {"sentenceTransformers": {"model": MINILM}}, **vector}
    return collection(name, vector=None, vectors=[declared])


def schema(shell: Shell, models: Path, *documents: str, flags: tuple[str, ...] = ()) -> Answer:
    shell.write("all.yaml", *documents)
    return shell.run("schema", "-f", "all.yaml", "--model-folder", str(models), "--offline", *flags)


def test_a_model_is_shown_with_what_it_gives_and_where_that_is_known_from(shell, models):
    answer = schema(shell, models, CONNECTION, embedded("zoo"))

    assert answer.code == RESOLVED
    title, vector = answer.out.splitlines()
    assert title.split() == [
        *("COLLECTION", "NAME", "KIND", "SIZE", "DISTANCE", "DATATYPE", "MODEL", "REVISION", "FROM")
    ]
    assert vector.split()[:7] == ["zoo", "text", "dense", "384", "Cosine", "float32", MINILM]
    assert "1_Pooling/config.json" in vector
    assert "the model folder" in vector


def test_what_is_no_schema_is_left_out(shell, models):
    rest = {"params": {"sharding_method": "custom"}, "shardKeys": [{"name": "acme"}], "metadata": {"team": "search"}}

    answer = schema(shell, models, CONNECTION, collection("zoo", **rest))

    assert answer.code == RESOLVED, answer.out


def test_programs_get_the_same_as_status_says(shell, models):
    (found,) = schema(shell, models, CONNECTION, embedded("zoo"), flags=("-o", "json")).json

    assert (found["namespace"], found["name"], found["problem"]) == ("default", "zoo", None)
    (vector,) = found["vectors"]
    assert (vector["size"], vector["distance"], vector["kind"]) == (384, "Cosine", "dense")
    assert vector["embedder"]["model"] == MINILM
    assert vector["embedder"]["revision"].startswith("sha256:")
    assert set(vector["sources"]) >= {"size", "distance", "kind", "revision"}


def test_a_size_that_a_person_wrote_is_shown_as_such(shell, models):
    answer = schema(shell, models, CONNECTION, collection("zoo"))

    assert answer.code == RESOLVED
    assert "declared" in answer.out


def test_one_unknown_model_does_not_hide_the_others(shell, models):
    unknown = {"name": "other", "embedder": {"sentenceTransformers": {"model": "nobody/nothing"}}}
    known = {"name": "text", "embedder": {"sentenceTransformers": {"model": MINILM}}}
    both = collection("zoo", vector=None, vectors=[unknown, known])

    answer = schema(shell, models, CONNECTION, both, embedded("park"))

    assert answer.code == UNRESOLVED
    assert "ModelNotFound" in answer.out
    assert answer.out.count("384") == 2
    (zoo, park) = schema(shell, models, CONNECTION, both, embedded("park"), flags=("-o", "json")).json
    assert zoo["problem"].startswith("ModelNotFound: ")
    assert [vector["name"] for vector in zoo["vectors"]] == ["text"]
    assert park["problem"] is None


def test_what_contradicts_the_model_is_told_with_both_values(shell, models):
    answer = schema(shell, models, CONNECTION, embedded("zoo", distance="Euclid"))

    assert answer.code == UNRESOLVED
    assert all(words in answer.out for words in ("InvalidSpec", "Euclid", "Cosine"))


def test_a_problem_names_the_place_in_the_manifest(shell, models):
    model = {"embedder": {"sentenceTransformers": {"model": MINILM}}}
    dense = [{"name": "image", "size": 2}, {"name": "text", "datatype": "uint8", **model}]
    sparse = [{"name": "words"}, {"name": "terms", **model}]

    answer = schema(shell, models, CONNECTION, collection("zoo", vector=None, vectors=dense, sparseVectors=sparse))

    assert answer.code == UNRESOLVED
    assert "spec.vectors[1].datatype" in answer.out
    assert "spec.sparseVectors[1].embedder" in answer.out


def test_invalid_manifests_are_refused_before_any_model_is_looked_for(shell, models):
    answer = schema(shell, models, CONNECTION, embedded("zoo", size=384))

    assert answer.code == WRONG
    assert "exactly one of size, embedder is required" in answer.err


def test_points_and_their_texts_are_left_out(shell, models):
    answer = schema(shell, models, CONNECTION, collection("zoo"), point_set("animals", "zoo", {1: [1, 0]}))

    assert answer.code == RESOLVED
    assert "animals" not in answer.out


def test_collections_of_two_namespaces_are_told_apart(shell, models):
    other = embedded("zoo").replace("name: zoo", "name: zoo\n  namespace: park", 1)

    answer = schema(shell, models, CONNECTION, embedded("zoo"), other)

    assert [line.split()[0] for line in answer.out.splitlines()[1:]] == ["default/zoo", "park/zoo"]


def test_the_model_folder_and_offline_can_be_variables(shell, models):
    shell.write("all.yaml", CONNECTION, embedded("zoo"))
    variables = {"VECTOROPS_MODEL_FOLDER": str(models), "VECTOROPS_OFFLINE": "true"}

    assert shell.run("schema", "-f", "all.yaml", environment=variables).code == RESOLVED


def test_a_model_folder_that_does_not_exist_is_wrong_usage(shell, models):
    shell.write("all.yaml", CONNECTION, embedded("zoo"))

    answer = shell.run("schema", "-f", "all.yaml", "--model-folder", "nowhere")

    assert answer.code == WRONG
    assert "--model-folder" in answer.err


def test_neither_help_nor_a_schema_needs_the_libraries_that_run_models(shell, models):
    """They take seconds to import, and most environments do not have them."""
    for library in ("torch", "sentence_transformers", "transformers", "fastembed"):
        (shell.folder / f"{library}.py").write_text("raise ImportError")

    assert shell.run("--help").code == RESOLVED
    assert schema(shell, models, CONNECTION, embedded("zoo")).code == RESOLVED

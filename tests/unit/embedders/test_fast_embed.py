"""What a model of fastembed is resolved to: by the table, and by where its files are."""

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from vectorops.api.embedder import FastEmbedEmbedder
from vectorops.api.reasons import Reason
from vectorops.embedders import fast_embed
from vectorops.embedders.base import FOLDER_REVISION, EmbedderSettings, Resolved
from vectorops.embedders.fast_embed import FastEmbed, find_model, supported_models
from vectorops.embedders.files import ModelFiles
from vectorops.errors import Terminal

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def provider(folder: Path) -> FastEmbed:
    settings = EmbedderSettings(model_folder=folder, offline=True)
    return FastEmbed(ModelFiles(settings), settings)


async def resolved(folder: Path, model: str, pinned: str | None = None, **options: Any) -> Resolved:
    spec = FastEmbedEmbedder.model_validate({"model": model, **options})
    return await provider(folder).resolve(spec, pinned=pinned, api_key=None)


def put(folder: Path, place: str, model: str) -> None:
    """Files of the names that fastembed needs, that nobody could run."""
    for name in find_model(model).files:
        file = folder / place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)


@pytest.mark.skipif(importlib.util.find_spec("fastembed") is None, reason="needs the extra fastembed")
def test_the_table_is_what_the_installed_library_lists():
    """If it fails: `python -m vectorops.embedders.fast_embed`, and look at what changed."""
    stored = json.loads(Path(fast_embed.__file__).with_name("tables").joinpath("fastembed.json").read_text())
    assert stored["version"] == version("fastembed")
    assert stored["models"] == fast_embed.list_library()


def test_every_model_of_the_table_makes_sense():
    models = supported_models().models.values()
    assert len(models) > 40
    assert {model.kind for model in models} == {"dense", "sparse", "multivector"}
    assert all((model.size is None) == (model.kind == "sparse") for model in models)
    assert all(model.kind == "sparse" for model in models if model.idf)
    assert all(model.files for model in models)


@pytest.mark.parametrize(
    ("model", "kind", "size", "modifier"),
    [
        (MINILM, "dense", 384, None),
        ("BAAI/bge-small-en-v1.5", "dense", 384, None),
        ("Qdrant/bm25", "sparse", None, "idf"),
        ("prithivida/Splade_PP_en_v1", "sparse", None, None),
        ("colbert-ir/colbertv2.0", "multivector", 128, None),
    ],
)
async def test_a_model_is_resolved_by_the_table(model, kind, size, modifier, tmp_path):
    put(tmp_path, find_model(model).repository, model)
    found = await resolved(tmp_path, model)
    assert (found.kind, found.size, found.modifier, found.distance) == (kind, size, modifier, None)
    assert found.revision.startswith(FOLDER_REVISION)
    assert "fastembed" in found.sources["kind"]
    assert ("size" in found.sources) == (size is not None)


async def test_a_name_is_told_apart_by_its_letters_and_not_by_their_case(tmp_path):
    put(tmp_path, "Qdrant/bm25", "Qdrant/bm25")
    assert (await resolved(tmp_path, "qdrant/BM25")).model == "Qdrant/bm25"


async def test_declared_prompts_are_taken(tmp_path):
    put(tmp_path, "Qdrant/bm25", "Qdrant/bm25")
    found = await resolved(tmp_path, "Qdrant/bm25", prompts={"document": "d ", "query": "q "})
    assert (found.document_prompt, found.query_prompt) == ("d ", "q ")


async def test_an_unknown_model_is_told_with_what_is_near(tmp_path):
    with pytest.raises(Terminal, match="did you mean BAAI/bge-small-en") as told:
        await resolved(tmp_path, "BAAI/bge-smal-en")
    assert told.value.reason == Reason.MODEL_NOT_FOUND


async def test_a_model_unlike_all_others_is_told_without_a_guess(tmp_path):
    with pytest.raises(Terminal, match=r"is not in the list of fastembed [\d.]+ of \d{4}-\d{2}-\d{2}: use one"):
        await resolved(tmp_path, "zzzzzzzz/yyyyyyyyyyyyyyy")


async def test_a_folder_may_have_the_name_of_the_model(tmp_path):
    put(tmp_path, MINILM, MINILM)
    assert (await resolved(tmp_path, MINILM)).sources["revision"] == f"the model folder, {MINILM}"


async def test_a_folder_of_another_library_is_not_taken_for_it(tmp_path):
    """sentence-transformers has a model of the same name, in another layout."""
    (tmp_path / MINILM).mkdir(parents=True)
    (tmp_path / MINILM / "model.safetensors").touch()
    with pytest.raises(Terminal, match="Qdrant/all-MiniLM-L6-v2-onnx") as told:
        await resolved(tmp_path, MINILM)
    assert told.value.reason == Reason.MODEL_NOT_FOUND


async def test_the_folder_of_the_repository_comes_first(tmp_path):
    put(tmp_path, MINILM, MINILM)
    put(tmp_path, "Qdrant/all-MiniLM-L6-v2-onnx", MINILM)
    found = await resolved(tmp_path, MINILM)
    assert found.sources["revision"] == "the model folder, Qdrant/all-MiniLM-L6-v2-onnx"


async def test_a_folder_without_a_file_is_told_with_its_name(tmp_path):
    put(tmp_path, "Qdrant/bm25", "Qdrant/bm25")
    (tmp_path / "Qdrant/bm25/english.txt").unlink()
    with pytest.raises(Terminal, match=r"'english\.txt'") as told:
        await resolved(tmp_path, "Qdrant/bm25")
    assert told.value.reason == Reason.MODEL_NOT_FOUND


async def test_changed_files_are_another_revision(tmp_path):
    put(tmp_path, "Qdrant/bm25", "Qdrant/bm25")
    first = await resolved(tmp_path, "Qdrant/bm25")
    (tmp_path / "Qdrant/bm25/english.txt").write_text("other stop words")
    second = await resolved(tmp_path, "Qdrant/bm25", pinned=first.revision)
    assert second.revision != first.revision
    assert second.identity != first.identity


async def test_a_model_that_is_nowhere_is_told(tmp_path):
    with pytest.raises(Terminal, match="Qdrant/bm25") as told:
        await resolved(tmp_path, "Qdrant/bm25")
    assert told.value.reason == Reason.MODEL_NOT_FOUND


def test_resolving_imports_no_heavy_library():
    program = (
        "import sys; from vectorops.embedders.fast_embed import find_model; find_model('Qdrant/bm25'); "
        "print([name for name in ('fastembed', 'onnxruntime', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

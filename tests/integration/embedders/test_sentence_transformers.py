"""Models of sentence-transformers in a child process give what the library gives by itself."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from servers import models
from vectorops.api.embedder import SentenceTransformersEmbedder
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved, TextEmbedder
from vectorops.embedders.files import ModelFiles
from vectorops.embedders.sentence_transformers import SentenceTransformers
from vectorops.errors import Terminal
from vectorops.vectors import Sparse

library = models.Library("sentence_transformers", extra="sentence-transformers")

# What the libraries warn of is their own business.
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = ["a cat sat on the mat", "of kings and cabbages, and why the sea is hot", "cat", "a cat sat on the mat"]


async def resolved(folder: Path, model: str, **options: Any) -> Resolved:
    provider = SentenceTransformers(*_given(folder))
    spec = SentenceTransformersEmbedder.model_validate({"model": model, **options})
    return await provider.resolve(spec, pinned=None, api_key=None)


@asynccontextmanager
async def opened(folder: Path, of: Resolved) -> AsyncIterator[TextEmbedder]:
    embedder = SentenceTransformers(*_given(folder)).open(of, api_key=None)
    try:
        yield embedder
    finally:
        await embedder.close()


def _given(folder: Path) -> tuple[ModelFiles, EmbedderSettings]:
    settings = EmbedderSettings(model_folder=folder, offline=True, device="cpu")
    return ModelFiles(settings), settings


def dense(embedded: EmbeddedTexts) -> list[NDArray[np.float32]]:
    """The vectors, of one row or of several."""
    vectors = [vector for vector in embedded.vectors if isinstance(vector, np.ndarray)]
    assert len(vectors) == len(embedded.vectors)
    return vectors


def cosine(one: Any, other: Any) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


async def test_the_real_minilm_gives_what_it_gives_without_us(sentence_models):
    expected = library.SentenceTransformer(str(models.minilm_files()), device="cpu").encode(TEXTS)
    async with opened(sentence_models, await resolved(sentence_models, models.MINILM)) as embedder:
        vectors = dense(await embedder.embed(TEXTS))
    for vector, wanted in zip(vectors, expected, strict=True):
        assert vector.shape == (384,)
        assert vector.dtype == np.float32
        assert cosine(vector, wanted) > 0.9999


async def test_what_is_longer_than_the_model_reads_is_counted(sentence_models):
    fits, long = "word " * 254, "word " * 255
    async with opened(sentence_models, await resolved(sentence_models, models.MINILM)) as embedder:
        embedded = await embedder.embed([fits, long, long + "more", "short"])
    assert embedded.truncated == 2
    vectors = dense(embedded)
    assert np.array_equal(vectors[1], vectors[2])


async def test_dimensions_are_kept_from_the_beginning(sentence_models):
    expected = library.SentenceTransformer(str(models.minilm_files()), device="cpu").encode(TEXTS)
    async with opened(sentence_models, await resolved(sentence_models, models.MINILM, dimensions=100)) as embedder:
        vectors = dense(await embedder.embed(TEXTS))
    assert vectors[0].shape == (100,)
    assert cosine(vectors[0], expected[0][:100]) > 0.9999


@pytest.mark.parametrize(
    ("prompts", "prompt"),
    [(None, "d "), ({"document": "x "}, "x "), ({"document": ""}, "")],
)
async def test_the_document_prompt_is_what_was_locked(prompts, prompt, sentence_models):
    of = await resolved(sentence_models, "tiny/dense", **({"prompts": prompts} if prompts else {}))
    direct = library.SentenceTransformer(str(sentence_models / "tiny/dense"), device="cpu")
    async with opened(sentence_models, of) as embedder:
        vectors = dense(await embedder.embed(["some text"]))
    assert cosine(vectors[0], direct.encode(f"{prompt}some text")) > 0.9999
    assert cosine(vectors[0], direct.encode("q some text")) < 0.9999


@pytest.mark.parametrize(
    ("prompts", "prompt"),
    [(None, "q "), ({"query": "x "}, "x "), ({"query": ""}, "")],
)
async def test_queries_get_the_query_prompt(prompts, prompt, sentence_models):
    of = await resolved(sentence_models, "tiny/dense", **({"prompts": prompts} if prompts else {}))
    direct = library.SentenceTransformer(str(sentence_models / "tiny/dense"), device="cpu")
    async with opened(sentence_models, of) as embedder:
        (vector,) = dense(await embedder.embed_queries(["some text"], of))
    assert cosine(vector, direct.encode(f"{prompt}some text")) > 0.9999


async def test_queries_of_a_multi_vector_model_are_what_the_library_makes(sentence_models):
    of = await resolved(sentence_models, "tiny/multivector")
    direct = library.MultiVectorEncoder(str(sentence_models / "tiny/multivector"), device="cpu")
    expected = direct.encode_query(["a cat"], convert_to_numpy=True)[0]
    async with opened(sentence_models, of) as embedder:
        (vector,) = dense(await embedder.embed_queries(["a cat"], of))
    assert np.allclose(vector, expected, atol=1e-5)


async def test_a_sparse_model_gives_indices_in_order(sentence_models):
    direct = library.SparseEncoder(str(sentence_models / "tiny/sparse"), device="cpu")
    expected = direct.encode_document(TEXTS, convert_to_sparse_tensor=False).cpu().numpy()
    async with opened(sentence_models, await resolved(sentence_models, "tiny/sparse")) as embedder:
        embedded = await embedder.embed(TEXTS)
    for vector, row in zip(embedded.vectors, expected, strict=True):
        assert isinstance(vector, Sparse)
        assert (vector.indices.dtype.name, vector.values.dtype.name) == ("uint32", "float32")
        assert np.array_equal(vector.indices, np.flatnonzero(row))
        assert np.allclose(vector.values, row[row != 0], atol=1e-5)


async def test_a_multi_vector_model_gives_a_row_for_each_token(sentence_models):
    direct = library.MultiVectorEncoder(str(sentence_models / "tiny/multivector"), device="cpu")
    expected = direct.encode_document(TEXTS, convert_to_numpy=True)
    of = await resolved(sentence_models, "tiny/multivector")
    async with opened(sentence_models, of) as embedder:
        vectors = dense(await embedder.embed(TEXTS))
    for vector, wanted in zip(vectors, expected, strict=True):
        assert vector.shape == wanted.shape
        assert vector.shape[1] == of.size
        assert np.allclose(vector, wanted, atol=1e-5)


async def refused(folder: Path, of: Resolved) -> Terminal:
    """What is said when the model cannot be loaded, though resolution would have let it through."""

    class Anything(ModelFiles):
        async def fetch(self, model: str, revision: str, patterns: Sequence[str]) -> Path:
            return folder / model

    settings = EmbedderSettings(model_folder=folder, device="cpu")
    embedder = SentenceTransformers(Anything(settings), settings).open(of, api_key=None)
    try:
        with pytest.raises(Terminal) as told:
            await embedder.embed(["a"])
    finally:
        await embedder.close()
    assert str(folder) not in told.value.message
    return told.value


@pytest.fixture
def copied(sentence_models: Path, tmp_path: Path) -> Path:
    """The tiny dense model, to be spoiled."""
    shutil.copytree(sentence_models / "tiny/dense", tmp_path / "tiny/dense")
    return tmp_path


TINY = Resolved({}, "sentenceTransformers", "tiny/dense", "dense", models.TINY_SIZE)


async def test_pickled_weights_are_never_loaded(copied):
    import torch
    from safetensors.torch import load_file

    weights = copied / "tiny/dense/model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()

    error = await refused(copied, TINY)

    assert error.reason == Reason.MODEL_REFUSED
    assert "safetensors" in error.message


async def test_pickled_weights_of_a_module_are_never_loaded(copied):
    """transformers is told not to; the library's own modules would."""
    import torch
    from safetensors.torch import load_file
    from sentence_transformers.sentence_transformer.modules import Dense

    folder = copied / "tiny/dense"
    direct = library.SentenceTransformer(str(folder), device="cpu")
    direct.append(Dense(models.TINY_SIZE, models.TINY_SIZE))
    direct.save_pretrained(str(folder))
    weights = folder / "2_Dense/model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()

    assert (await refused(copied, TINY)).reason == Reason.MODEL_REFUSED


async def test_code_of_a_model_is_never_run(copied):
    folder = copied / "tiny/dense"
    (folder / "modeling_own.py").write_text(f"open({str(copied / 'ran')!r}, 'w')\n")
    code = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    models.rewrite(folder / "config.json", auto_map=code, model_type="own")

    error = await refused(copied, TINY)

    assert error.reason == Reason.MODEL_REFUSED
    assert "its own code" in error.message
    assert not (copied / "ran").exists()


async def test_a_module_of_another_package_is_never_imported(copied):
    folder = copied / "tiny/dense"
    (folder / "own.py").write_text(f"open({str(copied / 'ran')!r}, 'w')\n")
    listed = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(
        listed.replace(".modules.pooling.Pooling", "").replace('"type": "', '"type": "own.')
    )

    assert (await refused(copied, TINY)).reason == Reason.MODEL_REFUSED
    assert not (copied / "ran").exists()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["tokenizer.json"], Reason.EMBEDDER_FAILED),
        (["tokenizer.json", "tokenizer_config.json"], Reason.MODEL_NOT_FOUND),
        (["model.safetensors"], Reason.MODEL_REFUSED),
        (["config.json"], Reason.EMBEDDER_FAILED),
    ],
)
async def test_a_folder_without_some_file_is_told_in_words(names, reason, copied):
    """Without any file of a tokenizer, the library would take every word for the same unknown one, and say nothing."""
    for name in names:
        (copied / "tiny/dense" / name).unlink()

    error = await refused(copied, TINY)

    assert error.reason == reason
    assert error.message.startswith("model tiny/dense: ")


async def test_a_device_that_is_not_there_is_told_in_words(sentence_models):
    settings = EmbedderSettings(model_folder=sentence_models, offline=True, device="xpu:7")
    of = await resolved(sentence_models, "tiny/dense")
    embedder = SentenceTransformers(ModelFiles(settings), settings).open(of, api_key=None)
    with pytest.raises(Terminal, match="model tiny/dense"):
        await embedder.embed(["a"])
    await embedder.close()


async def test_a_model_of_another_size_than_was_locked_is_refused(sentence_models):
    of = replace(await resolved(sentence_models, "tiny/dense"), size=17)
    async with opened(sentence_models, of) as embedder:
        with pytest.raises(Terminal, match="size 16") as told:
            await embedder.embed(["a"])
    assert told.value.reason == Reason.EMBEDDER_MISMATCH

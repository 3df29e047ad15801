"""Models of fastembed in a child process give what the library gives by itself. None is downloaded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servers import models
from vectorops.api.embedder import FastEmbedEmbedder
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved, TextEmbedder
from vectorops.embedders.fast_embed import FastEmbed
from vectorops.embedders.files import ModelFiles
from vectorops.errors import Terminal
from vectorops.vectors import Sparse

fastembed = models.Library("fastembed", extra="fastembed")

TEXTS = ["The cat sat on the mat", "of kings and cabbages, and why the sea is hot", "cat", "The cat sat on the mat"]


@asynccontextmanager
async def opened(folder: Path, model: str, **options: Any) -> AsyncIterator[TextEmbedder]:
    settings = EmbedderSettings(model_folder=folder, offline=True, threads=1)
    provider = FastEmbed(ModelFiles(settings), settings)
    spec = FastEmbedEmbedder.model_validate({"model": model, **options})
    embedder = provider.open(await provider.resolve(spec, pinned=None, api_key=None), api_key=None)
    try:
        yield embedder
    finally:
        await embedder.close()


def rows(embedded: EmbeddedTexts) -> Any:
    return np.stack([vector for vector in embedded.vectors if isinstance(vector, np.ndarray)])


async def test_the_real_minilm_gives_what_it_gives_without_us(fast_models):
    folder = str(fast_models / models.MINILM_FOR_FASTEMBED)
    expected = list(fastembed.TextEmbedding(models.MINILM, specific_model_path=folder).passage_embed(TEXTS))
    async with opened(fast_models, models.MINILM) as embedder:
        found = rows(await embedder.embed(TEXTS))
    assert found.shape == (4, 384)
    assert np.allclose(found, expected, atol=1e-5)


async def test_a_declared_prompt_is_put_before_each_text(fast_models):
    async with opened(fast_models, models.MINILM) as plain:
        expected = rows(await plain.embed(["passage: cat"]))
    async with opened(fast_models, models.MINILM, prompts={"document": "passage: "}) as embedder:
        found = rows(await embedder.embed(["cat"]))
    assert np.allclose(found, expected, atol=1e-5)


async def test_queries_of_bm25_weigh_each_word_alike(fast_models):
    direct = fastembed.SparseTextEmbedding(models.BM25, specific_model_path=str(fast_models / models.BM25))
    (expected,) = direct.query_embed("kings and cabbages and kings")
    async with opened(fast_models, models.BM25) as embedder:
        resolved = Resolved({}, "fastEmbed", models.BM25, "sparse", None)
        (vector,) = (await embedder.embed_queries(["kings and cabbages and kings"], resolved)).vectors
    assert isinstance(vector, Sparse)
    assert vector.indices.tolist() == sorted(expected.indices.tolist())
    assert set(vector.values.tolist()) == {1.0}


async def test_what_is_longer_than_the_model_reads_is_counted(fast_models):
    async with opened(fast_models, models.MINILM) as embedder:
        embedded = await embedder.embed(["word " * 2000, "cat", "word " * 3000])
    found = rows(embedded)
    assert embedded.truncated == 2
    assert np.allclose(found[0], found[2], atol=1e-5)


async def test_bm25_weighs_words_but_no_stop_words(fast_models):
    direct = fastembed.SparseTextEmbedding(models.BM25, specific_model_path=str(fast_models / models.BM25))
    expected = list(direct.passage_embed(TEXTS))
    async with opened(fast_models, models.BM25) as embedder:
        embedded = await embedder.embed([*TEXTS, "the of a is"])
    for vector, wanted in zip(embedded.vectors, expected, strict=False):
        assert isinstance(vector, Sparse)
        assert vector.indices.tolist() == sorted(wanted.indices.tolist())
        assert np.allclose(vector.values, wanted.values[np.argsort(wanted.indices)])
    empty = embedded.vectors[-1]
    assert isinstance(empty, Sparse)
    assert len(empty.indices) == 0
    assert embedded.truncated == 0


async def test_a_splade_gives_indices_in_order(fast_models):
    model, folder = "prithivida/Splade_PP_en_v1", str(fast_models / "Qdrant/Splade_PP_en_v1")
    expected = list(fastembed.SparseTextEmbedding(model, specific_model_path=folder).passage_embed(TEXTS))
    async with opened(fast_models, model) as embedder:
        embedded = await embedder.embed(TEXTS)
    for vector, wanted in zip(embedded.vectors, expected, strict=True):
        assert isinstance(vector, Sparse)
        assert len(vector.indices) > 0
        assert vector.indices.tolist() == sorted(wanted.indices.tolist())
        assert np.allclose(vector.values, wanted.values[np.argsort(wanted.indices)], atol=1e-5)


async def test_late_interaction_gives_a_row_for_each_token(fast_models):
    model = "answerdotai/answerai-colbert-small-v1"
    direct = fastembed.LateInteractionTextEmbedding(model, specific_model_path=str(fast_models / model))
    expected = list(direct.passage_embed(TEXTS))
    async with opened(fast_models, model) as embedder:
        embedded = await embedder.embed(TEXTS)
    for vector, wanted in zip(embedded.vectors, expected, strict=True):
        assert isinstance(vector, np.ndarray)
        assert vector.shape == wanted.shape
        assert vector.shape[1] == 96
        assert np.allclose(vector, wanted, atol=1e-5)


async def test_a_file_that_is_no_model_is_told_in_words(fast_models, tmp_path):
    place = tmp_path / models.MINILM_FOR_FASTEMBED
    place.parent.mkdir(parents=True)
    place.mkdir()
    for file in (fast_models / models.MINILM_FOR_FASTEMBED).iterdir():
        (place / file.name).symlink_to(file)
    (place / "model.onnx").unlink()
    (place / "model.onnx").write_text("no model")
    async with opened(tmp_path, models.MINILM) as embedder:
        with pytest.raises(Terminal) as told:
            await embedder.embed(["a"])
    assert told.value.reason == Reason.EMBEDDER_FAILED
    assert str(tmp_path) not in told.value.message

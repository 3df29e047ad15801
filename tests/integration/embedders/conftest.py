"""Model folders for tests with the real libraries, made once for all of them."""

from pathlib import Path

import pytest

from servers import models


@pytest.fixture(scope="session")
def sentence_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the real all-MiniLM-L6-v2, and tiny dense, sparse and multi-vector models."""
    pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")
    folder = tmp_path_factory.mktemp("sentence-models")
    models.minilm(folder)
    models.tiny_dense(folder, prompts={"query": "q ", "document": "d "})
    models.tiny_sparse(folder)
    models.tiny_multivector(folder)
    return folder


@pytest.fixture(scope="session")
def fast_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the real all-MiniLM-L6-v2 as ONNX, BM25, and tiny ones in the place of a SPLADE and of a ColBERT."""
    pytest.importorskip("fastembed", reason="needs the extra fastembed")
    pytest.importorskip("torch", reason="torch writes the ONNX file")
    folder = tmp_path_factory.mktemp("fast-models")
    models.minilm_for_fastembed(folder)
    models.bm25(folder)
    models.tiny_for_fastembed(folder, "prithivida/Splade_PP_en_v1", masked=True)
    models.tiny_for_fastembed(folder, "answerdotai/answerai-colbert-small-v1", masked=False)
    return folder

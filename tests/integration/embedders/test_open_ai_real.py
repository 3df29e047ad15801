"""The real all-MiniLM-L6-v2 behind a server that speaks OpenAI's API: the same vectors as from the library."""

import numpy as np
import pytest

from servers.embeddings import EmbeddingServer
from servers.models import minilm_files
from vectorops.api.embedder import Embedder
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders

TEXTS = [
    f"Question {number}: how is a {thing} repaired?"
    for number in range(50)
    for thing in ("car", "roof", "clock", "boat")
]


@pytest.fixture(scope="module")
def minilm():
    library = pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")
    return library.SentenceTransformer(str(minilm_files()), device="cpu")


@pytest.fixture
async def embedders():
    embedders = Embedders(EmbedderSettings())
    yield embedders
    await embedders.close()


async def test_200_texts_get_the_vectors_that_the_model_gives(minilm, embedders):
    declared = {"openAI": {"model": "sentence-transformers/all-MiniLM-L6-v2"}}
    with EmbeddingServer(lambda texts: minilm.encode(texts, show_progress_bar=False)) as server:
        declared["openAI"]["baseURL"] = server.base_url

        resolved = await embedders.resolve(Embedder.model_validate(declared))
        embedded = await embedders.embed(resolved, TEXTS)

        assert sorted(server.texts) == sorted(["word", *TEXTS])
    assert (resolved.kind, resolved.size, resolved.base_url) == ("dense", 384, server.base_url)
    expected = minilm.encode(TEXTS, show_progress_bar=False)
    # Padding within another batch moves the last bits.
    np.testing.assert_allclose(np.stack(embedded.vectors), expected, atol=1e-5)

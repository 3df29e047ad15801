"""What small files say of a model is what sentence-transformers does with it: tiny models with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servers.models import Library
from unit.embedders.real_models import resolve

library = Library("sentence_transformers", extra="sentence-transformers")

pytestmark = pytest.mark.filterwarnings("default")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "hello", "world"]
CLASSES = {"dense": "SentenceTransformer", "sparse": "SparseEncoder", "multivector": "MultiVectorEncoder"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A BERT of 16 components, with and without the head that SPLADE needs."""
    from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast, T5Config, T5EncoderModel

    folder: Path = tmp_path_factory.mktemp("tiny")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **shape)
    t5 = T5Config(vocab_size=len(WORDS), d_model=24, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    for name, model in {"bert": BertModel(config), "mlm": BertForMaskedLM(config), "t5": T5EncoderModel(t5)}.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def modules(*made: Callable[[Any, Any], Any], **options: Any) -> Callable[[Path], Any]:
    """A dense model of modules; each is made of the package of modules and the transformer's folder."""

    def build(tiny: Path) -> Any:
        from sentence_transformers.sentence_transformer import modules as package

        return library.SentenceTransformer(modules=[make(package, tiny) for make in made], device="cpu", **options)

    return build


def transformer(package: Any, tiny: Path) -> Any:
    return package.Transformer(str(tiny / "bert"))


def pooling(*modes: str) -> Callable[[Any, Path], Any]:
    return lambda package, _: package.Pooling(16, list(modes))


def normalize(package: Any, _: Path) -> Any:
    return package.Normalize()


def static(size: int) -> Callable[[Any, Path], Any]:
    def make(package: Any, tiny: Path) -> Any:
        from transformers import AutoTokenizer

        return package.StaticEmbedding(AutoTokenizer.from_pretrained(str(tiny / "bert")), embedding_dim=size)

    return make


MODELS: dict[str, Callable[[Path], Any]] = {
    "mean": modules(transformer, pooling("mean")),
    "two-modes": modules(transformer, pooling("mean", "cls"), normalize),
    "dense": modules(
        transformer,
        pooling("cls"),
        lambda package, _: package.Dense(16, 7),
        normalize,
        prompts={"query": "q: ", "passage": "p: "},
        similarity_fn_name="dot",
    ),
    "layer-norm": modules(
        transformer,
        pooling("mean"),
        lambda package, _: package.LayerNorm(16),
        prompts={"query": "q: ", "document": "d: "},
        default_prompt_name="query",
        similarity_fn_name="manhattan",
    ),
    "truncated": modules(transformer, pooling("cls"), normalize, truncate_dim=5),
    "static": modules(static(9)),
    "static-normalized": modules(static(9), normalize),
    "routes": modules(
        lambda package, tiny: package.Router.for_query_document(
            query_modules=[static(16)(package, tiny)],
            document_modules=[transformer(package, tiny), pooling("mean")(package, tiny)],
        )
    ),
    "bare": lambda tiny: library.SentenceTransformer(str(tiny / "bert"), device="cpu")[0].model,
    "t5": lambda tiny: library.SentenceTransformer(str(tiny / "t5"), device="cpu")[0].model,
    "splade": lambda tiny: library.SparseEncoder(str(tiny / "mlm"), device="cpu"),
    "tokens": lambda tiny: library.MultiVectorEncoder(
        str(tiny / "bert"), device="cpu", prompts={"query": "[Q] ", "document": "[D] "}
    ),
}


@pytest.mark.parametrize("name", MODELS)
async def test_a_schema_is_what_the_library_gives(name, tiny, tmp_path):
    made = MODELS[name](tiny)
    made.save_pretrained(str(tmp_path / name))
    if name in ("bare", "t5"):
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name / file).write_bytes((tiny / "bert" / file).read_bytes())

    found = await resolve(tmp_path, name)

    model = getattr(library, CLASSES[found.kind])(str(tmp_path / name), device="cpu", local_files_only=True)
    text = "hello world"
    as_document = _numbers(model.encode_document([text])[0])
    as_locked = _numbers(model.encode_document([text], prompt=found.document_prompt)[0])
    assert np.array_equal(as_document, as_locked)
    query = _numbers(model.encode_query([text])[0])
    assert np.array_equal(query, _numbers(model.encode_query([text], prompt=found.query_prompt)[0]))
    if found.kind != "sparse":
        lengths = np.linalg.norm(as_document, axis=-1)
        assert as_document.shape[-1] == found.size
        assert found.normalized == bool(np.allclose(lengths, 1, atol=1e-4))
    if found.distance is not None:
        assert model.similarity_fn_name == found.distance.lower()


def _numbers(vector: Any) -> Any:
    if not hasattr(vector, "numpy"):
        return np.asarray(vector)
    return (vector.to_dense() if vector.is_sparse else vector).cpu().numpy()

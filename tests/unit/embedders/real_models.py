"""Files as sentence-transformers writes them, made from the figures of real models in `real_models.yaml`.

Also for other tests that need a model's small files. `table()` has a line for each model: what it resolves to, and from
which file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from vectorops.api.embedder import SentenceTransformersEmbedder
from vectorops.embedders.base import EmbedderSettings, Resolved
from vectorops.embedders.files import ModelFiles
from vectorops.embedders.sentence_transformers import SentenceTransformers
from vectorops.errors import Terminal

Contents = dict[str, bytes]
Row = Mapping[str, Any]

ROWS: Final[Sequence[Row]] = yaml.safe_load(Path(__file__).with_name("real_models.yaml").read_text())

OLD: Final = 2
NEW: Final = 6
TYPES: Final = {
    "Transformer": "base.modules.transformer",
    "Dense": "base.modules.dense",
    "Normalize": "base.modules.normalize",
    "Router": "base.modules.router",
    "Pooling": "sentence_transformer.modules.pooling",
    "CLIPModel": "sentence_transformer.modules.clip_model",
    "StaticEmbedding": "sentence_transformer.modules.static_embedding",
    "MLMTransformer": "sparse_encoder.modules.mlm_transformer",
    "SpladePooling": "sparse_encoder.modules.splade_pooling",
    "SparseStaticEmbedding": "sparse_encoder.modules.sparse_static_embedding",
}


def type_of(module: str, library: int) -> str:
    """The class of a module as version 2 to 5, or 6, of the library names it."""
    return (
        f"sentence_transformers.{TYPES[module]}.{module}"
        if library >= NEW
        else f"sentence_transformers.models.{module}"
    )


def modules_json(modules: Sequence[tuple[str, str]], library: int = OLD) -> bytes:
    """modules: type and folder of each. A type with a dot stands as it is."""
    return as_json(
        [
            {"idx": n, "name": str(n), "path": path, "type": module if "." in module else type_of(module, library)}
            for n, (module, path) in enumerate(modules)
        ]
    )


def pooling_json(size: int, modes: Sequence[str], library: int = OLD) -> bytes:
    if library >= NEW:
        return as_json({"embedding_dimension": size, "pooling_mode": modes[0] if len(modes) == 1 else list(modes)})
    keys = {
        "cls": "pooling_mode_cls_token",
        "mean": "pooling_mode_mean_tokens",
        "max": "pooling_mode_max_tokens",
        "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
        "lasttoken": "pooling_mode_lasttoken",
    }
    return as_json({"word_embedding_dimension": size, **{key: mode in modes for mode, key in keys.items()}})


def safetensors(**shapes: Sequence[int]) -> bytes:
    """The header of a file, without the numbers. Names: with __ in place of a dot."""
    header = {
        name.replace("__", "."): {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }
    return len(as_json(header)).to_bytes(8, "little") + as_json(header)


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def files_of(row: Row, library: int) -> Contents:
    """All files of a model that matter, as one version of the library writes them."""
    return LAYOUTS[row.get("layout", "modules")](row, library)


def _transformer(row: Row, **more: Any) -> Contents:
    config = {
        "architectures": [row.get("architecture", "BertModel")],
        row.get("hidden_as", "hidden_size"): row["hidden"],
    }
    return {"config.json": as_json(config | more), "model.safetensors": safetensors(), "tokenizer.json": b"{}"}


def _settings(row: Row, **more: Any) -> Contents:
    said = {"prompts": row.get("prompts", {}), "default_prompt_name": None, "similarity_fn_name": row.get("similarity")}
    return {"config_sentence_transformers.json": as_json(said | more)}


def _modules(row: Row, library: int) -> Contents:
    mode = row.get("pooling", "mean")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    files = _transformer(row) | _settings(row) | {"1_Pooling/config.json": pooling_json(row["hidden"], [mode], library)}
    size = row["hidden"]
    for out in row.get("dense", ()):
        folder = f"{len(modules)}_Dense"
        modules.append(("Dense", folder))
        files[f"{folder}/config.json"] = as_json({"in_features": size, "out_features": out, "bias": True})
        files[f"{folder}/model.safetensors"] = safetensors()
        size = out
    if row.get("normalize"):
        modules.append(("Normalize", f"{len(modules)}_Normalize"))
    return files | {"modules.json": modules_json(modules, library)}


def _clip(row: Row, library: int) -> Contents:
    config = {"architectures": ["CLIPModel"], "projection_dim": row["hidden"], "text_config": {"hidden_size": 7}}
    return _settings(row) | {
        "modules.json": modules_json([("CLIPModel", "0_CLIPModel")], library),
        "0_CLIPModel/config.json": as_json(config),
        "0_CLIPModel/model.safetensors": safetensors(),
    }


def _static(row: Row, library: int) -> Contents:
    # The library gives a folder to the module, model2vec the root.
    folder = "0_StaticEmbedding" if row["tensor"] == "embedding.weight" else "."
    modules = [("StaticEmbedding", folder), *([("Normalize", "1_Normalize")] if row.get("normalize") else [])]
    prefix = "" if folder == "." else f"{folder}/"
    return _settings(row) | {
        "modules.json": modules_json(modules, library),
        f"{prefix}model.safetensors": safetensors(**{row["tensor"].replace(".", "__"): (29528, row["hidden"])}),
        f"{prefix}tokenizer.json": b"{}",
    }


def _splade(row: Row, library: int) -> Contents:
    modules = [("MLMTransformer", ""), ("SpladePooling", "1_SpladePooling")]
    return (
        _transformer(row, architectures=["BertForMaskedLM"])
        | _settings(row, model_type="SparseEncoder")
        | {"modules.json": modules_json(modules, library), "1_SpladePooling/config.json": b"{}"}
    )


def _routed_splade(row: Row, library: int) -> Contents:
    inner = {
        "query_0_SparseStaticEmbedding": "SparseStaticEmbedding",
        "document_0_MLMTransformer": "MLMTransformer",
        "document_1_SpladePooling": "SpladePooling",
    }
    routes = {
        "types": {name: type_of(module, library) for name, module in inner.items()},
        "structure": {
            "query": ["query_0_SparseStaticEmbedding"],
            "document": ["document_0_MLMTransformer", "document_1_SpladePooling"],
        },
        "parameters": {"default_route": "document", "allow_empty_key": True},
    }
    document = {f"document_0_MLMTransformer/{name}": content for name, content in _transformer(row).items()}
    return (
        document
        | _settings(row, model_type="SparseEncoder")
        | {
            "modules.json": modules_json([("Router", "")], library),
            "router_config.json": as_json(routes),
            "query_0_SparseStaticEmbedding/model.safetensors": safetensors(),
            "query_0_SparseStaticEmbedding/config.json": b"{}",
            "document_1_SpladePooling/config.json": b"{}",
        }
    )


def _pylate(row: Row, library: int) -> Contents:
    """As PyLate 1 wrote it; its marks stand beside the prompts."""
    (size,) = row["dense"]
    marks = {f"{side}_prefix": mark for side, mark in row["prompts"].items()}
    return (
        _transformer(row)
        | _settings(row, model_type="ColBERT", similarity_fn_name="MaxSim", prompts={}, **marks)
        | {
            "modules.json": modules_json([("Transformer", ""), ("pylate.models.Dense.Dense", "1_Dense")], library),
            "1_Dense/config.json": as_json({"in_features": row["hidden"], "out_features": size, "bias": False}),
            "1_Dense/model.safetensors": safetensors(),
        }
    )


def _stanford(row: Row, library: int) -> Contents:
    (size,) = row["dense"]
    return _transformer(row, architectures=["HF_ColBERT"]) | {
        "artifact.metadata": as_json({"dim": size, "query_token_id": "[unused0]", "doc_token_id": "[unused1]"}),
        "model.safetensors": safetensors(bert__embeddings=(30522, row["hidden"]), linear__weight=(size, row["hidden"])),
    }


def _retriever(row: Row, library: int) -> Contents:
    config = {"architectures": [row["architecture"]], "embedding_dim": row["hidden"], "text_config": {"hidden_size": 7}}
    return {"config.json": as_json(config), "model-00001-of-00002.safetensors": safetensors()}


def _bare(row: Row, library: int) -> Contents:
    return _transformer(row)


def _foreign(row: Row, library: int) -> Contents:
    modules = [(row["refused"], ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    return (
        _transformer(row)
        | _settings(row)
        | {
            "modules.json": modules_json(modules, library),
            "1_Pooling/config.json": pooling_json(row["hidden"], ["mean"], library),
        }
    )


LAYOUTS: Final[Mapping[str, Callable[[Row, int], Contents]]] = {
    "modules": _modules,
    "clip": _clip,
    "static": _static,
    "splade": _splade,
    "routed_splade": _routed_splade,
    "pylate": _pylate,
    "stanford": _stanford,
    "retriever": _retriever,
    "bare": _bare,
    "foreign": _foreign,
}


def write(folder: Path, files: Contents) -> Path:
    """A model folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


async def resolve(folder: Path, model: str, **declared: Any) -> Resolved:
    """A model below a model folder, as the provider resolves it; nobody else is asked."""
    settings = EmbedderSettings(model_folder=folder, offline=True)
    spec = SentenceTransformersEmbedder.model_validate({"model": model, **declared})
    return await SentenceTransformers(ModelFiles(settings), settings).resolve(spec, pinned=None, api_key=None)


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one real model. where: the file that its size comes from, or why it is refused."""

    model: str
    kind: str
    size: int | None
    distance: str | None
    normalized: bool
    where: str


async def table(folder: Path, library: int = OLD) -> list[Line]:
    """All real models, resolved from files that are written into an empty folder."""
    lines = []
    for row in ROWS:
        model = row["model"]
        write(folder / model, files_of(row, library))
        try:
            found = await resolve(folder, model)
        except Terminal as refused:
            lines.append(Line(model, "refused", None, None, normalized=False, where=refused.message))
            continue
        where = found.sources.get("size", "Qdrant needs no size")
        lines.append(Line(model, found.kind, found.size, found.distance, found.normalized, where))
    return lines

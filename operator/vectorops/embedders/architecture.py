"""The kind, size, distance and prompts of a sentence-transformers model, read from its small files.

`files_wanted` and `heads_wanted` say which files are needed, and `read_architecture` decides; nothing here does I/O.
The rules are those of the library for versions 2 to 6 of its files, so that the lock is right. Like the library, it
takes the size of the last module that has one.
"""

from __future__ import annotations

import json
import posixpath
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vectorops.api.collection import Distance
from vectorops.api.embedder import MAX_PROMPT
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.vectors import VectorKind

MODULES: Final = "modules.json"
SETTINGS: Final = "config_sentence_transformers.json"
CONFIG: Final = "config.json"
ROUTES: Final = "router_config.json"
COLBERT: Final = "artifact.metadata"
WEIGHTS: Final = "model.safetensors"

HEAD_BYTES: Final = 1 << 18
"""Most bytes of a safetensors file that are read: the header for some hundred tensors is a tenth of it."""

KINDS: Final[Mapping[str, VectorKind]] = {
    "SentenceTransformer": "dense",
    "SparseEncoder": "sparse",
    "MultiVectorEncoder": "multivector",
    # PyLate's name, from before sentence-transformers 6 adopted it.
    "ColBERT": "multivector",
}

DISTANCES: Final[Mapping[str, Distance]] = {
    "cosine": "Cosine",
    "dot": "Dot",
    "euclidean": "Euclid",
    "manhattan": "Manhattan",
}

PACKAGE: Final = "sentence_transformers."
ALIASES: Final = frozenset({"pylate.models.Dense.Dense"})
"""Types of another package that the library accepts in multi-vector models."""

POOLING_MODES: Final = (
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
)

HIDDEN_SIZES: Final = ("hidden_size", "d_model", "dim", "n_embd", "emb_dim")
"""Names of the size of a model's output in transformers' configurations: T5 and DistilBERT have their own."""

LAST_SIZES: Final = ("neck_hidden_sizes", "hidden_sizes", "embed_dims")

TRANSFORMERS: Final = frozenset({"Transformer", "CLIPModel", "MLMTransformer"})
ROUTERS: Final = frozenset({"Router", "Asym"})
SIZELESS: Final = frozenset(
    {"Normalize", "Dropout", "WordWeights", "MultiVectorMask", "HierarchicalTokenPooling", "LambdaTokenPooling"}
)
UNWEIGHTED: Final = SIZELESS | ROUTERS | {"Pooling", "SpladePooling", "BoW"}
"""Modules without weights: nothing is loaded for them."""

NORMALIZE: Final = "Normalize"
AFTER_NORMALIZE: Final = frozenset({"Dropout", "MultiVectorMask"})
"""Modules that do not change the length of a vector."""

CONFIG_FILES: Final[Mapping[str, str]] = {"CNN": "cnn_config.json", "LSTM": "lstm_config.json"}

TRANSFORMER_SETTINGS: Final = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is known of a model without its weights."""

    kind: VectorKind
    full_size: int | None
    """Components before any are cut; None for a sparse model."""
    size: int | None
    """Components that the model itself keeps."""
    distance: Distance | None
    """None if the model states none."""
    normalized: bool
    document_prompt: str
    query_prompt: str
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where kind, size and distance come from, for people."""


@dataclass(frozen=True, slots=True)
class Files:
    """A model's files, as far as they are read."""

    model: str
    names: frozenset[str]
    """Paths of all files."""
    contents: Mapping[str, Any]
    """The JSON files, by path."""
    heads: Mapping[str, bytes] = field(default_factory=dict)
    """The beginnings of safetensors files, by path."""

    def config(self, name: str) -> Config:
        """A JSON object; empty if there is no such file."""
        content = self.contents.get(name)
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise self.refused(f"{name}: no JSON object", "restore the file")
        return content

    def refused(self, what: str, todo: str = "declare `size` instead of the embedder") -> Terminal:
        """The error for files that do not describe the model."""
        return Terminal(Reason.MODEL_REFUSED, f"the model {self.model}: {what}; {todo}")

    def missing(self, name: str) -> Terminal:
        """The error for a file that is missing."""
        return Terminal(Reason.MODEL_NOT_FOUND, f"the model {self.model} has no file {name!r}: complete its files")


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a model."""

    type: str
    """The last part of the name of its class."""
    folder: str
    """Where its files are; "" for the root."""

    def file(self, name: str) -> str:
        """A file of this module as a path in the model."""
        return posixpath.join(self.folder, name)


def files_wanted(names: Iterable[str]) -> list[str]:
    """Of all files of a model, the small ones that `read_architecture` may need."""
    known = {MODULES, SETTINGS, CONFIG, ROUTES, COLBERT, *CONFIG_FILES.values(), *TRANSFORMER_SETTINGS}
    # A module is in the root or in its own folder; the modules of a router are one folder deeper.
    return sorted(name for name in names if posixpath.basename(name) in known and name.count("/") <= 2)


def modules_wanted(wanted: Iterable[str], modules: Any) -> list[str]:
    """Of the wanted files, those of modules: a repository holds other files, too.

    modules: content of modules.json; None if there is none, so that the model is in the root.
    """
    listed = [
        (str(module.get("type")), posixpath.normpath(str(module.get("path", "")))) for module in _objects(modules)
    ]
    if any(type_.rpartition(".")[2] in ROUTERS and folder == "." for type_, folder in listed):
        # Only its own configuration names the folders of its routes.
        return list(wanted)
    folders = {folder for _, folder in listed}
    return [name for name in wanted if "/" not in name or name.split("/")[0] in folders]


def heads_wanted(files: Files) -> list[str]:
    """The safetensors files whose header is needed for a size."""
    modules = _modules(files)
    if modules is None:
        return [WEIGHTS] if _is_stanford_colbert(files) and WEIGHTS in files.names else []
    static = [module for module in _with_routes(files, modules) if module.type == "StaticEmbedding"]
    return [module.file(WEIGHTS) for module in static if module.file(WEIGHTS) in files.names]


def read_architecture(files: Files) -> Architecture:
    """Raises Terminal: ModelRefused for a model that needs its own code, has only pickled weights, or is unknown;
    ModelNotFound for a missing file.
    """
    modules = _modules(files)
    if modules is None and CONFIG not in files.names:
        raise files.missing(CONFIG)
    kind, kind_source = _find_kind(files, has_modules=modules is not None)
    _check_weights(files, [Module("Transformer", "")] if modules is None else _with_routes(files, modules))
    # Without modules.json the library builds a default model, and does not read these settings.
    settings = files.config(SETTINGS) if modules is not None else {}
    sources = {"kind": kind_source}
    full_size = size = None
    if kind != "sparse":
        full_size, sources["size"] = (
            _size_without_modules(files, kind) if modules is None else _size_of_modules(files, modules)
        )
        size = full_size
        cut = settings.get("truncate_dim") if kind == "dense" else None
        if (cut := _positive_integer(cut)) is not None and cut < full_size:
            size, sources["size"] = cut, f"{SETTINGS}, truncate_dim"
    normalized = size == full_size and (
        _ends_with_normalize(modules)
        if modules is not None and settings.get("model_type") != "ColBERT"
        # PyLate and ColBERT normalized without a module for it, so the library adds one.
        else kind == "multivector"
    )
    distance = DISTANCES.get(str(settings.get("similarity_fn_name"))) if kind == "dense" else None
    if distance is not None:
        sources["distance"] = SETTINGS
    elif kind == "multivector" and not normalized:
        distance, sources["distance"] = "Dot", "MaxSim of sentence-transformers"
    document, query = _find_prompts(files, settings, kind, has_modules=modules is not None)
    return Architecture(
        kind=kind,
        full_size=full_size,
        size=size,
        distance=distance,
        normalized=normalized,
        document_prompt=document,
        query_prompt=query,
        sources=sources,
    )


def _objects(content: Any) -> list[Config]:
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []


def _modules(files: Files) -> list[Module] | None:
    """The modules in their order; None if the model has no list of them."""
    if MODULES not in files.names:
        return None
    listed = _objects(files.contents.get(MODULES))
    if not listed:
        raise files.refused(f"{MODULES}: no list of modules", "restore the file")
    return [_module(files, MODULES, str(entry.get("type")), "", str(entry.get("path", ""))) for entry in listed]


def _module(files: Files, name: str, type_: str, folder: str, path: str) -> Module:
    if not type_.startswith(PACKAGE) and type_ not in ALIASES:
        raise files.refused(
            f"{name}: the module {type_} needs its own code, which is never run", "choose another model"
        )
    within = posixpath.normpath(path)
    if within.startswith(("..", "/")):
        raise files.refused(f"{name}: the module {type_} is outside of the model, in {path!r}", "restore the file")
    return Module(type_.rpartition(".")[2], posixpath.normpath(posixpath.join(folder, within)).removeprefix("."))


def _routes(files: Files, router: Module) -> list[list[Module]]:
    """The modules of each route of a router."""
    name = next((name for name in map(router.file, (ROUTES, CONFIG)) if name in files.names), None)
    if name is None:
        raise files.missing(router.file(ROUTES))
    config = files.config(name)
    types, structure = config.get("types"), config.get("structure")
    if not isinstance(types, dict) or not isinstance(structure, dict) or not structure:
        raise files.refused(f"{name}: no `types` and `structure`")
    return [
        [_module(files, name, str(types.get(module)), router.folder, str(module)) for module in route]
        for route in structure.values()
    ]


def _with_routes(files: Files, modules: list[Module]) -> list[Module]:
    """The modules, and those inside routers."""
    inner = [route for module in modules if module.type in ROUTERS for route in _routes(files, module)]
    return [*modules, *(module for route in inner for module in route)]


def _find_kind(files: Files, *, has_modules: bool) -> tuple[VectorKind, str]:
    stated = files.config(SETTINGS).get("model_type")
    if stated is not None:
        kind = KINDS.get(str(stated))
        if kind is None:
            raise files.refused(f"{SETTINGS}: model_type {stated!r} is unknown", "choose another model")
        return kind, SETTINGS
    if _is_stanford_colbert(files) or (not has_modules and _is_retriever(files)):
        return "multivector", CONFIG
    return "dense", MODULES if has_modules else f"no {MODULES}"


def _architectures(files: Files) -> list[str]:
    stated = files.config(CONFIG).get("architectures")
    return [str(name) for name in stated] if isinstance(stated, list) else []


def _is_stanford_colbert(files: Files) -> bool:
    return "HF_ColBERT" in _architectures(files)


def _is_retriever(files: Files) -> bool:
    """ColPali and similar models of transformers, whose output is projected tokens."""
    return any(name.endswith("ForRetrieval") for name in _architectures(files))


def _check_weights(files: Files, modules: list[Module]) -> None:
    for module in modules:
        if module.type in UNWEIGHTED:
            continue
        if module.type in TRANSFORMERS:
            folder = f"{module.folder}/" if module.folder else ""
            # In one file, or in several with numbers in their names.
            safe = any(
                name.startswith(folder) and "/" not in name[len(folder) :] and name.endswith(".safetensors")
                for name in files.names
            )
        else:
            safe = module.file(WEIGHTS) in files.names
        if safe:
            continue
        pickled = any(posixpath.dirname(name) == module.folder and name.endswith(".bin") for name in files.names)
        if pickled or module.type not in TRANSFORMERS:
            raise files.refused(
                f"no safetensors file for {module.type} in {module.folder or 'its root'}, and pickled weights are "
                "never loaded: they can run code",
                "convert them, or choose another revision",
            )
        raise files.missing(module.file(WEIGHTS))


def _size_of_modules(files: Files, modules: list[Module]) -> tuple[int, str]:
    """The size of the last module that has one, and its file."""
    for module in reversed(modules):
        if module.type in SIZELESS:
            continue
        if module.type in ROUTERS:
            return _size_of_modules(files, _routes(files, module)[0])
        if module.type == "StaticEmbedding":
            return _tensor_size(files, module.file(WEIGHTS), {"embedding.weight": 1, "embeddings": 1})
        if module.type in TRANSFORMERS:
            return _transformer_size(files, module)
        rule = SIZES.get(module.type)
        if rule is None:
            raise files.refused(f"{MODULES}: the size of the module {module.type} is unknown")
        name = module.file(CONFIG_FILES.get(module.type, CONFIG))
        if name not in files.names:
            raise files.missing(name)
        size = _positive_integer(rule(files.config(name)))
        if size is None:
            raise files.refused(f"{name}: it does not have the size of {module.type} ({FIELDS[module.type]})")
        return size, name
    raise files.refused(f"{MODULES}: no module has a size")


def _size_without_modules(files: Files, kind: VectorKind) -> tuple[int, str]:
    """The size without modules.json, when the library adds a default pooling to the model."""
    if _is_stanford_colbert(files):
        if WEIGHTS in files.heads:
            return _tensor_size(files, WEIGHTS, {"linear.weight": 0})
        size = _positive_integer(files.config(COLBERT).get("dim"))
        if size is None:
            raise files.refused(f"{COLBERT}: no `dim`")
        return size, COLBERT
    if kind == "multivector" and not _is_retriever(files):
        raise files.refused(f"no {MODULES}, and no projection of its tokens", "choose another model")
    return _transformer_size(files, Module("Transformer", ""))


def _transformer_size(files: Files, module: Module) -> tuple[int, str]:
    name = module.file(CONFIG)
    if name not in files.names:
        raise files.missing(name)
    config = files.config(name)
    settings = next(
        (files.config(found) for found in map(module.file, TRANSFORMER_SETTINGS) if found in files.names), {}
    )
    architectures = config.get("architectures") or ()
    is_projected = (
        settings.get("module_output_name") == "sentence_embedding"
        or module.type == "CLIPModel"
        or any(str(architecture).endswith("CLIPModel") for architecture in architectures)
    )
    is_retrieval = settings.get("transformer_task") == "retrieval" or any(
        str(architecture).endswith("ForRetrieval") for architecture in architectures
    )
    inner = [config.get("text_config"), *(part for key, part in config.items() if key.endswith("_config"))]
    size = _positive_integer(config.get("embedding_dim")) if is_retrieval else None
    for part in (config, *inner):
        if size is None and isinstance(part, dict):
            size = _hidden_size(part, is_projected=is_projected)
    if size is None:
        raise files.refused(f"{name}: it has none of {', '.join(HIDDEN_SIZES)}")
    return size, name


def _hidden_size(config: Config, *, is_projected: bool) -> int | None:
    first = ("projection_dim", *HIDDEN_SIZES) if is_projected else HIDDEN_SIZES
    last = [config[key][-1] for key in LAST_SIZES if isinstance(config.get(key), list) and config[key]]
    candidates = [*(config.get(key) for key in first), *last, config.get("hidden_dim")]
    return next((size for size in map(_positive_integer, candidates) if size is not None), None)


def _tensor_size(files: Files, name: str, axes: Mapping[str, int]) -> tuple[int, str]:
    """The length of an axis of a tensor, from a safetensors file's header: eight bytes of length, and JSON."""
    head = files.heads.get(name)
    if head is None:
        raise files.missing(name)
    try:
        (length,) = struct.unpack("<Q", head[:8])
        header = json.loads(head[8 : 8 + length])
        for tensor, axis in axes.items():
            if tensor in header:
                return int(header[tensor]["shape"][axis]), f"{name}, {tensor}"
    except (struct.error, ValueError, TypeError, LookupError, RecursionError) as error:
        raise files.refused(f"{name}: it has no header of a safetensors file", "restore the file") from error
    raise files.refused(f"{name}: it has none of the tensors {', '.join(axes)}")


def _pooling_size(config: Config) -> int | None:
    size = _embedding_dimension(config)
    modes = config.get("pooling_mode")
    if isinstance(modes, str):
        count = 1
    elif isinstance(modes, list):
        count = len(modes)
    else:
        count = sum(config.get(mode) is True for mode in POOLING_MODES) or 1
    return size * count if size is not None else None


def _embedding_dimension(config: Config) -> int | None:
    """Under its name since version 6, or its former name."""
    return _positive_integer(config.get("embedding_dimension", config.get("word_embedding_dimension")))


def _cnn_size(config: Config) -> int | None:
    channels, kernels = _positive_integer(config.get("out_channels")), config.get("kernel_sizes")
    return channels * len(kernels) if channels is not None and isinstance(kernels, list) else None


def _lstm_size(config: Config) -> int | None:
    hidden = _positive_integer(config.get("hidden_dim"))
    return hidden * (2 if config.get("bidirectional", True) else 1) if hidden is not None else None


SIZES: Final[Mapping[str, Callable[[Config], int | None]]] = {
    "Pooling": _pooling_size,
    "Dense": lambda config: config.get("out_features"),
    "LayerNorm": lambda config: config.get("dimension"),
    "WeightedLayerPooling": _embedding_dimension,
    "CNN": _cnn_size,
    "LSTM": _lstm_size,
}

FIELDS: Final[Mapping[str, str]] = {
    "Pooling": "embedding_dimension or word_embedding_dimension",
    "Dense": "out_features",
    "LayerNorm": "dimension",
    "WeightedLayerPooling": "embedding_dimension or word_embedding_dimension",
    "CNN": "out_channels and kernel_sizes",
    "LSTM": "hidden_dim",
}


def _positive_integer(number: Any) -> int | None:
    """The number if it may be a size; JSON's `true` may not."""
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


def _ends_with_normalize(modules: list[Module]) -> bool:
    last = next((module for module in reversed(modules) if module.type not in AFTER_NORMALIZE), None)
    return last is not None and last.type == NORMALIZE


def _find_prompts(files: Files, settings: Config, kind: VectorKind, *, has_modules: bool) -> tuple[str, str]:
    """The prompts that `encode_document` and `encode_query` put before a text."""
    if not has_modules and _is_stanford_colbert(files):
        marks = files.config(COLBERT)
        return f"{marks.get('doc_token_id') or '[unused1]'} ", f"{marks.get('query_token_id') or '[unused0]'} "
    stated = settings.get("prompts")
    prompts = {name: text for name, text in stated.items() if isinstance(text, str)} if isinstance(stated, dict) else {}
    # The library looks for document, passage and corpus, in this order. It gives each model an empty document prompt,
    # so it never uses the others, nor default_prompt_name.
    document, query = prompts.get("document", ""), prompts.get("query", "")
    if kind == "multivector":
        document = _with_prefix(settings.get("document_prefix"), document)
        query = _with_prefix(settings.get("query_prefix"), query)
    if max(len(document), len(query)) > MAX_PROMPT:
        raise files.refused(f"{SETTINGS}: a prompt of more than {MAX_PROMPT} characters", "choose another model")
    return document, query


def _with_prefix(prefix: Any, prompt: str) -> str:
    """The prompt with PyLate's marker before it, once."""
    return prefix + prompt.removeprefix(prefix) if isinstance(prefix, str) else prompt

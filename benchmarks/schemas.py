"""How long the schemas of a hundred collections take to resolve, and whether torch was imported for it.

python benchmarks/schemas.py [--model-folder FOLDER --model sentence-transformers/all-MiniLM-L6-v2]

Resolves as `vectorops schema` does, first a hundred collections that name one model, then a hundred that name a model
each. The models are made for this: the small files of a sentence-transformers model, and weights of a few bytes. With
--model-folder the first hundred name a real one. Exits with 1 if torch came along.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
import yaml

from vectorops.embedders.base import EmbedderSettings
from vectorops.local.manifests import Manifests, read_manifests
from vectorops.local.schemas import resolve_schemas
from vectorops.local.session import Options

HEAVY: Final = ("torch", "transformers", "sentence_transformers", "fastembed")
MODULES: Final = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


def make_model(folder: Path, size: int) -> None:
    """The files of a model whose vectors have so many components."""
    pooling = folder / "1_Pooling"
    pooling.mkdir(parents=True)
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(MODULES)
    ]
    for name, content in {
        "modules.json": modules,
        "config.json": {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": size},
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
        "sentence_bert_config.json": {"max_seq_length": 256},
        "tokenizer.json": {},
        "1_Pooling/config.json": {"word_embedding_dimension": size, "pooling_mode_mean_tokens": True},
    }.items():
        (folder / name).write_text(json.dumps(content))
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def manifests(folder: Path, models: Sequence[str]) -> Manifests:
    """One collection for each of the models."""
    collections = [
        {
            "apiVersion": "vectorops.dev/v1alpha1",
            "kind": "QdrantCollection",
            "metadata": {"name": f"c{n}"},
            "spec": {
                "connectionRef": {"name": "main"},
                "vectors": [{"name": "text", "embedder": {"sentenceTransformers": {"model": model}}}],
            },
        }
        for n, model in enumerate(models)
    ]
    file = folder / "collections.yaml"
    file.write_text(yaml.safe_dump_all(collections))
    return read_manifests([str(file)])


def resolve(what: str, declared: Manifests, model_folder: Path, sizes: Sequence[int] | None) -> None:
    """Prints how long it took. sizes: what must come out, None: whatever the model has."""
    options = Options(embedders=EmbedderSettings(model_folder=model_folder, offline=True))
    started, worked = time.perf_counter(), time.process_time()
    found = asyncio.run(resolve_schemas(declared, options))
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    problems = [problem.words for schema in found for problem in schema.problems]
    if problems:
        sys.exit(f"{what}: {problems[0]}")
    resolved = [vector.size or 0 for schema in found for vector in schema.vectors]
    assert sizes is None or resolved == sizes, resolved
    print(f"{what:70} {seconds:6.3f} s  {processor:6.3f} CPU-s  sizes {min(resolved)} to {max(resolved)}")


def main(
    count: int = 100,
    model: str = "sentence-transformers/all-MiniLM-L6-v2",
    model_folder: Annotated[Path | None, typer.Option(envvar="VECTOROPS_MODEL_FOLDER")] = None,
) -> None:
    """Measure the resolution of schemas."""
    with tempfile.TemporaryDirectory(prefix="vectorops-benchmark-") as temporary:
        folder = Path(temporary)
        made = folder / "models"
        sizes = [64 + 8 * n for n in range(count)]
        names = [f"made/model-{n}" for n in range(count)]
        for name, size in zip(names, sizes, strict=True):
            make_model(made / name, size)
        if model_folder is not None:
            resolve(f"{count} collections, one model ({model})", manifests(folder, [model] * count), model_folder, None)
        resolve(f"{count} collections, one made model", manifests(folder, names[:1] * count), made, sizes[:1] * count)
        resolve(f"{count} collections, a model each", manifests(folder, names), made, sizes)
    heavy = [name for name in HEAVY if name in sys.modules]
    print("imported for it:", ", ".join(heavy) or "none of " + ", ".join(HEAVY))
    sys.exit(bool(heavy))


if __name__ == "__main__":
    typer.run(main)

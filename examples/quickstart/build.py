"""Make the PointSets of this example, and the queries of the demo, from the texts in `data/`.

Nobody needs to run this to use the example: its results are committed, vectors included. It shows where they came from,
and makes them anew after a text was changed:

    pip install sentence-transformers PyYAML
    python build.py --model sentence-transformers/all-MiniLM-L6-v2     # or a folder that holds the model
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

HERE: Final = Path(__file__).parent
COLLECTION: Final = "qdrant-notes"
VECTOR: Final = "text"
SIZE: Final = 384

Embed = Callable[[str], NDArray[np.float32]]


def load(model: str) -> Embed:
    """The embedding function of a model: text to a float32 vector of shape `(384,)` and length 1."""
    # In double precision: in single, the last bits depend on threads and processor, and every rebuild would differ.
    transformer = SentenceTransformer(model, device="cpu").double()

    def embed(text: str) -> NDArray[np.float32]:
        vector = np.asarray(transformer.encode(text, normalize_embeddings=True)).astype(np.float32)
        if vector.shape != (SIZE,):
            raise SystemExit(f"the model gives vectors of shape {vector.shape}, 10-collection.yaml declares {SIZE}")
        return vector

    return embed


def pack(vector: NDArray[np.float32]) -> str:
    """Base64 of little-endian float32: the `packed` form of a PointSet's vector."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def points(notes: dict[str, list[dict[str, Any]]], embed: Embed) -> Iterator[dict[str, Any]]:
    """The notes of one set, by topic, as points. The title is embedded too, since it often holds the best word."""
    for topic, entries in notes.items():
        for note in entries:
            yield {
                "id": note["id"],
                "payload": {"title": note["title"], "text": note["text"], "topic": topic, "tags": note["tags"]},
                "vectors": {VECTOR: {"packed": pack(embed(f"{note['title']}. {note['text']}"))}},
            }


def point_set(name: str, notes: dict[str, list[dict[str, Any]]], embed: Embed) -> dict[str, Any]:
    """One PointSet as in a manifest."""
    return {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "PointSet",
        "metadata": {"name": name},
        "spec": {"collectionRef": {"name": COLLECTION}, "points": list(points(notes, embed))},
    }


def read(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def write(path: Path, source: Path, content: Any) -> None:
    """Write YAML that says where it came from."""
    # No folding: a packed vector is one line, so a diff shows one line for each point whose text changed.
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
    path.write_text(f"# Made by build.py from data/{source.name}: edit that.\n{body}", encoding="utf-8")
    print(f"{path.relative_to(HERE)}: {path.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    """Read the model's name or folder from the command line and write all generated files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of all-MiniLM-L6-v2, or its name on the hub")
    embed = load(parser.parse_args().model)

    source = HERE / "data/notes.yaml"
    for entry in read(source):
        write(HERE / entry["file"], source, point_set(entry["name"], entry["notes"], embed))

    source = HERE / "data/questions.yaml"
    queries = [entry | {"packed": pack(embed(entry["question"]))} for entry in read(source)]
    write(HERE / "data/queries.yaml", source, queries)


if __name__ == "__main__":
    main()

"""Ask in words what `vectorops apply` has put there as words: the plain Qdrant client, and the model of the collection.

    python search.py                                   # the questions of data/questions.yaml, and how many it answers
    python search.py "How do I get gum off my coat?"   # your own

Nothing of VectorOps is imported. Which model made the vectors, to the commit, with which prompt for queries, stands in
the collection's own metadata; a client that reads it there cannot search with another one. `make semantic-search` runs
it.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from qdrant_client import QdrantClient, models
from rich.console import Console
from sentence_transformers import SentenceTransformer

HERE: Final = Path(__file__).resolve().parent
COLLECTION: Final = "household"
VECTOR: Final = "text"

Encode = Callable[[str], list[float]]


@dataclass(frozen=True, slots=True)
class Question:
    """answer: id of the text that should be found first; None if nobody knows."""

    words: str
    answer: str | None = None


def locked_embedder(client: QdrantClient) -> dict[str, Any]:
    """What made the vectors that are stored, as VectorOps wrote it into the collection."""
    metadata = client.get_collection(COLLECTION).config.metadata or {}
    locked: dict[str, Any] = metadata["vectorops.dev/mark"]["embedders"][VECTOR]
    return locked


def encoder(locked: dict[str, Any], model_folder: Path | None) -> Encode:
    """Makes vectors of questions as the texts' vectors were made. model_folder: as that of `vectorops apply`."""
    name, prompt = locked["model"], locked.get("query_prompt", "")
    below = model_folder / name if model_folder else None
    if below is not None and below.is_dir():
        model = SentenceTransformer(str(below), truncate_dim=locked.get("dimensions"))
    elif locked["revision"].startswith("sha256:"):
        raise SystemExit(f"the texts were embedded with {name} from a folder: give it with --model-folder")
    else:
        model = SentenceTransformer(name, revision=locked["revision"], truncate_dim=locked.get("dimensions"))
    return lambda question: model.encode_query(question, prompt=prompt, show_progress_bar=False).tolist()


def search(client: QdrantClient, vector: list[float], limit: int = 3) -> list[models.ScoredPoint]:
    """The best texts. This is all that an application needs."""
    return client.query_points(COLLECTION, query=vector, using=VECTOR, limit=limit).points


def questions() -> list[Question]:
    """The shipped ones."""
    entries = yaml.safe_load((HERE / "data/questions.yaml").read_text(encoding="utf-8"))
    return [Question(entry["question"], entry["answer"]) for entry in entries]


def show(console: Console, question: Question, hits: list[models.ScoredPoint]) -> None:
    """One question and its hits; the awaited one is marked."""
    console.print(f"\n[bold]{question.words}[/bold]")
    for hit in hits:
        payload = hit.payload or {}
        sign = "[green]*[/green]" if payload["id"] == question.answer else " "
        console.print(f"{sign} {hit.score:.2f}  {payload['section']}/{payload['id']}: {payload['text']}")


def connect(qdrant: str) -> QdrantClient:
    """A server by its URL, or a folder."""
    if "://" not in qdrant:
        return QdrantClient(path=qdrant)
    with warnings.catch_warnings():
        # Of a key without TLS.
        warnings.simplefilter("ignore", UserWarning)
        return QdrantClient(url=qdrant, api_key=os.environ.get("VECTOROPS_QDRANT_API_KEY"))


def main() -> None:
    """Ask, print, count."""
    folder = os.environ.get("VECTOROPS_MODEL_FOLDER")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("question", nargs="*", help="default: the questions of data/questions.yaml")
    parser.add_argument("--qdrant", default=".demo/search", metavar="URL|FOLDER", help="the database")
    parser.add_argument(
        "--model-folder",
        type=Path,
        default=Path(folder) if folder else None,
        metavar="FOLDER",
        help="holds models, each in a folder named as the model; default: VECTOROPS_MODEL_FOLDER, else the model hub",
    )
    given = parser.parse_args()

    console = Console(highlight=False)
    client = connect(given.qdrant)
    try:
        if not client.collection_exists(COLLECTION):
            raise SystemExit(f"{given.qdrant} has no collection {COLLECTION!r}: apply this folder first")
        locked = locked_embedder(client)
        encode = encoder(locked, given.model_folder)
        count = client.count(COLLECTION).count
        console.print(f"{count} texts, embedded with {locked['model']} at {locked['revision']}")
        asked = [Question(words) for words in given.question] or questions()
        first = 0
        for question in asked:
            hits = search(client, encode(question.words))
            first += bool(hits) and (hits[0].payload or {})["id"] == question.answer
            show(console, question, hits)
        if not given.question:
            console.print(f"\nThe right text came first for {first} of {len(asked)} questions.")
    finally:
        client.close()


if __name__ == "__main__":
    main()

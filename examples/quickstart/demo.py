"""The quickstart without a cluster: apply this folder to an embedded Qdrant, then search it with the plain client.

`make demo` runs it. No model is needed: the vectors of the notes are in the manifests, those of the questions in
`data/queries.yaml`. The database stays in its folder, so a second run shows that what is there is not written again.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import yaml
from qdrant_client import QdrantClient, models
from rich.console import Console
from rich.table import Table

HERE: Final = Path(__file__).resolve().parent
COLLECTION: Final = "qdrant-notes"


@dataclass(frozen=True, slots=True)
class Query:
    """A question and its vector. topic: search only notes on this topic."""

    question: str
    vector: list[float]
    topic: str | None


def apply(folder: Path) -> None:
    """Make the embedded Qdrant in a folder match the manifests beside this file; end the demo if that fails."""
    arguments = ["apply", "-f", str(near(HERE)), "--qdrant", str(folder)]
    print("$ vectorops", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "vectorops", *arguments], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def queries() -> list[Query]:
    """The shipped questions."""
    entries = yaml.safe_load((HERE / "data/queries.yaml").read_text(encoding="utf-8"))
    return [Query(entry["question"], unpack(entry["packed"]), entry.get("topic")) for entry in entries]


def unpack(packed: str) -> list[float]:
    """The components of a packed vector (base64 of little-endian float32)."""
    components: list[float] = np.frombuffer(base64.b64decode(packed), dtype="<f4").tolist()
    return components


def search(client: QdrantClient, query: Query) -> list[models.ScoredPoint]:
    """The three best notes. Plain qdrant-client: applications need nothing of VectorOps."""
    on_topic = models.FieldCondition(key="topic", match=models.MatchValue(value=query.topic)) if query.topic else None
    return client.query_points(
        COLLECTION,
        query=query.vector,
        using="text",
        query_filter=models.Filter(must=on_topic) if on_topic else None,
        limit=3,
    ).points


def answer(query: Query, hits: list[models.ScoredPoint]) -> Table:
    """One question and its hits, for the terminal."""
    where = f"  [dim]topic {query.topic}[/dim]" if query.topic else ""
    table = Table(title=f"[bold]{query.question}[/bold]{where}", title_justify="left", title_style="", show_lines=True)
    table.add_column("Score", justify="right")
    table.add_column("Note", width=24)
    table.add_column("Text")
    for hit in hits:
        payload = hit.payload or {}
        table.add_row(f"{hit.score:.2f}", payload["title"], payload["text"])
    return table


def main() -> None:
    """Apply, search, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--qdrant", type=Path, default=Path(".demo/qdrant"), metavar="FOLDER", help="the database")
    folder: Path = parser.parse_args().qdrant

    apply(folder)

    console = Console()
    client = QdrantClient(path=str(folder))
    try:
        console.print(f"\n{client.count(COLLECTION).count} notes in {folder}, searched with the plain Qdrant client:")
        for query in queries():
            console.print()
            console.print(answer(query, search(client, query)))
    finally:
        client.close()
    console.print("\nNext, try:")
    for command, shows in next_commands(folder):
        console.print(f"\n[dim]# {shows}[/dim]")
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)


def next_commands(folder: Path) -> list[tuple[str, str]]:
    """What a person would try next, to be pasted into a shell where the demo was started; and what it shows."""
    manifests = near(HERE)
    plan = f"{near(Path(sys.executable).with_name('vectorops'))} plan --qdrant {folder}"
    collection, notes = f"{manifests}/10-collection.yaml", f"{manifests}/20-notes-kubernetes.yaml"
    return [
        (f"{plan} -f {manifests}", "A second run has nothing to do: what is there is not written again."),
        (
            f"sed 's/StatefulSet, not Deployment/A StatefulSet/' {notes} | {plan} -f {collection} -f -",
            "One title is changed: that note alone would be written.",
        ),
        (
            f"{plan} -f {collection} -f {notes} --owner cli --prune",
            "Two files are left out: their notes would be deleted, with --prune.",
        ),
    ]


def near(path: Path) -> Path:
    """Relative to the working directory, if it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()

"""Find the pictures that are most like one of them, with the plain Qdrant client.

    python search.py               # like the first picture
    python search.py digit-0042    # like another one

Nothing of VectorOps is imported. `make parquet-digits` runs it.
"""

from __future__ import annotations

import argparse
from itertools import zip_longest
from pathlib import Path
from typing import Final

from qdrant_client import QdrantClient, models

COLLECTION: Final = "digits"
VECTOR: Final = "image"


def named(client: QdrantClient, name: str) -> models.Record:
    """The point that the file calls so."""
    condition = models.FieldCondition(key="name", match=models.MatchValue(value=name))
    found, _ = client.scroll(COLLECTION, models.Filter(must=condition), limit=1)
    if not found:
        raise SystemExit(f"there is no {name}")
    return found[0]


def like(client: QdrantClient, record: models.Record) -> list[models.ScoredPoint]:
    """The five nearest pictures, without itself. This is all that an application needs."""
    return client.query_points(COLLECTION, query=record.id, using=VECTOR, limit=5).points


def beside(titles: list[str], pictures: list[str]) -> str:
    """Pictures in one row, each below its title."""
    columns = [[title, *picture.split("\n")] for title, picture in zip(titles, pictures, strict=True)]
    return "\n".join("  ".join(f"{cell or '':14}" for cell in line).rstrip() for line in zip_longest(*columns))


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", nargs="?", default="digit-0001")
    parser.add_argument("--qdrant", default=".demo/digits", metavar="URL|FOLDER", help="the database")
    given = parser.parse_args()

    client = QdrantClient(url=given.qdrant) if "://" in given.qdrant else QdrantClient(path=str(Path(given.qdrant)))
    try:
        asked = named(client, given.name)
        hits = like(client, asked)
        payloads = [asked.payload or {}, *(hit.payload or {} for hit in hits)]
        titles = [given.name, *(f"{payload['name']}: {payload['digit']}" for payload in payloads[1:])]
        digit = payloads[0]["digit"]
        print(f"{client.count(COLLECTION).count} pictures. Most like {given.name}, which is a {digit}:\n")
        print(beside(titles, [payload["picture"] for payload in payloads]))
    finally:
        client.close()


if __name__ == "__main__":
    main()

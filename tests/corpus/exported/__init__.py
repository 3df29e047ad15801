"""Collections as other programs make them: what they sent to Qdrant, as `record.py` recorded it."""

import json
from pathlib import Path
from typing import Any, Final

import httpx

FOLDER: Final = Path(__file__).parent


def recipes() -> dict[str, list[list[Any]]]:
    """The requests (method, path, body) that made each collection, by its name, in the order of the programs."""
    found: dict[str, list[list[Any]]] = {}
    for file in sorted(FOLDER.glob("*.json")):
        found |= json.loads(file.read_text(encoding="utf-8"))["collections"]
    return found


def described() -> list[tuple[str, str, dict[str, Any]]]:
    """Collections as servers described them: version of Qdrant, name, and `result` of GET /collections/{name}. They
    have every option that there was. 1.19.0 is in no registry, so these answers stand for it.
    """
    file = FOLDER / "described/one-node.json"
    return [(version, name, answer) for version, name, answer in json.loads(file.read_text(encoding="utf-8"))]


def replay(url: str) -> None:
    """Makes all of them again, in a Qdrant that has none."""
    with httpx.Client(base_url=url, timeout=60, verify=False) as client:
        for requests in recipes().values():
            for method, path, body in requests:
                client.request(method, path, json=body).raise_for_status()

"""A search service whose questions never meet a collection that another model filled.

    python reader.py --folder /etc/reader                     # the ConfigMap tips-reader, mounted there
    curl 'http://localhost:8000/search?q=gum+on+my+jacket'
    curl http://localhost:8000/healthz                        # which collection it asks, and with which model

It follows the file reader.json: model, vector and physical collection are taken from one reading of it, and change in
one step. Nothing of VectorOps is imported. docs/reader.md has the contract.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

FORMAT: Final = 1
"""The version of reader.json that this program understands."""
VECTOR: Final = "text"
LOOK_SECONDS: Final = 2.0
NOT_FOUND: Final = 404
CACHED_QUESTIONS: Final = 10_000

Encode = Callable[[str], list[float]]


@dataclass(frozen=True, slots=True)
class Target:
    """One reading of reader.json, ready to be asked."""

    collection: str
    model: str
    client: QdrantClient
    encode: Encode
    """A question to a vector, by the model that filled the collection."""


class Reader:
    """Answers questions, and follows the file. make_encoder: of the `embedder` in it; it may take a minute."""

    def __init__(self, file: Path, make_encoder: Callable[[dict[str, Any]], Encode]) -> None:
        self._file = file
        self._make_encoder = make_encoder
        self._known = b""
        self._following = threading.Lock()
        self._made: dict[str, Encode] = {}
        self._target: Target | None = None
        # One client for each address: a new one for each change would leave connections behind.
        self._connect = lru_cache(
            lambda url: QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=10)
        )
        self.follow()

    @property
    def target(self) -> Target:
        """What is asked now."""
        assert self._target is not None
        return self._target

    def follow(self) -> bool:
        """Reads the file; if it changed, makes all that it names and then, in one step, leaves the old ones."""
        with self._following:
            content = self._file.read_bytes()
            if content == self._known:
                return False
            told = json.loads(content)
            if told["version"] != FORMAT:
                raise ValueError(f"{self._file}: version {told['version']}; this program understands {FORMAT}")
            vector = next(vector for vector in told["vectors"] if vector["name"] == VECTOR)
            embedder = vector["embedder"]
            # Two models at most: the one before is needed again after a roll-back.
            made = self._made.get(embedder["identity"]) or lru_cache(CACHED_QUESTIONS)(self._make_encoder(embedder))
            self._made = dict([*self._made.items(), (embedder["identity"], made)][-2:])
            client = self._connect(told["url"])
            self._target = Target(self.name_of(told), embedder["model"], client, made)
            self._known = content
            return True

    def name_of(self, told: dict[str, Any]) -> str:
        """The collection to ask: the physical one. The alias may lead to the collection of another model by now."""
        name: str = told["collection"]
        return name

    def search(self, question: str, limit: int = 3) -> list[models.ScoredPoint]:
        """The best texts."""
        target = self.target
        try:
            return _ask(target, question, limit)
        except UnexpectedResponse as error:
            if error.status_code != NOT_FOUND or not self.follow():
                raise
            # The file came later than the grace period ended.
            return _ask(self.target, question, limit)


def _ask(target: Target, question: str, limit: int) -> list[models.ScoredPoint]:
    """All of it with one target, whatever happens meanwhile."""
    return target.client.query_points(target.collection, target.encode(question), using=VECTOR, limit=limit).points


def encoder_of(embedder: dict[str, Any], model_folder: Path | None = None) -> Encode:
    """What makes vectors of questions. model_folder: holds models, each in a folder named as the model."""
    name, prompt = embedder["model"], embedder.get("queryPrompt", "")
    if embedder["provider"] == "openAI":
        return lambda question: _ask_server(embedder, prompt + question)
    if embedder["provider"] != "sentenceTransformers":
        raise ValueError(f"this example has no code for the provider {embedder['provider']}")
    # Takes seconds, and is not needed for hosted models.
    from sentence_transformers import SentenceTransformer

    below = model_folder / name if model_folder else None
    place, revision = (str(below), None) if below is not None and below.is_dir() else (name, embedder["revision"])
    model = SentenceTransformer(place, revision=revision, truncate_dim=embedder.get("dimensions"))
    return lambda question: model.encode_query(question, prompt=prompt, show_progress_bar=False).tolist()


def _ask_server(embedder: dict[str, Any], text: str) -> list[float]:
    """OpenAI's embeddings API."""
    body = {"model": embedder["model"], "input": [text], **embedder.get("queryExtraBody", {})}
    if "dimensions" in embedder:
        body["dimensions"] = embedder["dimensions"]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('EMBEDDING_API_KEY', '')}"}
    url = f"{embedder['baseURL']}/embeddings"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - as the ConfigMap says
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        vector: list[float] = json.load(answer)["data"][0]["embedding"]
    return vector


def serve(reader: Reader, port: int) -> None:
    """Answers over HTTP until it is stopped."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/healthz":
                self._answer(200, {"collection": reader.target.collection, "model": reader.target.model})
            elif asked.path == "/search" and (question := parse_qs(asked.query).get("q")):
                found = [{"score": hit.score, "payload": hit.payload} for hit in reader.search(question[0])]
                self._answer(200, found)
            else:
                self._answer(404, {"error": "ask /search?q=..."})

        def _answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    ThreadingHTTPServer(("", port), Handler).serve_forever()


def follow_for_ever(reader: Reader) -> None:
    """Looks at the file every few seconds: the kubelet puts a new one in its place."""
    while True:
        threading.Event().wait(LOOK_SECONDS)
        try:
            if reader.follow():
                print(f"asks {reader.target.collection} with {reader.target.model}", flush=True)
        except Exception as error:  # noqa: BLE001 - the old collection is there, and is asked until it works
            print(f"stays with {reader.target.collection}: {error}", flush=True)


def main() -> None:
    """Starts the service."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/etc/reader"), help="where the ConfigMap is mounted")
    parser.add_argument("--model-folder", type=Path, help="holds models; default: the model hub")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    reader = Reader(given.folder / "reader.json", lambda embedder: encoder_of(embedder, given.model_folder))
    threading.Thread(target=follow_for_ever, args=(reader,), daemon=True).start()
    serve(reader, given.port)


if __name__ == "__main__":
    main()

"""A point set whose rows are in files, as a person has it at the command line: what the tests of its rows are written
in.

Each row carries `CONTENT`, and nothing that the command says may repeat it.
"""

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from integration.command_line import Shell
from integration.world import collection, connection, resource, secret
from servers.qdrant import QdrantServer
from servers.s3 import ACCESS_KEY, SECRET_KEY
from vectorops.api.meta import JsonObject

CONTENT: Final = "c0ntent-of-a-cell"
NAMESPACE: Final = "default"


def row(id: Any, **columns: Any) -> JsonObject:
    """A row with a vector of two components."""
    return {"id": id, "vector": [1.0, 2.0], "title": CONTENT, **columns}


def lines(*rows: JsonObject | str) -> bytes:
    """JSON Lines. A text is a line as it stands."""
    return "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows).encode()


def bucket_secret(name: str = "bucket", *, secret_key: str = SECRET_KEY) -> JsonObject:
    """The credentials of a bucket."""
    made = secret(NAMESPACE, name)
    return {**made, "stringData": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": secret_key}}


@dataclass(frozen=True, slots=True)
class Look:
    """What `vectorops apply` told of the set."""

    ready: bool
    reason: str
    message: str
    status: JsonObject

    @property
    def counts(self) -> tuple[int, int]:
        """Points that are as declared, and that failed."""
        points = self.status["points"]
        return points["synced"], points["failed"]

    @property
    def failures(self) -> dict[str, str]:
        """Reasons by id."""
        return {failure["id"]: failure["reason"] for failure in self.status.get("failures", [])}


@dataclass(slots=True)
class SourcedSet:
    """One set in a collection of its own. folder: where the manifest is, which paths are relative to."""

    folder: Path
    qdrant: QdrantServer
    spec: JsonObject = field(default_factory=lambda: {"source": {"files": {"path": "*.jsonl"}}})
    """Of the PointSet beside the name of its collection."""
    vectors: JsonObject = field(default_factory=lambda: {"vector": {"size": 2, "distance": "Dot"}})
    """Of the QdrantCollection."""
    prefers_grpc: bool = True
    secrets: list[JsonObject] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"rows-{uuid.uuid4().hex[:8]}")

    def put(self, file: str, *rows: JsonObject | str) -> None:
        """Writes a file of JSON Lines."""
        (self.folder / file).write_bytes(lines(*rows))

    def apply(self, *flags: str) -> Look:
        """What the command makes of the set; the rest is ready."""
        declared = [
            connection(NAMESPACE, self.qdrant, preferGrpc=self.prefers_grpc),
            collection(NAMESPACE, self.name, **self.vectors),
            resource("PointSet", NAMESPACE, self.name, {"collectionRef": {"name": self.name}, **self.spec}),
            *self.secrets,
        ]
        (self.folder / "set.yaml").write_text(yaml.safe_dump_all(declared))
        answer = Shell(self.folder).run("apply", "-f", "set.yaml", "-o", "json", *flags)
        assert CONTENT not in answer.out + answer.err
        told = answer.by_name()
        assert {one["name"] for one in told.values() if not one["ready"]} <= {self.name}, answer.out
        return Look(*(told[self.name][key] for key in ("ready", "reason", "message", "status")))

    def load(self, *rows: JsonObject) -> None:
        """Writes a file with these rows, and has them stored."""
        self.put("a.jsonl", *rows)
        look = self.apply()
        assert look.ready, look.message

    def payloads(self) -> dict[Any, JsonObject]:
        """What is in Qdrant, by id."""
        asked = {"limit": 10_000, "with_payload": True}
        answer = httpx.post(f"{self.qdrant.url}/collections/{self.name}/points/scroll", json=asked, timeout=30)
        return {point["id"]: point["payload"] for point in answer.raise_for_status().json()["result"]["points"]}

    def ids(self) -> list[Any]:
        """Of all stored points: the integers, sorted, and the UUIDs."""
        return sorted(self.payloads(), key=lambda id: (isinstance(id, str), id))

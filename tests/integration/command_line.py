"""The `vectorops` command as a person runs it: a process, its output, its exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONNECTION = """
apiVersion: vectorops.dev/v1alpha1
kind: QdrantConnection
metadata: {name: main}
spec: {url: "http://127.0.0.1:1"}
"""


@dataclass(frozen=True)
class Answer:
    """What the command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def by_name(self) -> dict[str, Any]:
        """The array of `-o json`, by name of the resource."""
        return {result["name"]: result for result in self.json}


class Shell:
    """Runs the command in one folder, which holds the manifests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, *documents: str) -> None:
        (self.folder / name).write_text("---".join(documents))

    def run(self, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> Answer:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            input=stdin,
            env=self.environment(environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "vectorops", *arguments]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("VECTOROPS_")}
        # Boxes around usage errors would break the words that tests look for.
        return {**plain, "COLUMNS": "200", **(more or {})}


def collection(name: str, **spec: Any) -> str:
    """A QdrantCollection of two-dimensional vectors behind the connection `main`. spec: further fields."""
    return _manifest(
        "QdrantCollection",
        name,
        {"connectionRef": {"name": "main"}, "vector": {"size": 2, "distance": "Dot"}, **spec},
    )


def point_set(name: str, into: str, points: Mapping[Any, list[float]], **spec: Any) -> str:
    """A PointSet. points: vectors by id."""
    listed = [{"id": id, "vector": {"values": values}} for id, values in points.items()]
    return _manifest("PointSet", name, {"collectionRef": {"name": into}, "points": listed, **spec})


def _manifest(kind: str, name: str, spec: dict[str, Any]) -> str:
    manifest = {"apiVersion": "vectorops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return f"\n{yaml.safe_dump(manifest, sort_keys=False)}"

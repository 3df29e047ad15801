"""The `vectorops` command as a person runs it: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from servers.forks import can_fork, fork
from servers.process import Running

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
        variables = self.environment(environment)
        with TemporaryDirectory() as folder:
            given, out, err = (Path(folder, name) for name in ("stdin", "stdout", "stderr"))
            given.write_text(stdin)
            if can_fork(variables):
                done: Running = fork(
                    arguments, environment=variables, cwd=self.folder, stdin=given, stdout=out, stderr=err
                )
            else:
                with given.open() as read, out.open("w") as told, err.open("w") as complained:
                    command = self.command(*arguments)
                    done = subprocess.Popen(
                        command, cwd=self.folder, env=variables, stdin=read, stdout=told, stderr=complained
                    )
            try:
                code = done.wait(60)
            except subprocess.TimeoutExpired:
                done.send_signal(signal.SIGKILL)
                raise
            answer = Answer(code, out.read_text(), err.read_text())
        assert "Traceback" not in answer.err, answer.err
        return answer

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


def point_set(name: str, into: str, points: Mapping[Any, list[float] | dict[str, list[float]]], **spec: Any) -> str:
    """A PointSet. points: by id the vector, or the vectors by name."""
    listed = [
        {"id": id, "vectors": {name: {"values": values} for name, values in given.items()}}
        if isinstance(given, dict)
        else {"id": id, "vector": {"values": given}}
        for id, given in points.items()
    ]
    return _manifest("PointSet", name, {"collectionRef": {"name": into}, "points": listed, **spec})


def _manifest(kind: str, name: str, spec: dict[str, Any]) -> str:
    manifest = {"apiVersion": "vectorops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return f"\n{yaml.safe_dump(manifest, sort_keys=False)}"

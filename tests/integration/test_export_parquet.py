"""`vectorops export --points` of what no manifest can hold: a Parquet file beside the manifests, whose rows are adopted
as they are.
"""

from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from integration.command_line import Shell
from integration.conftest import StartQdrant
from servers.qdrant import QdrantServer
from vectorops.local.documents import parse_documents

EVERY_KIND = {
    "vectors": {
        "": {"size": 3, "distance": "Dot"},
        "id": {"size": 2, "distance": "Cosine"},
        "tokens": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        "small": {"size": 2, "distance": "Dot", "datatype": "uint8"},
        "half": {"size": 2, "distance": "Dot", "datatype": "float16"},
    },
    "sparse_vectors": {"words": {}},
}
PAYLOAD: dict[str, Any] = {
    "id": "not the id",
    "nested": {"list": [1, None, {"deep": [0.1, "é\n", True]}], "empty": {}},
    "none": None,
    "large": 2**64 - 1,
    "small": -(2**63),
    "float": 1e300,
    "date": "2026-11-28T03:04:05Z",
    "": "a field without a name",
    "a.b": [],
}


def uuid(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012x}"


def vectors_of(number: int) -> dict[str, Any]:
    """Each point lacks some."""
    given = {
        "": [number, 0.1, -0.5],
        "id": [0.6, 0.8],
        "tokens": [[number, 0.25], [1, 2]],
        "small": [1, 255],
        "half": [0.5, 0.1],
        "words": {"indices": [7, 4_000_000_000], "values": [0.1, number + 0.5]},
    }
    return {name: vector for place, (name, vector) in enumerate(given.items()) if (number + place) % 5}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def make(server: QdrantServer, name: str, config: dict[str, Any], points: list[dict[str, Any]]) -> None:
    httpx.put(f"{server.url}/collections/{name}", json=config, verify=False).raise_for_status()
    for first in range(0, len(points), 1000):
        body = {"points": points[first : first + 1000]}
        httpx.put(
            f"{server.url}/collections/{name}/points?wait=true", json=body, verify=False, timeout=60
        ).raise_for_status()


def content(server: QdrantServer, name: str) -> dict[Any, Any]:
    """All points by id, with the version that each write makes another one."""
    url = f"{server.url}/collections/{name}/points/query"
    body = {"limit": 10_000, "with_vector": True, "with_payload": True}
    found = httpx.post(url, json=body, verify=False, timeout=60).raise_for_status().json()["result"]["points"]
    assert all("version" in point for point in found)
    return {point["id"]: point for point in found}


def test_points_of_every_kind_are_adopted_from_the_file_as_they_are(shell: Shell, start_qdrant: StartQdrant):
    server = start_qdrant()
    ids = [*range(1, 1101), 2**63 + 5, 2**64 - 1, *map(uuid, range(1100))]
    points = [
        {"id": id, "vector": vectors_of(number), "payload": PAYLOAD if number % 3 else {}}
        for number, id in enumerate(ids)
    ]
    make(server, "zoo", EVERY_KIND, points)
    before = content(server, "zoo")
    assert len(before) == len(ids)

    nowhere = shell.run("export", "--qdrant", server.url, "--points", "-o", "out/all.yaml")
    assert (nowhere.code, "No such file or directory" in nowhere.err) == (2, True)
    (shell.folder / "out").mkdir()
    exported = shell.run("export", "--qdrant", server.url, "--points", "-o", "out/all.yaml")
    assert exported.code == 0, exported.err
    writes = server.telemetry_writes_by_endpoint()
    planned = shell.run("plan", "-f", "out/all.yaml", "--qdrant", server.url, "-o", "json").by_name()["zoo"]
    assert server.telemetry_writes_by_endpoint() == writes
    applied = shell.run("apply", "-f", "out/all.yaml", "--qdrant", server.url, "-o", "json")

    assert planned["points"]["counts"]["adopted"] == len(ids)
    assert sum(planned["points"]["counts"].values()) == len(ids)
    assert applied.code == 0, applied.out
    assert content(server, "zoo") == before
    again = shell.run("plan", "-f", "out/all.yaml", "--qdrant", server.url, "--detailed-exitcode")
    assert again.code == 0, again.out


@pytest.mark.parametrize(
    ("ids", "column"),
    [(list(range(2**63, 2**63 + 2100)), "uint64"), ([uuid(number) for number in range(2100)], "string")],
)
def test_ids_of_one_kind_are_a_column_of_their_own_type(
    shell: Shell, start_qdrant: StartQdrant, ids: list[Any], column: str
):
    server = start_qdrant()
    make(server, "zoo", {"vectors": {"size": 2, "distance": "Dot"}}, [{"id": id, "vector": [1, 2]} for id in ids])

    shell.run("export", "--qdrant", server.url, "--points", "-o", "all.yaml")

    file = pq.ParquetFile(shell.folder / "zoo.parquet")
    assert str(file.schema_arrow.field("id").type) == column
    assert sorted(path.name for path in shell.folder.iterdir()) == ["all.yaml", "zoo.parquet"]
    declared: Any = [one.value for one in parse_documents((shell.folder / "all.yaml").read_text())][-1]
    assert declared["spec"]["source"] == {"files": {"path": "zoo.parquet"}}
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", server.url).code == 0
    assert shell.run("plan", "-f", "all.yaml", "--qdrant", server.url, "--detailed-exitcode").code == 0

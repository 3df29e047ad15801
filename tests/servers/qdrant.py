"""A Qdrant server, with or without key and TLS, that a test may kill, freeze or ask how often it was written to.

The session fixture `qdrant` is one that all tests of a process share (each with collections of its own names);
`start_qdrant` makes more.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
from qdrant_client import AsyncQdrantClient

from servers.certificates import Certificate, CertificateAuthority
from servers.process import Process, free_port, wait_until
from servers.programs import qdrant_program

# A POST is a write unless it is known to read, so that an endpoint forgotten here makes a test fail, not pass.
READING_POSTS: Final = frozenset(
    {
        "/collections/{name}/facet",
        "/collections/{name}/points",
        "/collections/{name}/points/count",
        "/collections/{name}/points/query",
        "/collections/{name}/points/query/batch",
        "/collections/{name}/points/query/groups",
        "/collections/{name}/points/scroll",
        "/collections/{name}/points/search",
        "/collections/{name}/points/search/batch",
    }
)
READING_METHODS: Final = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/qdrant.Collections/CollectionClusterInfo",
        "/qdrant.Collections/CollectionExists",
        "/qdrant.Collections/Get",
        "/qdrant.Collections/List",
        "/qdrant.Collections/ListAliases",
        "/qdrant.Collections/ListCollectionAliases",
        "/qdrant.Points/Count",
        "/qdrant.Points/Facet",
        "/qdrant.Points/Get",
        "/qdrant.Points/Query",
        "/qdrant.Points/QueryBatch",
        "/qdrant.Points/QueryGroups",
        "/qdrant.Points/Scroll",
        "/qdrant.Points/Search",
        "/qdrant.Points/SearchBatch",
        "/qdrant.Qdrant/HealthCheck",
    }
)


def cluster_settings() -> dict[str, str]:
    """Settings of the first node of a distributed Qdrant: one node alone has shard keys already."""
    port = free_port()
    return {
        "QDRANT__CLUSTER__ENABLED": "true",
        "QDRANT__CLUSTER__P2P__PORT": str(port),
        "QDRANT_URI": f"http://127.0.0.1:{port}",
    }


class QdrantTls(NamedTuple):
    """How a Qdrant proves who it is, and whether its clients must."""

    authority: CertificateAuthority
    server: Certificate
    clients_need_a_certificate: bool = False


class QdrantServer(Process):
    """One Qdrant on ports of its own, its storage in `folder`, all the same over restarts."""

    def __init__(
        self,
        folder: Path,
        *,
        api_key: str | None = None,
        read_only_api_key: str | None = None,
        tls: QdrantTls | None = None,
        settings: dict[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        """Settings: further `QDRANT__...` variables. arguments: of the program."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.api_key = api_key
        self.tls = tls
        self.port = free_port()
        self.grpc_port = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        variables = {
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(self.port),
            "QDRANT__SERVICE__GRPC_PORT": str(self.grpc_port),
            "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
            "QDRANT__TELEMETRY_DISABLED": "true",
            **(settings or {}),
        }
        if api_key is not None:
            variables["QDRANT__SERVICE__API_KEY"] = api_key
        if read_only_api_key is not None:
            variables["QDRANT__SERVICE__READ_ONLY_API_KEY"] = read_only_api_key
        if tls is not None:
            variables |= {
                "QDRANT__SERVICE__ENABLE_TLS": "true",
                "QDRANT__SERVICE__VERIFY_HTTPS_CLIENT_CERTIFICATE": str(tls.clients_need_a_certificate).lower(),
                "QDRANT__TLS__CERT": str(tls.server.certificate),
                "QDRANT__TLS__KEY": str(tls.server.key),
                "QDRANT__TLS__CA_CERT": str(tls.authority.certificate),
            }
        super().__init__(
            "qdrant",
            [str(qdrant_program()), *arguments],
            log=folder / "qdrant.log",
            environment={**os.environ, **variables},
            # It looks for a configuration file where it is started.
            cwd=folder,
            answers=self._is_ready,
        )

    def set_api_key(self, api_key: str) -> None:
        """Rotate the key: restart with another one."""
        self.api_key = api_key
        self.environment = {**(self.environment or {}), "QDRANT__SERVICE__API_KEY": api_key}
        self.restart()

    def client(self) -> AsyncQdrantClient:
        """A plain client with all rights, over REST. The caller closes it."""
        with warnings.catch_warnings():
            # Of a key without TLS.
            warnings.simplefilter("ignore", UserWarning)
            return AsyncQdrantClient(
                url=self.url,
                grpc_port=self.grpc_port,
                api_key=self.api_key,
                check_compatibility=False,
                **self._httpx_tls(),
            )

    def get(self, path: str) -> Any:
        """The `result` of a GET, for instance `get("/collections/zoo")`."""
        answer = httpx.get(f"{self.url}{path}", headers=self._headers(), timeout=30, **self._httpx_tls())
        answer.raise_for_status()
        return answer.json()["result"]

    def telemetry_writes(self) -> int:
        """How many requests to writing endpoints it answered since it was started, over REST and gRPC, well or not."""
        return sum(self.telemetry_writes_by_endpoint().values())

    def telemetry_writes_by_endpoint(self) -> dict[str, int]:
        """The same by endpoint (`PUT /collections/{name}/points`, `/qdrant.Points/Upsert`): shows what was written."""
        requests = self.get("/telemetry?details_level=10")["requests"]
        rest = {_as_of_old(endpoint): counts for endpoint, counts in requests["rest"]["responses"].items()}
        answered = {**rest, **requests["grpc"]["responses"]}
        return {endpoint: _counts_in(counts) for endpoint, counts in answered.items() if _writes(endpoint)}

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", headers=self._headers(), timeout=2, **self._httpx_tls()).is_success
        except httpx.HTTPError:
            return False

    def _headers(self) -> dict[str, str]:
        return {"api-key": self.api_key} if self.api_key else {}

    def _httpx_tls(self) -> dict[str, Any]:
        if self.tls is None:
            # Reading the certificates of the world takes 17 ms, and nothing here would use them.
            return {"verify": False}
        return {"verify": self.tls.authority.client_context(self.tls.server)}


class QdrantCluster:
    """Several nodes that are one distributed Qdrant, on loopback. Any of them may be killed and started again."""

    def __init__(self, folder: Path, *, nodes: int = 3) -> None:
        uris = [f"http://127.0.0.1:{free_port()}" for _ in range(nodes)]
        self.nodes = [
            QdrantServer(
                folder / f"node-{number}",
                settings={
                    "QDRANT__CLUSTER__ENABLED": "true",
                    "QDRANT__CLUSTER__P2P__PORT": uri.rpartition(":")[2],
                    "QDRANT__STORAGE__WAL__WAL_CAPACITY_MB": "1",
                },
                arguments=["--uri", uri, *(["--bootstrap", uris[0]] if number else [])],
            )
            for number, uri in enumerate(uris)
        ]

    def start(self) -> None:
        """One after another: each joins those that are there."""
        for node in self.nodes:
            node.start()
        wait_until(lambda: len(self.nodes[0].get("/cluster")["peers"]) == len(self.nodes), what="all nodes to join")

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def peer(self, node: int) -> int:
        """The id that Qdrant gives to a node."""
        return int(self.nodes[node].get("/cluster")["peer_id"])

    def replicas(self, collection: str, *, seen_by: int = 0) -> dict[int, dict[int, str]]:
        """The state of each replica, by shard and by peer, as one node sees them."""
        seen = self.nodes[seen_by].get(f"/collections/{collection}/cluster")
        local = [{**shard, "peer_id": seen["peer_id"]} for shard in seen["local_shards"]]
        found: dict[int, dict[int, str]] = {}
        for shard in (*local, *seen["remote_shards"]):
            found.setdefault(shard["shard_id"], {})[shard["peer_id"]] = shard["state"]
        return found

    def wait_for(self, collection: str, holds: Callable[[dict[int, dict[int, str]]], bool], *, what: str) -> None:
        """Waits until the replicas are so, as the first node sees them."""
        wait_until(lambda: holds(self.replicas(collection)), what=what, within_seconds=60)


def _as_of_old(endpoint: str) -> str:
    """The path of a REST endpoint as 1.16 calls it: 1.19 says `{collection_name}`."""
    return endpoint.replace("{collection_name}", "{name}")


def _writes(endpoint: str) -> bool:
    method, _, path = endpoint.rpartition(" ")
    if not method:
        return path not in READING_METHODS
    return method in {"PUT", "PATCH", "DELETE"} or (method == "POST" and path not in READING_POSTS)


def _counts_in(counts: dict[str, Any]) -> int:
    """Sum of the counts; per status, or without one (gRPC before Qdrant 1.17)."""
    if "count" in counts:
        return int(counts["count"])
    return sum(_counts_in(of_status) for of_status in counts.values())

"""`vectorops export`: what exists is declared, and applying that changes nothing.

The collections are those that LangChain, LlamaIndex, Haystack, qdrant-client and plain REST make: see
tests/corpus/exported.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from corpus.exported import recipes, replay
from documented import documented, replaced, run
from integration.command_line import CONNECTION, Shell, collection, point_set
from integration.conftest import StartOperator, StartProxy, StartQdrant
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, is_ready
from servers.proxy import Call, Proxy
from servers.qdrant import QdrantServer, cluster_settings
from vectorops.local.documents import Document, parse_documents

LEDGER = "vectorops-ledger"
PAGE = "docs/export.md"
READING = ("/points", "/points/scroll", "/points/count", "/points/query")
PLURALS = {
    "QdrantConnection": "qdrantconnections",
    "QdrantCollection": "qdrantcollections",
    "PointSet": "pointsets",
}


@pytest.fixture
def holding(start_qdrant: StartQdrant) -> QdrantServer:
    """A Qdrant that holds all collections of the corpus."""
    server = start_qdrant()
    replay(server.url)
    return server


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def content(server: QdrantServer) -> dict[str, Any]:
    """All that each collection of the corpus has, without what VectorOps writes into its metadata."""
    found = {}
    for name in recipes():
        described = server.get(f"/collections/{name}")
        metadata = described["config"].pop("metadata", None) or {}
        users = {key: value for key, value in metadata.items() if not key.startswith("vectorops.dev/")}
        aliases = server.get(f"/collections/{name}/aliases")["aliases"]
        page = httpx.post(
            f"{server.url}/collections/{name}/points/scroll", json={"limit": 100, "with_vector": True}, verify=False
        )
        points = page.raise_for_status().json()["result"]["points"]
        found[name] = (
            described["config"],
            users,
            described["payload_schema"],
            sorted(alias["alias_name"] for alias in aliases),
            points,
        )
    return found


def changes(proxy: Proxy) -> list[str]:
    """Requests that write anything but ledgers, and marks into metadata. `content` shows that a PATCH wrote no more."""
    return [str(call) for call in proxy.calls if _changes(call)]


def _changes(call: Call) -> bool:
    path = call.path.split("?")[0]
    if call.method == "GET" or path.startswith(f"/collections/{LEDGER}"):
        return False
    is_read = call.method == "POST" and path.endswith(READING)
    is_mark = call.method == "PATCH" and path.count("/") == 2
    return not (is_read or is_mark)


def exported(shell: Shell, server: QdrantServer, *flags: str) -> str:
    """What the command prints."""
    answer = shell.run("export", "--qdrant", server.url, *flags)
    assert answer.code == 0, answer.err
    return answer.out


# ---- applying it changes nothing ----


def test_applying_what_was_exported_changes_no_collection_and_no_point(
    shell: Shell, holding: QdrantServer, start_proxy: StartProxy
):
    assert len(recipes()) >= 20
    before, writes = content(holding), holding.telemetry_writes()
    shell.write("all.yaml", exported(shell, holding, "--points"))
    assert holding.telemetry_writes() == writes
    proxy = start_proxy(holding.url)

    planned = shell.run("plan", "-f", "all.yaml", "--qdrant", holding.url, "-o", "json")
    applied = shell.run("apply", "-f", "all.yaml", "--qdrant", proxy.url)

    assert (planned.code, applied.code) == (0, 0), planned.out + applied.out
    assert {change["action"] for plan in planned.json for change in plan["changes"]} == {"adopt"}
    assert content(holding) == before
    assert changes(proxy) == []


def test_after_that_nothing_is_left_to_do_and_nothing_left_to_export(shell: Shell, holding: QdrantServer):
    shell.write("all.yaml", exported(shell, holding, "--points"))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", holding.url).code == 0
    writes = holding.telemetry_writes()

    assert shell.run("plan", "-f", "all.yaml", "--qdrant", holding.url, "--detailed-exitcode").code == 0
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", holding.url).code == 0
    assert holding.telemetry_writes() == writes

    again = shell.run("export", "--qdrant", holding.url, "--points")
    assert (again.code, again.out.count("kind: ")) == (0, 1)
    assert f"collection '{LEDGER}': left out: VectorOps keeps its ledgers in it" in again.err
    assert (
        "collection 'colbert': left out: QdrantCollection default/colbert of installation 'cli' declares it"
        in again.err
    )


async def test_through_an_api_server_and_an_operator_nothing_changes_either(
    shell: Shell,
    holding: QdrantServer,
    start_proxy: StartProxy,
    kube: KubeServer,
    api: KubeApi,
    namespace: str,
    start_operator: StartOperator,
):
    proxy, before = start_proxy(holding.url), content(holding)
    # The proxy stands for the address that the operator reaches.
    text = exported(shell, holding, "--points", "-n", namespace).replace(holding.url, proxy.url)
    sent = list(map(value_of, parse_documents(text)))
    async with httpx.AsyncClient(
        base_url=kube.url, headers={"authorization": f"Bearer {kube.token}"}, verify=kube.tls
    ) as client:
        for manifest, one in zip(sent, text.split("\n---\n"), strict=True):
            stored = await send_yaml(client, namespace, manifest, one)
            assert canonical(stored["spec"]) == canonical(manifest["spec"]), manifest["metadata"]
    start_operator()

    for manifest in sent:
        await api.wait_for(manifest["kind"], namespace, manifest["metadata"]["name"], is_ready, timeout=60)

    assert await asyncio.to_thread(content, holding) == before
    assert changes(proxy) == []


def canonical(spec: Any) -> str:
    """As JSON with its keys sorted, since an API server sorts them. It writes 1e19 as 10000000000000000000: to
    `apply`, too, whole floats are integers.
    """
    return json.dumps(json.loads(json.dumps(spec), parse_float=_whole), sort_keys=True)


def _whole(number: str) -> float | int:
    return int(float(number)) if float(number).is_integer() else float(number)


async def send_yaml(client: httpx.AsyncClient, namespace: str, manifest: Any, text: str) -> Any:
    """`kubectl apply --server-side` of one document, in the very words of the file."""
    place = f"/apis/vectorops.dev/v1alpha1/namespaces/{namespace}/{PLURALS[manifest['kind']]}"
    answer = await client.patch(
        f"{place}/{manifest['metadata']['name']}",
        params={"fieldManager": "tests", "fieldValidation": "Strict"},
        headers={"content-type": "application/apply-patch+yaml"},
        content=text.encode(),
    )
    assert answer.is_success, answer.text
    return answer.json()


# ---- what a person gets ----


def test_the_commands_of_the_page_leave_nothing_to_do(holding: QdrantServer, tmp_path: Path):
    before = content(holding)
    here = {"http://qdrant:6333": holding.url}

    planned = run(replaced(documented(PAGE, "Exporting what exists"), here), tmp_path)
    applied = run(replaced(documented(PAGE, "Exporting what exists", 2), here), tmp_path)

    assert "= 3 points to adopt" in planned
    assert ("~ " in planned, "+ " in planned, "- " in planned) == (False, False, False)
    assert " 0 to change, 0 with a problem" in applied
    assert content(holding) == before


def test_the_key_is_used_and_never_printed(shell: Shell, start_qdrant: StartQdrant):
    server = start_qdrant(api_key="a-secret-key")
    key = {"VECTOROPS_QDRANT_API_KEY": "a-secret-key"}

    refused = shell.run("export", "--qdrant", server.url)
    answer = shell.run("export", "--qdrant", server.url, "--connection", "main", "-n", "search", environment=key)

    assert (refused.code, refused.out) == (1, "")
    assert (answer.code, answer.err) == (0, "")
    assert "a-secret-key" not in answer.out
    assert "kubectl create secret generic main-api-key --namespace search --from-literal=api-key=..." in answer.out
    (connection,) = map(value_of, parse_documents(answer.out))
    assert connection["spec"] == {
        "url": server.url,
        "preferGrpc": False,
        "apiKeySecretRef": {"name": "main-api-key", "key": "api-key"},
    }


def test_chosen_collections_are_exported_and_the_same_text_comes_twice(shell: Shell, holding: QdrantServer):
    first = exported(shell, holding, "--collection", "my_notes", "--collection", "indexed", "--points")

    answer = shell.run(
        *("export", "--qdrant", holding.url, "--points", "-o", "some.yaml"),
        *("--collection", "indexed", "--collection", "my_notes"),
    )

    assert (answer.code, answer.out) == (0, "")
    assert (shell.folder / "some.yaml").read_text() == first
    names = [(one["kind"], one["metadata"]["name"]) for one in map(value_of, parse_documents(first))]
    assert names[:2] == [("QdrantConnection", "qdrant"), ("QdrantCollection", "indexed")]
    # The name is the same as if all were exported: `my-notes` is another collection.
    assert names[2:] == [("QdrantCollection", "my-notes-c23dc85a"), ("PointSet", "my-notes-c23dc85a")]


def test_what_cannot_be_declared_is_refused_without_its_content_and_the_rest_is_printed(
    shell: Shell, start_qdrant: StartQdrant
):
    server = start_qdrant()
    make(server, "fine", [{"id": 1, "vector": [1, 2], "payload": {"a": 1}}])
    make(server, "large", [{"id": 7, "vector": [1, 2], "payload": {"a": {"b": [2**64 - 1]}}}])
    make(server, "mixed", [{"id": id, "vector": [1, 2]} for id in (2**63, "00000000-0000-0000-0000-000000000001")])
    make(server, "many", [{"id": id, "vector": [1, 2]} for id in range(2001)])
    httpx.put(f"{server.url}/collections/none", json={}, verify=False).raise_for_status()
    alias = {"actions": [{"create_alias": {"collection_name": "fine", "alias_name": "live"}}]}
    httpx.post(f"{server.url}/collections/aliases", json=alias, verify=False).raise_for_status()

    answer = shell.run("export", "--qdrant", server.url, "--points")
    asked = shell.run("export", "--qdrant", server.url, "--collection", "live", "--collection", "gone")

    assert answer.code == 1
    assert answer.err.count(" (a file would hold them: --output FILE); its points are not exported") == 3
    assert [line.split("(")[0].split(", because")[0].strip() for line in sorted(answer.err.splitlines())] == [
        "collection 'large': point '7': payload.a.b[0]: an integer that the API server rounds",
        "collection 'many': more than 2,000 points, which one PointSet cannot hold",
        "collection 'mixed': the id 9223372036854775808 needs idFormat: Integer",
        "collection 'none': no manifest declares it: spec: at least one of vector, vectors, sparseVectors is required",
    ]
    assert str(2**64 - 1) not in answer.err
    kinds = [one["kind"] for one in map(value_of, parse_documents(answer.out))]
    assert (kinds.count("QdrantCollection"), kinds.count("PointSet")) == (4, 1)
    assert asked.code == 1
    assert asked.err.splitlines() == ["collection 'gone': there is none", "collection 'live': it is an alias of 'fine'"]


def test_a_collection_of_its_users_that_is_declared_is_left_out(shell: Shell, start_qdrant: StartQdrant):
    server = start_qdrant()
    make(server, "users", [{"id": 1, "vector": [1, 2]}])
    shell.write("all.yaml", CONNECTION, collection("users", managedBy="User"), point_set("mine", "users", {2: [1, 0]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", server.url).code == 0

    answer = shell.run("export", "--qdrant", server.url, "--points")

    assert (answer.code, answer.out.count("kind: ")) == (0, 1)
    keeps = "PointSet default/mine of installation 'cli' keeps points in it, so it is declared"
    assert f"collection 'users': left out: {keeps}" in answer.err


def test_points_under_shard_keys_get_a_set_for_each_key(
    shell: Shell, tmp_path_factory: pytest.TempPathFactory, start_proxy: StartProxy
):
    server = QdrantServer(tmp_path_factory.mktemp("distributed"), settings=cluster_settings())
    server.start()
    try:
        put(server, "/collections/tenants", {"vectors": {"size": 2, "distance": "Dot"}, "sharding_method": "custom"})
        for key in ("Acme Inc.", "globex", 7):
            put(server, "/collections/tenants/shards", {"shard_key": key})
            points = [{"id": 1, "vector": [0.5, 2], "payload": {"of": str(key)}}]
            put(server, "/collections/tenants/points?wait=true", {"points": points, "shard_key": key})

        answer = shell.run("export", "--qdrant", server.url, "--points", "-o", "all.yaml")
        proxy = start_proxy(server.url)
        applied = shell.run("apply", "-f", "all.yaml", "--qdrant", proxy.url)

        assert answer.code == 1
        assert "the shard key 7 is left out" in answer.err
        assert "its points under the shard key 7 are not exported" in answer.err
        assert applied.code == 0, applied.out
        names = [line.split()[1] for line in applied.out.splitlines() if line.startswith("PointSet")]
        assert names == ["tenants-acme-inc", "tenants-globex"]
        assert changes(proxy) == []
    finally:
        server.kill()


@pytest.mark.parametrize("given", ["folder", "localhost:6333", "http://user:key@localhost:6333"])
def test_what_is_no_server_is_wrong_usage(shell: Shell, given: str):
    answer = shell.run("export", "--qdrant", given)

    assert (answer.code, answer.out) == (2, "")
    assert "--qdrant: " in answer.err


@pytest.mark.parametrize("flag", ["--namespace", "--connection"])
def test_a_name_that_kubernetes_does_not_take_is_wrong_usage(shell: Shell, flag: str):
    answer = shell.run("export", "--qdrant", "http://127.0.0.1:1", flag, "Not_A_Name")

    assert (answer.code, answer.out) == (2, "")
    assert "Not_A_Name" in answer.err


def value_of(document: Document) -> Any:
    return document.value


def make(server: QdrantServer, name: str, points: list[Any]) -> None:
    put(server, f"/collections/{name}", {"vectors": {"size": 2, "distance": "Dot"}})
    put(server, f"/collections/{name}/points?wait=true", {"points": points})


def put(server: QdrantServer, path: str, body: Any) -> None:
    httpx.put(f"{server.url}{path}", json=body, timeout=30, verify=False).raise_for_status()

"""The test servers do what the other tests rely on: nothing here is about VectorOps itself."""

import asyncio
import contextlib
import json
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, models

from servers.certificates import CertificateAuthority
from servers.kubeapi import ApiError, TimedOut
from servers.process import DidNotStart
from servers.proxy import Call, Cut
from servers.qdrant import QdrantTls


def config_map(namespace: str, name: str, **metadata: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "data": {"a": "1"},
    }


@contextlib.asynccontextmanager
async def zoo(client: AsyncQdrantClient) -> AsyncIterator[str]:
    """A collection of two-dimensional vectors, and the client closed after it."""
    name = f"zoo-{uuid.uuid4().hex[:8]}"
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    await client.create_collection(name, vectors_config=vectors)
    yield name
    await client.close()


def points(*ids: int) -> list[models.PointStruct]:
    return [models.PointStruct(id=number, vector=[1.0, 2.0], payload={}) for number in ids]


async def test_an_applied_object_is_stored_and_a_predicate_that_never_holds_is_shown(api, namespace):
    await api.apply(config_map(namespace, "one"))

    await api.wait_for("ConfigMap", namespace, "one", lambda found: found["data"] == {"a": "1"})
    with pytest.raises(TimedOut, match="name: one"):
        await api.wait_for("ConfigMap", namespace, "one", lambda found: "b" in found["data"], timeout=0.3)
    assert [item["metadata"]["name"] for item in await api.list("ConfigMap", namespace)] == ["one"]


async def test_a_namespace_stays_until_the_last_finalizer_in_it_is_gone(api):
    namespace = await api.create_namespace()
    await api.apply(config_map(namespace, "held", finalizers=["example.org/held"]))

    with pytest.raises(TimedOut, match="ConfigMap held"):
        await api.delete_namespace(namespace, ["ConfigMap"], timeout=0.3)
    with pytest.raises(ApiError, match="being terminated"):
        await api.apply(config_map(namespace, "late"))
    await api.patch("ConfigMap", namespace, "held", {"metadata": {"finalizers": None}})
    await api.delete_namespace(namespace, ["ConfigMap"])

    assert await api.find("Namespace", None, namespace) is None


async def test_a_rebuilt_cluster_has_lost_its_objects_and_its_identity(start_kube):
    kube = start_kube()
    async with kube.api() as api:
        namespace = await api.create_namespace()
        before = await api.get("Namespace", None, "kube-system")

        kube.rebuild()

        assert await api.find("Namespace", None, namespace) is None
        assert (await api.get("Namespace", None, "kube-system"))["metadata"]["uid"] != before["metadata"]["uid"]


@pytest.mark.parametrize("grpc", [False, True])
async def test_only_writes_are_counted(start_qdrant, grpc):
    qdrant = start_qdrant()
    client = AsyncQdrantClient(url=qdrant.url, grpc_port=qdrant.grpc_port, prefer_grpc=grpc, check_compatibility=False)
    async with zoo(client) as name:
        await client.upsert(name, points(1))
        written = qdrant.telemetry_writes()

        await client.scroll(name)
        await client.retrieve(name, [1])
        await client.count(name)
        await client.get_collection(name)
        await client.query_points(name, [1.0, 0.0])

        assert written == 2
        assert qdrant.telemetry_writes() == written
        assert len(qdrant.telemetry_writes_by_endpoint()) == 2


async def test_a_killed_qdrant_comes_back_with_its_points_and_a_frozen_one_only_waits(start_qdrant):
    qdrant = start_qdrant()
    async with zoo(qdrant.client()) as name:
        await qdrant.client().upsert(name, points(1, 2))

        qdrant.kill()
        qdrant.start()
        qdrant.pause()
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{qdrant.url}/collections", timeout=0.3)
        qdrant.resume()

        assert qdrant.get(f"/collections/{name}")["points_count"] == 2


async def test_a_qdrant_behind_tls_wants_its_key_and_a_client_certificate(start_qdrant, tmp_path: Path):
    authority = CertificateAuthority(tmp_path / "pki")
    tls = QdrantTls(authority, authority.issue("qdrant"), clients_need_a_certificate=True)

    qdrant = start_qdrant(api_key="secret", tls=tls)

    assert qdrant.get("/collections") == {"collections": []}
    with pytest.raises(httpx.TransportError):
        httpx.get(qdrant.url, verify=authority.client_context())
    qdrant.set_api_key("another")
    stranger = httpx.get(
        f"{qdrant.url}/collections",
        headers={"api-key": "secret"},
        verify=authority.client_context(authority.issue("stranger")),
    )
    assert stranger.status_code == 401


@pytest.fixture(params=["rest", "grpc"])
def through(request, qdrant, start_proxy):
    """A proxy, and a function that makes a client whose points go through it, over REST or gRPC."""
    proxy = start_proxy(qdrant.url if request.param == "rest" else f"127.0.0.1:{qdrant.grpc_port}")

    def connect() -> AsyncQdrantClient:
        return AsyncQdrantClient(
            url=qdrant.url if request.param == "grpc" else proxy.url,
            grpc_port=proxy.port,
            prefer_grpc=request.param == "grpc",
            check_compatibility=False,
            timeout=5,
        )

    return proxy, connect


def is_upsert(call: Call) -> bool:
    return call.path.endswith(("/Upsert", "/points?wait=true"))


async def test_a_proxy_records_calls_and_loses_the_answer_of_one_that_was_carried_out(through, qdrant):
    proxy, connect = through
    client = connect()
    async with zoo(client) as name:
        proxy.lose_answer(is_upsert)

        with pytest.raises(Exception, match=r".+"):
            await client.upsert(name, points(1))
        # gRPC may give the next call of a client to the connection that has just broken.
        await connect().upsert(name, points(2))

        assert [is_upsert(call) for call in proxy.calls] == [False, True, True]
        assert [call.number for call in proxy.calls] == [0, 1, 2]
        assert qdrant.get(f"/collections/{name}")["points_count"] == 2


async def test_a_call_that_is_cut_before_never_reaches_the_server(through, qdrant):
    proxy, connect = through
    client = connect()

    def cut_upserts(call: Call) -> None:
        if is_upsert(call):
            raise Cut

    async with zoo(client) as name:
        proxy.before = cut_upserts

        with pytest.raises(Exception, match=r".+"):
            await client.upsert(name, points(1))

        assert qdrant.get(f"/collections/{name}")["points_count"] == 0


async def test_hooks_stand_between_the_server_and_both_ends_of_a_call(through, qdrant):
    proxy, connect = through
    client = connect()
    seen: list[tuple[str, int]] = []
    async with zoo(client) as name:

        def look(when: str) -> None:
            seen.append((when, qdrant.get(f"/collections/{name}")["points_count"]))

        proxy.before = lambda _: look("before")
        proxy.after = lambda _: look("after")
        await client.upsert(name, points(1, 2, 3))

    assert seen == [("before", 0), ("after", 3)]


async def test_a_black_hole_holds_a_call_until_the_network_is_back(through, qdrant):
    proxy, connect = through
    client = connect()
    async with zoo(client) as name:
        proxy.blackhole()
        call = asyncio.create_task(client.upsert(name, points(1)))
        await asyncio.sleep(0.2)
        assert not call.done()

        proxy.restore()

        await call
        assert qdrant.get(f"/collections/{name}")["points_count"] == 1


async def test_a_proxy_can_refuse_and_come_back(qdrant, start_proxy):
    proxy = start_proxy(qdrant.url)

    proxy.refuse()
    with pytest.raises(httpx.ConnectError):
        httpx.get(proxy.url)
    proxy.restore()

    assert httpx.get(proxy.url).is_success


async def test_a_watch_streams_through_a_proxy(api, kube, namespace, start_proxy):
    proxy = start_proxy(kube.url, tls=kube.tls)
    client = httpx.AsyncClient(base_url=proxy.url, headers={"authorization": f"Bearer {kube.token}"})
    path = f"/api/v1/namespaces/{namespace}/configmaps"

    async with client, client.stream("GET", path, params={"watch": "true"}) as watch:
        await api.apply(config_map(namespace, "news"))
        first = await anext(watch.aiter_lines())

    assert '"ADDED"' in first
    assert '"news"' in first
    assert [str(call) for call in proxy.calls] == [f"GET {path}?watch=true"]


async def test_the_operator_is_ready_when_it_has_started_and_ends_when_it_is_told(start_operator, namespace):
    operator = start_operator(installation="mine")
    assert "vectorops_" in operator.metrics()

    assert operator.stop() == 0

    first = json.loads(operator.log_text().splitlines()[0])
    assert first["installation"] == "mine"
    assert first["namespaces"] == [namespace]


async def test_an_operator_can_be_killed_at_its_first_call_and_started_again(start_operator, kube, start_proxy):
    proxy = start_proxy(kube.url, tls=kube.tls)
    operator = start_operator(kubeconfig=kube.kubeconfig(proxy.url))
    operator.stop()
    proxy.before = lambda _: operator.kill()

    with pytest.raises(DidNotStart):
        operator.start()
    assert operator.status == -signal.SIGKILL
    proxy.before = None
    operator.start()

    assert operator.running

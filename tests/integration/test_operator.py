"""The life of the operator's process: how it starts, what it says of itself, how it ends.

What it does to Qdrant is in the tests of each kind.
"""

import asyncio
import json
import re
import signal
import time
from pathlib import Path

import httpx
import pytest
import yaml

from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, condition, is_ready
from servers.operator import OperatorProcess
from servers.process import DidNotStart, free_port, wait_until

FINALIZER = "vectorops.dev/cleanup"
OURS = ["qdrantconnections", "qdrantcollections", "pointsets"]


def connection(namespace: str, name: str, url: str) -> Object:
    return {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "QdrantConnection",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"url": url, "preferGrpc": False},
    }


def reconciliations(operator: OperatorProcess, kind: str) -> float:
    """How many there were, whatever their result."""
    pattern = rf'^vectorops_reconcile_total{{kind="{kind}",.*}} (\S+)$'
    return sum(float(count) for count in re.findall(pattern, operator.metrics(), re.MULTILINE))


@pytest.fixture
def restricted(kube: KubeServer, api: KubeApi, namespace: str, tmp_path: Path):
    """Makes the kubeconfig of somebody who may only do what the given rules say, in the test's namespace."""

    async def make(rules: list[Object]) -> Path:
        rbac = "rbac.authorization.k8s.io/v1"
        meta = {"namespace": namespace, "name": "operator"}
        await api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
        await api.create({"apiVersion": rbac, "kind": "Role", "metadata": meta, "rules": rules})
        await api.create(
            {
                "apiVersion": rbac,
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
                "subjects": [{"kind": "ServiceAccount", **meta}],
            }
        )
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/operator/token"
        token = (await api._call("POST", path, body=request))["status"]["token"]
        config = yaml.safe_load(kube.kubeconfig().read_text())
        config["users"][0]["user"] = {"token": token}
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return file

    return make


def rule(group: str, resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def words_of_failed_start(start_operator, **options) -> str:
    """What the operator says when it refuses to start; it must say so with a status that is not 0."""
    with pytest.raises(DidNotStart) as told:
        start_operator(**options)
    assert "(status 1)" in str(told.value)
    return str(told.value)


async def test_a_connection_becomes_ready_and_goes_again(api, namespace, qdrant, start_operator):
    start_operator()

    await api.apply(connection(namespace, "main", qdrant.url))
    ready = await api.wait_for("QdrantConnection", namespace, "main", is_ready)

    assert FINALIZER in ready["metadata"]["finalizers"]
    assert ready["status"]["server"]["version"] == "1.16.3"
    await api.delete("QdrantConnection", namespace, "main")
    await api.wait_gone("QdrantConnection", namespace, "main")


async def test_what_was_declared_while_the_operator_was_away_is_found(api, namespace, qdrant, start_operator):
    await api.apply(connection(namespace, "main", qdrant.url))

    operator = start_operator()
    await api.wait_for("QdrantConnection", namespace, "main", is_ready)
    operator.kill()
    await api.delete("QdrantConnection", namespace, "main")
    start_operator()

    await api.wait_gone("QdrantConnection", namespace, "main")


async def test_a_namespace_that_is_not_watched_is_left_alone(api, namespace, qdrant, start_operator):
    elsewhere = await api.create_namespace()
    start_operator()

    await api.apply(connection(elsewhere, "main", qdrant.url))
    await api.apply(connection(namespace, "main", qdrant.url))
    await api.wait_for("QdrantConnection", namespace, "main", is_ready)

    untouched = await api.get("QdrantConnection", elsewhere, "main")
    assert "finalizers" not in untouched["metadata"]
    assert condition(untouched, "Ready") == {}


async def test_its_own_writes_cause_no_further_look(api, namespace, qdrant, start_operator):
    """Finalizer and status come back as watch events; were they looked at, each look would cause the next."""
    operator = start_operator()

    for name in ("first", "second"):
        await api.apply(connection(namespace, name, qdrant.url))
        await api.wait_for("QdrantConnection", namespace, name, is_ready)
    await api.annotate("QdrantConnection", namespace, "second", {"vectorops.dev/reconcile": "1"})
    await api.wait_for(
        "QdrantConnection", namespace, "second", lambda found: found["status"].get("lastHandledReconcileAt") == "1"
    )

    # A look is counted when it has ended, a moment after its status is there; a fourth would come at once.
    await asyncio.sleep(1)
    assert reconciliations(operator, "QdrantConnection") == 3


async def test_a_resync_that_finds_nothing_writes_nothing(api, namespace, qdrant, start_operator):
    operator = start_operator(flags=["--resync-seconds=1"])
    await api.apply(connection(namespace, "main", qdrant.url))
    settled = await api.wait_for("QdrantConnection", namespace, "main", is_ready)

    before = reconciliations(operator, "QdrantConnection")
    while reconciliations(operator, "QdrantConnection") < before + 3:  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.1)

    assert (await api.get("QdrantConnection", namespace, "main"))["metadata"] == settled["metadata"]


async def test_an_event_tells_of_a_change_and_no_secret(api, namespace, start_operator):
    start_operator()

    await api.apply(connection(namespace, "main", f"http://127.0.0.1:{free_port()}"))
    await api.wait_for("QdrantConnection", namespace, "main", lambda found: condition(found, "Ready"))
    event = await first_event(api, namespace, "main")

    assert event["reason"] == "Unreachable"
    assert event["reportingComponent"] == "vectorops.dev/operator"


async def first_event(api: KubeApi, namespace: str, name: str) -> Object:
    """The first event about a resource: it is sent after the status, so it is waited for."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for event in await api.list("Event", namespace):
            if event["involvedObject"]["name"] == name:
                return event
        await asyncio.sleep(0.1)
    raise AssertionError(f"no event about {name} after 30 s")


async def test_it_says_how_it_is(api, namespace, qdrant, start_operator):
    operator = start_operator()
    await api.apply(connection(namespace, "main", qdrant.url))
    await api.wait_for("QdrantConnection", namespace, "main", is_ready)

    assert httpx.get(f"{operator.health_url}/healthz").text == "ok"
    assert httpx.get(f"{operator.health_url}/readyz").text == "ok"
    # A look is counted when it has ended, a moment after its status is there.
    looked = 'vectorops_reconcile_total{kind="QdrantConnection",result="success"} 1.0'
    wait_until(lambda: looked in operator.metrics(), what="the look to be counted")
    metrics = operator.metrics()
    for expected in (
        'vectorops_resources{kind="QdrantConnection",ready="True",reason="Succeeded"} 1.0',
        'vectorops_queue_depth{lane="change"} 0.0',
        "vectorops_build_info{",
        "vectorops_qdrant_requests_total{",
    ):
        assert expected in metrics
    # Nothing is labeled by object: ten thousand resources are not ten thousand series.
    assert '"main"' not in metrics
    assert namespace not in metrics


async def test_its_log_is_one_object_a_line_and_names_resource_and_reason(api, namespace, qdrant, start_operator):
    operator = start_operator(flags=["--log-level=debug"])
    await api.apply(connection(namespace, "main", qdrant.url))
    await api.wait_for("QdrantConnection", namespace, "main", is_ready)
    operator.stop()

    lines = [json.loads(line) for line in operator.log_text().splitlines()]

    about = [line for line in lines if line.get("resource") == f"QdrantConnection {namespace}/main"]
    assert "Succeeded" in [line.get("reason") for line in about]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(api, namespace, qdrant, start_operator, end):
    operator = start_operator()
    await api.apply(connection(namespace, "main", qdrant.url))
    await api.wait_for("QdrantConnection", namespace, "main", is_ready)

    operator.signal(end)

    # Kopf gives tasks that were forgotten 5 seconds, then complains of them.
    assert operator.wait(within_seconds=20) == 0
    log = operator.log_text()
    assert '"message":"stopped"' in log
    assert '"level":"error"' not in log
    assert '"level":"warning"' not in log


async def test_missing_crds_are_named_and_how_to_get_them(tmp_path, start_operator):
    bare = KubeServer(tmp_path / "bare", [])
    try:
        bare.start()
        said = words_of_failed_start(start_operator, kubeconfig=bare.kubeconfig())
    finally:
        bare.stop()

    assert "qdrantconnections.vectorops.dev is not installed" in said
    assert "vectorops crds | kubectl apply" in said


async def test_a_missing_permission_is_named(namespace, restricted, start_operator):
    some = await restricted(
        [
            rule("vectorops.dev", OURS[:2], ["get", "list", "watch", "patch"]),
            rule("vectorops.dev", [f"{name}/status" for name in OURS], ["patch"]),
            rule("vectorops.dev", ["pointsets"], ["get", "list"]),
        ]
    )

    said = words_of_failed_start(start_operator, kubeconfig=some)

    assert f"grant its service account: watch, patch on pointsets.vectorops.dev in namespace {namespace}" in said


async def test_an_api_server_that_does_not_answer_is_named(kube, tmp_path, start_operator):
    port = free_port()
    config = yaml.safe_load(kube.kubeconfig().read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))

    said = words_of_failed_start(start_operator, kubeconfig=kubeconfig)

    assert "no answer of the Kubernetes API server" in said
    assert str(port) in said


async def test_in_one_namespace_a_role_of_that_namespace_is_enough(api, namespace, qdrant, restricted, start_operator):
    """No right to see CRDs, other namespaces, or lists of Secrets."""
    rules = [
        rule("vectorops.dev", OURS, ["get", "list", "watch", "patch"]),
        rule("vectorops.dev", [f"{name}/status" for name in OURS], ["patch"]),
        rule("", ["secrets"], ["get"]),
        rule("events.k8s.io", ["events"], ["create"]),
    ]
    operator = start_operator(kubeconfig=await restricted(rules))

    await api.apply(connection(namespace, "main", qdrant.url))
    await api.wait_for("QdrantConnection", namespace, "main", is_ready)
    await api.delete("QdrantConnection", namespace, "main")
    await api.wait_gone("QdrantConnection", namespace, "main")

    assert operator.stop() == 0
    assert "forbidden" not in operator.log_text()


async def test_it_outlasts_a_restart_of_the_api_server(start_kube, qdrant, start_operator):
    kube = start_kube()
    async with kube.api() as api:
        namespace = await api.create_namespace()
        operator = start_operator(kubeconfig=kube.kubeconfig(), namespaces=[namespace])
        await api.apply(connection(namespace, "before", qdrant.url))
        await api.wait_for("QdrantConnection", namespace, "before", is_ready)

        kube.apiserver.kill()
        kube.apiserver.start()
        await api.apply(connection(namespace, "after", qdrant.url))
        await api.delete("QdrantConnection", namespace, "before")

        await api.wait_for("QdrantConnection", namespace, "after", is_ready, timeout=60)
        await api.wait_gone("QdrantConnection", namespace, "before")
        assert operator.stop() == 0


async def test_a_finalizer_that_somebody_removed_comes_back(api, namespace, qdrant, start_operator):
    start_operator()
    await api.apply(connection(namespace, "main", qdrant.url))
    await api.wait_for("QdrantConnection", namespace, "main", is_ready)

    await api.patch("QdrantConnection", namespace, "main", {"metadata": {"finalizers": None}})

    await api.wait_for(
        "QdrantConnection", namespace, "main", lambda found: FINALIZER in found["metadata"].get("finalizers", ())
    )

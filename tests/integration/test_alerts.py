"""Each alert in the situation that it is for: brought about with a real operator, whose metrics are fed to the rules.

What a page of docs/runbooks must say is checked here as well, and that there is one for each alert.
"""

import re
import subprocess
import threading
from pathlib import Path

import pytest

from integration.conftest import StartOperator, StartProxy
from integration.prometheus import ALERTS, Course, alerts, course, scrape, scrape_when
from integration.situations import passing
from integration.team import Team, unique
from integration.world import collection, connection, point, point_set, put_by_hand
from servers.embeddings import EmbeddingServer
from servers.kubeapi import condition
from servers.process import free_port
from servers.programs import promtool_program

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
OFTEN = ["--resync-seconds=1"]
KUBERNETES = "vectorops_kubernetes_requests_total"
UNREAD_SINCE = "vectorops_source_unread_since_timestamp_seconds"
NOT_READY = "vectorops_not_ready_since_timestamp_seconds"


@pytest.fixture
def team(api, namespace) -> Team:
    return Team(api, namespace)


def test_promtool_accepts_the_rules():
    subprocess.run([promtool_program(), "check", "rules", "--lint-fatal", str(ALERTS)], check=True)


async def test_a_healthy_operator_alerts_nobody(team, qdrant, start_operator):
    operator = start_operator(flags=OFTEN)
    name = unique("healthy")
    await team.connection(qdrant)
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)])
    await team.api.apply(connection(team.namespace, qdrant, name="resting", suspend=True))
    await team.wait("QdrantConnection", "resting", "Suspended")

    calm = course(operator)

    calm.silent(after="1m")
    calm.silent(after="23h")
    calm.verify()


async def test_what_needs_a_person_is_told_after_a_quarter_of_an_hour(team, qdrant, start_operator):
    operator = start_operator(flags=OFTEN)
    await team.connection(qdrant)
    await team.collection("wrong", hnswConfig={"m": -1}, until="RequestRejected")

    stalled = course(operator, begun=is_not_ready(1), what="the collection to be counted")

    labels = {"kind": "QdrantCollection", "resource_namespace": team.namespace, "name": "wrong"}
    stalled.fires(
        "VectorOpsStalled", within="17m", not_within="10m", severity="warning", reason="RequestRejected", **labels
    )
    stalled.silent('alertname=~"VectorOpsNotReady|VectorOpsPointsNotWritten"')
    stalled.verify()


async def test_what_waits_is_told_after_an_hour(team, qdrant, start_operator):
    operator = start_operator(flags=OFTEN)
    await team.connection(qdrant)
    await team.api.apply(point_set(team.namespace, "early", "missing", [point(1, 1, 0, 0)]))
    await team.wait("PointSet", "early", "CollectionNotFound")

    waiting = course(operator, begun=is_not_ready(1), what="the set to be counted")

    labels = {"kind": "PointSet", "resource_namespace": team.namespace, "name": "early"}
    waiting.fires(
        "VectorOpsNotReady", within="62m", not_within="45m", severity="warning", reason="CollectionNotFound", **labels
    )
    waiting.silent('alertname="VectorOpsStalled"')
    waiting.verify()


async def test_a_source_that_is_not_read_is_told_after_three_intervals_and_a_quarter_of_an_hour(
    team, qdrant, start_operator
):
    operator = start_operator(flags=OFTEN)
    name = unique("rows")
    await team.connection(qdrant)
    await team.collection(name)
    nobody = f"http://127.0.0.1:{free_port()}/rows.jsonl"
    declared = point_set(team.namespace, "rows", name, [])
    del declared["spec"]["points"]
    declared["spec"] |= {"source": {"http": {"urls": [nobody]}}, "refreshInterval": "1s"}
    await team.api.apply(declared)
    await team.wait("PointSet", "rows", "SourceUnavailable")

    unread = course(
        operator,
        begun=lambda seen: seen.value(UNREAD_SINCE, resource_namespace=team.namespace),
        what="the source to count as unread",
    )

    labels = {"resource_namespace": team.namespace, "name": "rows"}
    unread.fires("VectorOpsSourceUnread", within="27m", not_within="14m", severity="warning", **labels)
    unread.verify()


async def test_a_collection_that_answers_its_checks_too_badly_is_told(team, qdrant, start_operator):
    operator = start_operator(flags=OFTEN)
    name = unique("worse")
    await team.connection(qdrant)
    checks = {"queries": [{"vector": [1.0, 0.0, 0.0], "expect": ["1"]}], "thresholds": {"recall": 1}}
    await team.collection(name, checks=checks)
    await team.points(name, name, [point(2, 1, 0, 0)])
    told = await team.wait("QdrantCollection", name, lambda obj: condition(obj, "QualityDegraded"))
    assert condition(told, "Ready")["status"] == "True"
    assert 'expects "1", which is the id of no point' in condition(told, "QualityDegraded")["message"]
    assert len(await team.events(name, "QualityDegraded")) == 1

    worse = course(
        operator,
        begun=lambda seen: seen.value("vectorops_quality_degraded", resource_namespace=team.namespace),
        what="it to be counted",
    )

    labels = {"resource_namespace": team.namespace, "name": name}
    worse.fires("VectorOpsQualityDegraded", within="17m", not_within="7m", severity="warning", **labels)
    worse.silent('alertname=~"VectorOpsStalled|VectorOpsNotReady"')
    worse.verify()


async def test_a_migration_that_stands_still_is_told(team, qdrant, start_operator):
    operator = start_operator(flags=OFTEN)
    name = unique("slow")
    await team.connection(qdrant)
    auto = {"layout": "Aliased", "migration": {"approval": "Auto"}}
    await team.collection(name, **auto)
    await team.points(name, name, [point(1, 1, 0, 0)])
    await team.points(name, name, [point(1, 1, 0, 0)], suspend=True)
    await team.collection(name, params={"shard_number": 2}, until="MigrationBlocked", **auto)

    slow = course(
        operator,
        begun=lambda seen: seen.value("vectorops_migration_since_timestamp_seconds", phase="Filling"),
        what="it to be counted",
    )

    labels = {"resource_namespace": team.namespace, "name": name, "phase": "Filling"}
    slow.fires("VectorOpsMigrationSlow", within="380m", not_within="300m", severity="warning", **labels)
    slow.verify()


async def test_points_that_are_not_written_are_told(team, qdrant, stored, start_operator):
    operator = start_operator(flags=OFTEN)
    name = unique("points")
    await team.connection(qdrant)
    await team.collection(name)
    await put_by_hand(stored, name, 99)
    await team.points("short", name, [point(1, 1, 0)], until="PointsFailed")
    await team.points("claims", name, [point(99, 1, 0, 0)], until="PointConflicts")

    incomplete = course(operator, begun=is_not_ready(2), what="both sets to be counted")

    for set_, reason in (("short", "PointsFailed"), ("claims", "PointConflicts")):
        just_this = Course(*(only(one, name=set_) for one in (incomplete.before, incomplete.after) if one))
        labels = {"kind": "PointSet", "resource_namespace": team.namespace, "name": set_, "reason": reason}
        just_this.fires("VectorOpsPointsNotWritten", within="17m", not_within="10m", severity="warning", **labels)
        just_this.silent('alertname=~"VectorOpsStalled|VectorOpsNotReady"')
        just_this.verify()


async def test_a_qdrant_that_is_away_is_told_and_that_all_stands_still(
    team, qdrant, start_proxy: StartProxy, start_operator: StartOperator
):
    operator = start_operator(flags=OFTEN)
    proxy = start_proxy(qdrant.url)
    await team.connection(proxy.url)
    before = scrape(operator).value("vectorops_reconcile_errors_total", reason="Unreachable")
    proxy.refuse()

    away = course(
        operator,
        begun=lambda seen: seen.value("vectorops_reconcile_errors_total", reason="Unreachable") > before,
        what="the connection to fail",
    )

    server = proxy.url.removeprefix("http://")
    away.fires("VectorOpsQdrantFailing", within="16m", not_within="5m", severity="warning", server=server)
    away.fires("VectorOpsReconcileErrors", within="32m", not_within="5m", severity="warning", kind="QdrantConnection")
    away.fires("VectorOpsNothingSynced", within="70m", not_within="55m", severity="critical", kind="QdrantConnection")
    away.verify()


async def test_a_qdrant_that_is_slow_is_told(team, qdrant, start_proxy, start_operator):
    operator = start_operator(flags=OFTEN)
    proxy = start_proxy(qdrant.url)
    server = proxy.url.removeprefix("http://")
    still = threading.Event()
    proxy.before = lambda _: still.wait(2.2)
    await team.connection(proxy.url)

    slow = course(
        operator,
        begun=lambda seen: seen.value("vectorops_qdrant_request_seconds_count", server=server),
        what="a request to be counted",
    )
    still.set()

    slow.fires("VectorOpsQdrantSlow", within="32m", not_within="10m", severity="warning", server=server)
    slow.silent('alertname="VectorOpsQdrantFailing"')
    slow.verify()


async def test_an_api_server_that_keeps_silent_is_told(team, qdrant, kube, start_proxy, start_operator):
    proxy = start_proxy(kube.url, tls=kube.tls)
    operator = start_operator(kubeconfig=kube.kubeconfig(proxy.url), flags=OFTEN)
    await team.connection(qdrant)
    scrape_when(operator, lambda seen: seen.value("vectorops_resources"), what="the connection to be counted")
    proxy.refuse()

    silent = course(
        operator,
        begun=lambda seen: any(name == KUBERNETES and dict(labels)["code"].isalpha() for name, labels in seen.values),
        what="the API server to be missed",
    )

    silent.fires("VectorOpsListOverdue", within="10m", not_within="2m", severity="warning")
    silent.fires(
        "VectorOpsReconcileOverdue", within="20m", not_within="8m", severity="warning", kind="QdrantConnection"
    )
    silent.verify()


async def test_changes_that_wait_for_a_worker_are_told(team, qdrant, start_proxy, start_operator):
    operator = start_operator(flags=["--workers=1"])
    proxy = start_proxy(qdrant.url)
    await team.connection(proxy.url)
    proxy.blackhole()
    for name in ("one", "two"):
        await team.api.apply(collection(team.namespace, name))

    stuck = course(
        operator,
        begun=lambda seen: seen.value("vectorops_queue_depth", lane="change"),
        what="a collection to wait for the worker",
    )
    proxy.restore()

    stuck.fires("VectorOpsQueueNotDraining", within="25m", not_within="15m", severity="warning", lane="change")
    stuck.verify()


async def test_a_fault_of_the_operator_is_told(team, qdrant, start_operator):
    """None is known; an answer that Qdrant never gives brings about one."""
    operator = start_operator()
    with passing(qdrant.url) as between:
        nonsense = 200, {"result": {"config": "none"}, "status": "ok", "time": 0.0}
        between.answer = lambda method, path, _: (
            nonsense if method == "GET" and path.startswith("/collections/odd") else None
        )
        await team.connection(between.url)
        before = scrape(operator)
        await team.collection("odd", until="InternalError")
        after = scrape_when(
            operator,
            lambda seen: seen.value("vectorops_reconcile_errors_total", reason="InternalError"),
            what="the fault to be counted",
        )

    once = Course(before, after, goes_on=False)

    once.fires("VectorOpsInternalError", within="1m", severity="warning", kind="QdrantCollection")
    once.silent('alertname="VectorOpsInternalError"', after="30m")
    once.verify()


async def test_a_finalizer_that_was_let_go_is_told(team, qdrant, start_operator):
    operator = start_operator()
    await team.connection(qdrant)
    await team.collection("left", collectionName=unique("left"))
    before = scrape(operator)
    await team.annotate("QdrantCollection", "left", {"vectorops.dev/skip-cleanup": "true"})
    await team.delete("QdrantCollection", "left")
    after = scrape_when(
        operator, lambda seen: seen.value("vectorops_cleanups_skipped_total"), what="the letting go to be counted"
    )

    once = Course(before, after, goes_on=False)

    once.fires("VectorOpsCleanupSkipped", within="1m", severity="warning", kind="QdrantCollection")
    once.silent('alertname="VectorOpsCleanupSkipped"', after="90m")
    once.verify()


async def test_texts_that_are_embedded_again_and_again_are_told(team, qdrant, start_operator):
    """Here the server's vectors cannot be stored, so each resync tries again."""
    with EmbeddingServer() as server:
        operator = start_operator(flags=OFTEN)
        name = unique("texts")
        hosted = {"openAI": {"model": "any", "baseURL": server.base_url}}
        await team.connection(qdrant)
        await team.collection(name, vector={"embedder": hosted})
        server.vectors = lambda texts: [[float("nan")] * 4 for _ in texts]
        await team.points(name, name, [{"id": 1, "vector": {"text": "a question"}}], until="PointsFailed")

        again = course(operator)

    again.fires("VectorOpsTextsEmbeddedAgain", within="7h", not_within="5h", severity="info")
    again.verify()


async def test_texts_that_were_embedded_once_are_not_told(team, qdrant, start_operator):
    with EmbeddingServer() as server:
        operator = start_operator(flags=OFTEN)
        name = unique("texts")
        await team.connection(qdrant)
        await team.collection(name, vector={"embedder": {"openAI": {"model": "any", "baseURL": server.base_url}}})
        await team.points(name, name, [{"id": 1, "vector": {"text": "a question"}}])

        once = course(operator)

    once.silent('alertname="VectorOpsTextsEmbeddedAgain"', after="12h")
    once.verify()


async def test_an_operator_that_is_gone_is_told(team, qdrant, start_operator):
    operator = start_operator()
    await team.connection(qdrant)
    last = scrape(operator)
    operator.kill()

    gone = Course(last, None)

    gone.fires("VectorOpsDown", within="12m", not_within="3m", severity="critical")
    gone.verify()


async def test_replicas_that_all_stand_by_are_told(team, start_operator):
    """The Lease is held by somebody who never renews it, and has long to run."""
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "vectorops", "namespace": team.namespace},
        "spec": {
            "holderIdentity": "nobody",
            "leaseDurationSeconds": 3600,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    }
    await team.api.create(lease)
    operator = start_operator(flags=["--lease-name=vectorops", f"--lease-namespace={team.namespace}"])

    idle = course(operator)

    idle.fires("VectorOpsNoLeader", within="1m", severity="critical")
    idle.verify()


def test_each_alert_has_its_page_and_each_page_its_alert():
    pages = {file.stem: file.read_text() for file in RUNBOOKS.glob("*.md") if file.stem != "README"}
    assert pages.keys() == alerts().keys()
    for name, text in pages.items():
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert headings == [name, "Meaning", "Impact", "What to look at", "What to do"]
        assert name in (RUNBOOKS / "README.md").read_text()


def test_each_alert_says_how_urgent_it_is_and_what_is_so():
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert rule["annotations"].keys() == {"summary", "description"}, name


def is_not_ready(count: int):
    """That many resources are told not to be Ready."""
    return lambda seen: len([name for name, _ in seen.values if name == NOT_READY]) == count


def only(seen, *, name: str):
    """The same without what other resources say of themselves."""
    values = {
        (metric, labels): value
        for (metric, labels), value in seen.values.items()
        if metric != NOT_READY or ("name", name) in labels
    }
    return type(seen)(seen.time, values, seen.types)

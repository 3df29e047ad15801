"""A ClusterQdrantConnection: two namespaces as two tenants on one Qdrant, whose key neither of them has.

One operator that watches all namespaces of an API server of its own. Each test has two namespaces and connections of
its own names.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from integration.conftest import crds
from integration.team import Team, is_settled, message, reason, unique
from integration.world import MARK, Stored, aliases_of, make_by_hand, mark_of, point, secret
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.operator import ForkedOperator
from servers.qdrant import QdrantServer

KIND: Final = "ClusterQdrantConnection"
KEY: Final = "the-key-that-no-tenant-has"
KEY_REF: Final = {"name": "shared-key", "key": "api-key"}
OWN_NAMESPACE: Final = "vectorops-system"
VAULT: Final = "vault"


@dataclass(frozen=True)
class Servers:
    kube: KubeServer
    qdrant: QdrantServer


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("cluster-connection")
    kube, qdrant = KubeServer(folder / "kube", crds()), QdrantServer(folder / "qdrant", api_key=KEY)
    try:
        kube.start()
        qdrant.start()
        yield Servers(kube, qdrant)
    finally:
        qdrant.kill()
        kube.stop()


@pytest.fixture(scope="module")
def operator(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedOperator]:
    operator = ForkedOperator(
        tmp_path_factory.mktemp("operator"),
        kubeconfig=servers.kube.kubeconfig(),
        installation="shared",
        namespaces=[],
        flags=[f"--own-namespace={OWN_NAMESPACE}", f"--secret-namespace={VAULT}"],
    )
    operator.start()
    yield operator
    operator.kill()


@pytest.fixture
async def api(servers: Servers, operator: ForkedOperator) -> AsyncIterator[KubeApi]:
    async with servers.kube.api() as api:
        for name in (OWN_NAMESPACE, VAULT):
            await api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            await api.apply(secret(name, "shared-key", api_key=KEY))
        yield api


@pytest.fixture
async def stored(servers: Servers) -> AsyncIterator[Stored]:
    async with Stored(servers.qdrant) as stored:
        yield stored


@pytest.fixture
async def tenants(api: KubeApi) -> tuple[Team, Team]:
    """Two namespaces; the name of neither is the beginning of the other's."""
    return Team(api, await api.create_namespace("one")), Team(api, await api.create_namespace("two"))


async def connect(api: KubeApi, server: QdrantServer, name: str, *, until: Any = is_settled, **spec: Any) -> Object:
    """Declares a cluster-wide connection, and waits for the answer."""
    address = {"url": server.url, "grpcPort": server.grpc_port, "apiKeySecretRef": KEY_REF}
    manifest = {"apiVersion": "vectorops.dev/v1alpha1", "kind": KIND, "metadata": {"name": name}}
    await api.apply({**manifest, "spec": address | spec})
    return await api.wait_for(KIND, None, name, until)


def through(name: str) -> Object:
    return {"connectionRef": {"kind": KIND, "name": name}}


def names(*teams: Team) -> Object:
    return {"names": [team.namespace for team in teams]}


async def label(api: KubeApi, team: Team, **labels: str | None) -> None:
    await api.patch("Namespace", None, team.namespace, {"metadata": {"labels": labels}})


async def told(team: Team) -> str:
    """All that a tenant may read in its namespace about what is there: statuses and events."""
    objects = [each for kind in ("QdrantCollection", "PointSet") for each in await team.api.list(kind, team.namespace)]
    events = [event["message"] for event in await team.api.list("Event", team.namespace)]
    return json.dumps([[each.get("status") for each in objects], events])


async def test_a_namespace_that_is_allowed_has_collections_and_points(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team], stored: Stored
) -> None:
    tenant, stranger = tenants
    shared, docs = unique("shared"), f"{tenant.namespace}-docs"
    await connect(api, servers.qdrant, shared, allowedNamespaces={"selector": {"matchLabels": {"qdrant": shared}}})
    refused = await tenant.collection(docs, **through(shared), aliases=[f"{docs}-live"], until="NotAllowed")
    await label(api, tenant, qdrant=shared)

    collection = await tenant.look_again("QdrantCollection", docs)
    points = await tenant.points("cats", docs, [point(1, 1, 0, 0)])
    other = await stranger.collection(f"{stranger.namespace}-docs", **through(shared), until="NotAllowed")

    assert "does not allow this namespace" in message(refused)
    assert is_ready(collection)
    assert is_ready(points)
    assert list(await stored.points(docs)) == [1]
    assert aliases_of(servers.qdrant, docs) == {f"{docs}-live"}
    mark = mark_of(servers.qdrant, docs)
    assert (mark["connection"], mark["connection_kind"], mark["format"]) == (shared, KIND, 2)
    assert points["status"]["target"]["connectionKind"] == KIND
    assert "does not allow this namespace" in message(other)
    assert not await stored.client.collection_exists(f"{stranger.namespace}-docs")


async def test_a_namespace_that_is_no_longer_allowed_keeps_what_it_has_and_can_delete_it(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team], stored: Stored
) -> None:
    tenant, _ = tenants
    shared, docs = unique("shared"), f"{tenant.namespace}-docs"
    selector = {"matchExpressions": [{"key": "qdrant", "operator": "In", "values": ["a", "b"]}]}
    await connect(api, servers.qdrant, shared, allowedNamespaces={"selector": selector})
    await label(api, tenant, qdrant="b")
    await tenant.collection(docs, **through(shared), deletionPolicy="Delete")
    await tenant.points("cats", docs, [point(1, 1, 0, 0)], until=is_ready)

    await label(api, tenant, qdrant=None)
    await tenant.annotate("QdrantCollection", docs, {"vectorops.dev/reconcile": "1"})
    await tenant.annotate("PointSet", "cats", {"vectorops.dev/reconcile": "1"})
    await tenant.wait("QdrantCollection", docs, "NotAllowed")
    await tenant.wait("PointSet", "cats", "NotAllowed")

    assert list(await stored.points(docs)) == [1]
    await tenant.delete("PointSet", "cats")
    assert list(await stored.points(docs)) == []
    await tenant.delete("QdrantCollection", docs)
    assert not await stored.client.collection_exists(docs)


async def test_the_patterns_hold_for_collections_aliases_and_what_the_user_manages(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team], stored: Stored
) -> None:
    tenant, other = tenants
    shared, mine = unique("shared"), f"{tenant.namespace}.docs"
    theirs = f"{other.namespace}.docs"
    await make_by_hand(stored, theirs)
    await connect(
        api, servers.qdrant, shared, allowedNamespaces=names(tenant), collectionNames=["{namespace}.*", "demo-*-x"]
    )

    created = await tenant.collection("created", collectionName=theirs, **through(shared), until="NotAllowed")
    users = await tenant.collection(
        "users", collectionName=theirs, managedBy="User", **through(shared), until="NotAllowed"
    )
    set_ = await tenant.points("set", "users", [point(1, 1, 0, 0)], until="NotAllowed")
    aliased = {"collectionName": mine, **through(shared)}
    alias = await tenant.collection("a", **aliased, aliases=[f"{mine}-live", f"{theirs}-live"], until="NotAllowed")
    allowed = await tenant.collection("a", **aliased, aliases=[f"{mine}-live", "demo--x"])

    assert message(created).startswith(f"spec.collectionName: {theirs!r} is not a name that {KIND} {shared!r} allows")
    assert f"allowed: {tenant.namespace}.*, demo-*-x" in message(created)
    assert message(users) == message(set_) == message(created)
    assert message(alias).startswith(f"spec.aliases: '{theirs}-live'")
    assert is_ready(allowed)
    assert aliases_of(servers.qdrant, mine) == {f"{mine}-live", "demo--x"}
    assert await stored.points(theirs) == {}


async def test_the_ledgers_are_out_of_reach_of_any_pattern(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team], stored: Stored
) -> None:
    tenant, other = tenants
    shared, ledger = unique("shared"), unique("ledger")
    rules = {"allowedNamespaces": names(tenant, other), "collectionNames": ["*"]}
    await connect(api, servers.qdrant, shared, ledgerCollectionName=ledger, **rules)
    await connect(api, servers.qdrant, f"{shared}-2", **rules)
    docs = unique("docs")
    await tenant.collection(docs, **through(shared))
    await tenant.points("cats", docs, [point(1, 1, 0, 0)], until=is_ready)
    records = (await stored.client.count(ledger, exact=True)).count

    for name, second in ((ledger, shared), (ledger, f"{shared}-2"), ("vectorops-ledger", shared)):
        for policy in ("System", "User"):
            spec = {"collectionName": name, "managedBy": policy, **through(second)}
            refused = await other.collection(unique("l"), **spec)
            assert reason(refused) in {"InvalidSpec", "OwnedByAnother"}
            assert "ledgers" in message(refused)
    alias = await other.collection(unique("l"), aliases=[ledger], **through(shared), until="InvalidSpec")

    assert "ledgers" in message(alias)
    assert (await stored.client.count(ledger, exact=True)).count == records


async def test_no_tenant_gets_or_learns_what_another_one_has(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team], stored: Stored
) -> None:
    """With patterns that keep nobody apart: what is left is ownership, and what messages say."""
    one, two = tenants
    shared, docs, live = unique("shared"), unique("docs"), unique("live")
    byhand, resource = unique("byhand"), unique("resource-of-one")
    await make_by_hand(stored, byhand)
    await connect(api, servers.qdrant, shared, allowedNamespaces=names(one, two), collectionNames=["*"])
    await one.collection(resource, collectionName=docs, aliases=[live], **through(shared), until=is_ready)
    await one.points(f"{resource}-set", resource, [point(1, 1, 0, 0)], until=is_ready)
    await one.collection(f"{resource}-2", collectionName=byhand, managedBy="User", **through(shared), until=is_ready)
    await one.points(f"{resource}-set-2", f"{resource}-2", [point(7, 1, 0, 0)], until=is_ready)
    before = mark_of(servers.qdrant, docs)

    owned = await two.collection("owned", collectionName=docs, **through(shared), until="OwnedByAnother")
    await two.annotate("QdrantCollection", "owned", {"vectorops.dev/take-over-from": "shared"})
    await two.collection("users", collectionName=docs, managedBy="User", **through(shared), until="OwnedByAnother")
    free = unique("free")
    taken = await two.collection("taken", collectionName=free, aliases=[live], **through(shared), until="AliasTaken")
    named = await two.collection("named", collectionName=live, **through(shared), until="AliasTaken")
    await two.collection("hand", collectionName=byhand, managedBy="User", **through(shared), until=is_ready)
    conflict = await two.points("conflict", "hand", [point(7, 0, 1, 0)], until="PointConflicts")
    again = await two.look_again("QdrantCollection", "owned")
    await one.delete("PointSet", f"{resource}-set")
    await one.delete("QdrantCollection", resource)
    left = await two.look_again("QdrantCollection", "owned")

    assert "another namespace" in message(owned)
    assert "leads to a collection of another owner" in message(taken)
    assert "is an alias" in message(named)
    assert conflict["status"]["failures"][0]["reason"].startswith("a PointSet of another namespace")
    assert [reason(each) for each in (again, left)] == ["OwnedByAnother"] * 2
    assert mark_of(servers.qdrant, docs) == before | {"released": True}
    seen = await told(two)
    for hidden in (one.namespace, resource, "shared-key", KEY, OWN_NAMESPACE):
        assert hidden not in seen


async def test_a_collection_that_holds_points_of_another_namespace_is_not_adopted(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team], stored: Stored
) -> None:
    """Its user manages it, so it carries no mark: only the ledgers, or what a wiped mark left, tell whose points are
    in it.
    """
    one, two = tenants
    shared, byhand, wiped = unique("shared"), unique("byhand"), unique("wiped")
    await make_by_hand(stored, byhand)
    await connect(api, servers.qdrant, shared, allowedNamespaces=names(one, two), collectionNames=["*"])
    await one.collection("byhand", collectionName=byhand, managedBy="User", **through(shared), until=is_ready)
    await one.points("kept", "byhand", [point(7, 1, 0, 0)], until=is_ready)
    await one.collection("wiped", collectionName=wiped, **through(shared), until=is_ready)
    await one.points("kept-too", "wiped", [point(8, 1, 0, 0)], until=is_ready)
    await one.collection("wiped", collectionName=wiped, **through(shared), suspend=True, until="Suspended")
    httpx.patch(
        f"{servers.qdrant.url}/collections/{wiped}",
        json={"metadata": {MARK: None}},
        headers={"api-key": KEY},
        verify=False,
    ).raise_for_status()

    adopts = {"adoptionPolicy": "IfMatching", "deletionPolicy": "Delete", **through(shared)}
    refused = [await two.collection(f"of-{name}", collectionName=name, **adopts) for name in (byhand, wiped)]

    assert [reason(each) for each in refused] == ["OwnedByAnother"] * 2
    assert all("another namespace" in message(each) for each in refused)
    assert one.namespace not in await told(two)
    for name in (byhand, wiped):
        await two.delete("QdrantCollection", f"of-{name}")
    assert [list(await stored.points(name)) for name in (byhand, wiped)] == [[7], [8]]


async def test_a_connection_that_fails_tells_its_reason_to_its_users_and_no_more(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team]
) -> None:
    tenant, _ = tenants
    shared, docs = unique("shared"), f"{tenant.namespace}-docs"
    missing = {"name": "no-such-secret", "key": "api-key"}

    rules = {"allowedNamespaces": names(tenant), "apiKeySecretRef": missing}
    failing = await connect(api, servers.qdrant, shared, **rules, until=has("SecretNotFound"))
    waiting = await tenant.collection(docs, **through(shared), until="ConnectionNotReady")
    vault = await connect(api, servers.qdrant, f"{shared}-vault", secretNamespace=VAULT)
    elsewhere = await connect(api, servers.qdrant, f"{shared}-else", secretNamespace=tenant.namespace)

    assert f"there is no Secret 'no-such-secret' in namespace '{OWN_NAMESPACE}'" in message(failing)
    assert message(waiting) == f"{KIND} {shared!r} is not ready: SecretNotFound"
    assert is_ready(vault)
    assert reason(elsewhere) == "NotAllowed"
    assert "no-such-secret" not in await told(tenant)
    notes = [event["message"] for event in await api.list("Event", "default") if event["reason"] == "SecretNotFound"]
    assert notes
    assert all("no-such-secret" not in note for note in notes)
    assert MARK not in message(waiting)


async def test_a_connection_goes_after_the_collections_of_all_namespaces(
    servers: Servers, api: KubeApi, tenants: tuple[Team, Team]
) -> None:
    one, two = tenants
    shared = unique("shared")
    await connect(api, servers.qdrant, shared, allowedNamespaces=names(one, two))
    for team in tenants:
        await team.collection(f"{team.namespace}-docs", **through(shared), until=is_ready)

    await api.delete(KIND, None, shared)
    blocked = await api.wait_for(KIND, None, shared, has("DeletionBlocked"))
    for team in tenants:
        assert f"QdrantCollection {team.namespace}/{team.namespace}-docs" in message(blocked)
        await team.delete("QdrantCollection", f"{team.namespace}-docs")

    await api.wait_gone(KIND, None, shared)


def has(wanted: str) -> Any:
    return lambda obj: bool(obj.get("status", {}).get("conditions")) and reason(obj) == wanted

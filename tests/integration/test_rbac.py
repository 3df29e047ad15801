"""The operator has every right that it needs, and none that it does not.

It runs as the service account of the chart, with the roles of the chart as they are shipped. Then one right after the
other is taken away from a running operator, so that its own check at the start cannot speak for it: each is missed in
the world.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from integration.conftest import StartProxy, crds
from integration.team import unique
from integration.world import Stored, collection, connection, point, point_set, secret
from servers.helm import render
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.operator import ForkedOperator
from servers.process import DidNotStart
from servers.proxy import Proxy
from servers.qdrant import QdrantServer

ACCESS: Final = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
KINDS: Final = ("qdrantconnections", "qdrantcollections", "pointsets")
TEAM: Final = "team"
"""Stands for the namespace of a test in what is rendered before there is one."""
LEASE_SECONDS: Final = 4
RESYNC_OFTEN: Final = "--resync-seconds=1"
USUAL_SECONDS: Final = 60.0
WITHOUT_SECONDS: Final = 6.0
"""How long something may fail to happen before it counts as missed; it takes a second otherwise."""

CLUSTER_KIND: Final = "clusterqdrantconnections"
WHOLE_CLUSTER: Final = "the whole cluster"
"""As all namespaces, and all are watched: on an API server where no other test is disturbed."""

MODES: Final[dict[str, Any]] = {"all namespaces": {}, "some namespaces": {"watchNamespaces": [TEAM]}}
CONFIG_MAPS: Final = "with sources in ConfigMaps"
"""As some namespaces, and with the right that is off by default."""
READERS: Final = "with ConfigMaps for readers"
"""The same, with another right that is off by default."""
VALUES: Final[dict[str, Any]] = {
    **MODES,
    CONFIG_MAPS: {"watchNamespaces": [TEAM], "rbac": {"configMaps": True}},
    READERS: {"watchNamespaces": [TEAM], "rbac": {"readerConfigMaps": True}},
}


class Right(NamedTuple):
    """One verb on one resource, in one rule of one role of the chart."""

    mode: str
    role: int
    rule: int
    group: str
    resource: str
    name: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f' {self.name}' if self.name else ''}"


def access(mode: str, release: str = "release", namespace: str = TEAM) -> list[Object]:
    """What of the chart is about access, in a release that stands in the namespace that it watches."""
    values = {**VALUES[mode], "watchNamespaces": [namespace]} if VALUES[mode] else {}
    found = [made for made in render(values, release=release, namespace=namespace) if made["kind"] in ACCESS]
    # Roles for people are no rights of the operator's.
    return [made for made in found if not any("aggregate-to" in label for label in made["metadata"]["labels"])]


def rights(mode: str) -> Iterator[Right]:
    """All of them."""
    for role, made in enumerate(access(mode)):
        for number, rule in enumerate(made.get("rules", ())):
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    name = rule.get("resourceNames", [""])[0]
                    yield Right(mode, role, number, rule["apiGroups"][0], resource, name, verb)


ALL: Final = [right for mode in MODES for right in rights(mode)]
OF_CONFIG_MAPS: Final = [right for right in rights(CONFIG_MAPS) if right.resource == "configmaps"]
OF_READERS: Final = [right for right in rights(READERS) if right.resource == "configmaps"]
AT_THE_START: Final = [right for right in ALL if right.name == "kube-system"]
WHILE_RUNNING: Final = [right for right in ALL if right not in AT_THE_START]


def is_of_the_cluster(right: Right) -> bool:
    """Has it to do with cluster-scoped resources only?"""
    return right.resource.partition("/")[0] == CLUSTER_KIND


def without(made: list[Object], right: Right) -> list[Object]:
    """The same access, but for one right."""
    less = copy.deepcopy(made)
    rules = less[right.role]["rules"]
    rule = rules.pop(right.rule)
    for resource in rule["resources"]:
        verbs = [verb for verb in rule["verbs"] if (resource, verb) != (right.resource, right.verb)]
        if verbs:
            rules.append({**rule, "resources": [resource], "verbs": verbs})
    return less


@dataclass
class Installed:
    """An operator as the chart installs it, reached and reaching out through proxies."""

    api: KubeApi
    namespace: str
    release: str
    mode: str
    operator: ForkedOperator
    kube: Proxy
    database: Proxy
    watched: tuple[str, ...] = KINDS

    async def grant(self, made: list[Object]) -> None:
        for each in made:
            await self.api.apply(each)

    async def take_away(self, right: Right) -> None:
        """And let the watches begin anew: one that is open was allowed once."""
        # The operator is ready when it has listed all; Kopf's watches, which begin with a LIST, may still be to come.
        while not all(self._is_watched(kind) for kind in self.watched):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)
        await self.grant(without(access(self.mode, self.release, self.namespace), right))
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "verb": right.verb,
            "namespace": self.namespace,
        }
        if right.resource in {"namespaces", "leases"} and right.verb != "create":
            attributes["name"] = self.namespace if right.resource == "namespaces" else self.lease
        user = f"system:serviceaccount:{self.namespace}:{self.lease}"
        while await self.api.may(user, **attributes):
            pass
        self.kube.cut()

    def _is_watched(self, kind: str) -> bool:
        return any(f"/{kind}?" in call.path and "watch=" in call.path for call in self.kube.calls)

    @property
    def lease(self) -> str:
        """The full name of the release: of its Lease, and of its service account."""
        return f"{self.release}-vectorops"


@pytest.fixture(scope="module")
def own_kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    """For operators that watch the whole cluster."""
    server = KubeServer(tmp_path_factory.mktemp("own-kube"), crds())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def installed(
    request: pytest.FixtureRequest, qdrant: QdrantServer, start_proxy: StartProxy, tmp_path: Path
) -> AsyncIterator[Installed]:
    """Of the mode that the test asks for; not started yet."""
    watches_all = request.param == WHOLE_CLUSTER
    mode, release = "all namespaces" if watches_all else request.param, unique("r")
    kube: KubeServer = request.getfixturevalue("own_kube" if watches_all else "kube")
    async with kube.api() as api:
        namespace = await api.create_namespace()
        for made in access(mode, release, namespace):
            await api.apply(made)
        to_kube, to_qdrant = start_proxy(kube.url, tls=kube.tls), start_proxy(qdrant.url)
        token = await api.token(namespace, f"{release}-vectorops")
        operator = ForkedOperator(
            tmp_path,
            kubeconfig=kube.kubeconfig(to_kube.url, token=token),
            installation=release,
            # With a ClusterRole it may watch all; that others' resources are not looked at keeps tests apart.
            namespaces=[] if watches_all else [namespace],
            flags=[
                f"--own-namespace={namespace}",
                f"--lease-name={release}-vectorops",
                f"--lease-namespace={namespace}",
                f"--lease-seconds={LEASE_SECONDS}",
            ],
        )
        more = {WHOLE_CLUSTER: (CLUSTER_KIND,), CONFIG_MAPS: ("configmaps",)}
        watched = (*KINDS, *more.get(request.param, ()))
        with ExitStack() as stack:
            stack.callback(operator.discard)
            yield Installed(api, namespace, release, mode, operator, to_kube, to_qdrant, watched)


class Missed(AssertionError):
    """A part of the story did not come about. The message says which."""


Part = Callable[[str], AbstractContextManager[float]]
"""Of a name makes a context in which this part of the story is told; gives how long it may take."""


def parts(expected: str = "") -> Part:
    """expected: the part that is going to be missed; only this one is not given all the time of a busy machine."""

    @contextmanager
    def part(name: str) -> Iterator[float]:
        try:
            yield WITHOUT_SECONDS if name == expected else USUAL_SECONDS
        except (AssertionError, TimeoutError) as error:
            raise Missed(name) from error

    return part


async def story(at: Installed, stored: Stored, part: Part) -> None:
    """What an operator does as soon as something happens; Missed where it is not done."""
    api, namespace, zoo = at.api, at.namespace, at.release

    with part("the Lease is kept against whoever removes or changes it") as timeout:
        await api.delete("Lease", namespace, at.lease)
        lease = await api.wait_for("Lease", namespace, at.lease, lambda _: True, timeout=timeout)
        renewed = lease["spec"]["renewTime"]
        await api.patch("Lease", namespace, at.lease, {"metadata": {"labels": {"seen": "yes"}}})
        await api.wait_for("Lease", namespace, at.lease, lambda it: it["spec"]["renewTime"] > renewed, timeout=timeout)

    with part("a connection is Ready") as timeout:
        key = {"name": "qdrant", "key": "api-key"}
        await api.apply(secret(namespace, "qdrant", api_key="secret"))
        await api.apply(connection(namespace, at.database.url, apiKeySecretRef=key, preferGrpc=False, timeoutSeconds=2))
        await api.wait_for("QdrantConnection", namespace, "main", is_ready, timeout=timeout)

    with part("a collection is Ready") as timeout:
        await api.apply(collection(namespace, zoo))
        await api.wait_for("QdrantCollection", namespace, zoo, is_ready, timeout=timeout)

    with part("a set is Ready") as timeout:
        for name, id in (("cats", 1), ("dogs", 2)):
            await api.apply(point_set(namespace, name, zoo, [point(id, 1, 0, 0)]))
            await api.wait_for("PointSet", namespace, name, is_ready, timeout=timeout)
        assert sorted(await stored.points(zoo)) == [1, 2]

    with part("an event tells it") as timeout:
        async with asyncio.timeout(timeout):
            while "Succeeded" not in {it["reason"] for it in await api.list("Event", namespace)}:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    with part("what is deleted goes") as timeout:
        await api.delete("PointSet", namespace, "dogs")
        await api.wait_gone("PointSet", namespace, "dogs", timeout=timeout)
        assert sorted(await stored.points(zoo)) == [1]

    with part("a dying namespace does not wait for a dead Qdrant") as timeout:
        at.kube.alter = long_ago
        at.database.refuse()
        await api.delete("Namespace", None, namespace)
        await api.delete("PointSet", namespace, "cats")
        await api.wait_gone("PointSet", namespace, "cats", timeout=timeout)

    assert at.operator.running


async def resync(at: Installed, stored: Stored, part: Part) -> None:
    """What it does when nothing happens: look again at everything, and put right what others changed in Qdrant."""
    await at.api.apply(connection(at.namespace, at.database.url, preferGrpc=False))
    await at.api.apply(collection(at.namespace, at.release))
    await at.api.apply(point_set(at.namespace, "cats", at.release, [point(1, 1, 0, 0)]))
    with part("a set is Ready") as timeout:
        await at.api.wait_for("PointSet", at.namespace, "cats", is_ready, timeout=timeout)

    with part("what is gone from Qdrant comes back") as timeout:
        # Twice: the set is looked at once more when its collection has become Ready, which is no resync.
        for _ in range(2):
            await stored.client.delete(at.release, [1], wait=True)
            async with asyncio.timeout(timeout):
                while 1 not in await stored.points(at.release):  # noqa: ASYNC110 - Qdrant tells nobody
                    await asyncio.sleep(0.1)


async def rows_story(at: Installed, stored: Stored, part: Part) -> None:
    """What it does with a set whose rows are in ConfigMaps."""
    await at.api.apply(connection(at.namespace, at.database.url, preferGrpc=False))
    await at.api.apply(collection(at.namespace, at.release))
    labels = {"docs": "zoo", "vectorops.dev/source": "true"}
    rows = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rows", "namespace": at.namespace, "labels": labels},
        "data": {"a.jsonl": '{"id": 1, "vector": [1, 0, 0]}'},
    }
    await at.api.apply(rows)
    with part("rows of a ConfigMap are read") as timeout:
        declared = point_set(at.namespace, "cats", at.release, [])
        del declared["spec"]["points"]
        declared["spec"]["source"] = {"configMaps": {"selector": {"matchLabels": {"docs": "zoo"}}}}
        await at.api.apply(declared)
        await at.api.wait_for("PointSet", at.namespace, "cats", is_ready, timeout=timeout)
        assert sorted(await stored.points(at.release)) == [1]

    with part("a change of the ConfigMap is noticed") as timeout:
        await at.api.apply({**rows, "data": {"a.jsonl": '{"id": 2, "vector": [1, 0, 0]}'}})
        async with asyncio.timeout(timeout):
            while sorted(await stored.points(at.release)) != [2]:  # noqa: ASYNC110 - Qdrant tells nobody
                await asyncio.sleep(0.1)


async def reader_story(at: Installed, stored: Stored, part: Part) -> None:
    """What it does with the ConfigMap that a collection keeps for its readers."""
    del stored
    reader = f"{at.release}-reader"
    await at.api.apply(connection(at.namespace, at.database.url, preferGrpc=False))
    await at.api.wait_for("QdrantConnection", at.namespace, "main", is_ready)
    with part("readers get a ConfigMap") as timeout:
        await at.api.apply(collection(at.namespace, at.release, readerConfigMap=True))
        await at.api.wait_for("ConfigMap", at.namespace, reader, lambda _: True, timeout=timeout)

    with part("it is changed with the collection") as timeout:
        alias = f"{at.release}-too"
        await at.api.apply(collection(at.namespace, at.release, readerConfigMap=True, aliases=[alias]))
        await at.api.wait_for(
            "ConfigMap", at.namespace, reader, lambda found: alias in found["data"]["reader.json"], timeout=timeout
        )

    with part("it goes when it is not wanted any more") as timeout:
        await at.api.apply(collection(at.namespace, at.release))
        await at.api.wait_gone("ConfigMap", at.namespace, reader, timeout=timeout)


async def cluster_story(at: Installed, stored: Stored, part: Part) -> None:
    """What it does with a connection of the cluster."""
    shared = {"connectionRef": {"kind": "ClusterQdrantConnection", "name": at.release}}
    with part("a connection of the cluster is Ready") as timeout:
        declared = connection(at.namespace, at.database.url, name=at.release, preferGrpc=False)
        spec = declared["spec"] | {"allowedNamespaces": {"selector": {"matchLabels": {"qdrant": "shared"}}}}
        metadata = {"name": at.release}
        await at.api.apply({**declared, "kind": "ClusterQdrantConnection", "metadata": metadata, "spec": spec})
        await at.api.wait_for("ClusterQdrantConnection", None, at.release, is_ready, timeout=timeout)

    with part("a collection uses it, by the labels of its namespace") as timeout:
        await at.api.patch("Namespace", None, at.namespace, {"metadata": {"labels": {"qdrant": "shared"}}})
        name = f"{at.namespace}-docs"
        await at.api.apply(collection(at.namespace, name, **shared))
        await at.api.wait_for("QdrantCollection", at.namespace, name, is_ready, timeout=timeout)
        assert await stored.client.collection_exists(name)

    with part("it goes after its collection") as timeout:
        await at.api.delete("ClusterQdrantConnection", None, at.release)
        await at.api.delete("QdrantCollection", at.namespace, name)
        await at.api.wait_gone("ClusterQdrantConnection", None, at.release, timeout=timeout)


MISSED: Final = {
    CLUSTER_KIND: "a connection of the cluster is Ready",
    f"{CLUSTER_KIND}/status": "a connection of the cluster is Ready",
    "leases": "the Lease is kept against whoever removes or changes it",
    "secrets": "a connection is Ready",
    "qdrantconnections": "a connection is Ready",
    "qdrantconnections/status": "a connection is Ready",
    "qdrantcollections": "a collection is Ready",
    "qdrantcollections/status": "a collection is Ready",
    "pointsets": "a set is Ready",
    "pointsets/status": "a set is Ready",
    "events": "an event tells it",
    "namespaces": "a dying namespace does not wait for a dead Qdrant",
}
"""What does not come about without a right on these."""


def long_ago(answer: bytes) -> bytes:
    """What is being deleted has been so for years."""
    before, mark, after = answer.partition(b'"deletionTimestamp":"')
    return before + mark + b"2001" + after[4:] if mark else answer


# ---- each right ----


@pytest.mark.parametrize("installed", MODES, indirect=True)
async def test_the_rights_of_the_chart_are_enough(installed: Installed, stored: Stored) -> None:
    installed.operator.start()

    await story(installed, stored, parts())


@pytest.mark.parametrize("installed", MODES, indirect=True)
async def test_the_rights_of_the_chart_are_enough_to_look_again(installed: Installed, stored: Stored) -> None:
    installed.operator.command.append(RESYNC_OFTEN)
    installed.operator.start()

    await resync(installed, stored, parts())


@pytest.mark.parametrize("installed", [WHOLE_CLUSTER], indirect=True)
async def test_the_rights_of_the_chart_are_enough_for_connections_of_the_cluster(
    installed: Installed, stored: Stored
) -> None:
    installed.operator.start()

    await cluster_story(installed, stored, parts())


@pytest.mark.parametrize("installed", [CONFIG_MAPS], indirect=True)
async def test_the_rights_that_are_off_by_default_are_enough_for_sources_in_config_maps(
    installed: Installed, stored: Stored
) -> None:
    installed.operator.start()

    await rows_story(installed, stored, parts())


@pytest.mark.parametrize(
    ("installed", "right"), [(CONFIG_MAPS, right) for right in OF_CONFIG_MAPS], ids=str, indirect=["installed"]
)
async def test_without_one_of_those_something_is_missed(installed: Installed, right: Right, stored: Stored) -> None:
    missed = {"list": "rows of a ConfigMap are read", "watch": "a change of the ConfigMap is noticed"}[right.verb]
    installed.operator.start()
    await installed.take_away(right)

    with pytest.raises(Missed, match=f"^{missed}$"):
        await rows_story(installed, stored, parts(missed))


@pytest.mark.parametrize("installed", [READERS], indirect=True)
async def test_the_rights_that_are_off_by_default_are_enough_for_readers(installed: Installed, stored: Stored) -> None:
    installed.operator.start()

    await reader_story(installed, stored, parts())


@pytest.mark.parametrize(
    ("installed", "right"), [(READERS, right) for right in OF_READERS], ids=str, indirect=["installed"]
)
async def test_without_one_of_those_for_readers_something_is_missed(
    installed: Installed, right: Right, stored: Stored
) -> None:
    missed = {
        "patch": "it is changed with the collection",
        "delete": "it goes when it is not wanted any more",
    }.get(right.verb, "readers get a ConfigMap")
    installed.operator.start()
    await installed.take_away(right)

    with pytest.raises(Missed, match=f"^{missed}$"):
        await reader_story(installed, stored, parts(missed))


@pytest.mark.parametrize(
    ("installed", "right"),
    [(WHOLE_CLUSTER if is_of_the_cluster(right) else right.mode, right) for right in WHILE_RUNNING],
    ids=str,
    indirect=["installed"],
)
async def test_without_one_of_them_something_is_missed(installed: Installed, right: Right, stored: Stored) -> None:
    # What a watch tells at once a LIST would find as well, if it came often; and the other way round.
    looks_again = right.verb == "list"
    missed = "what is gone from Qdrant comes back" if looks_again else MISSED[right.resource]
    if looks_again:
        installed.operator.command.append(RESYNC_OFTEN)
    installed.operator.start()
    await installed.take_away(right)

    tell = resync if looks_again else cluster_story if is_of_the_cluster(right) else story
    with pytest.raises(Missed, match=f"^{missed}$"):
        await tell(installed, stored, parts(missed))


@pytest.mark.parametrize(
    ("installed", "right"), [(right.mode, right) for right in AT_THE_START], ids=str, indirect=["installed"]
)
async def test_the_uid_of_the_cluster_names_an_installation_that_was_given_no_name(
    installed: Installed, right: Right
) -> None:
    named = f"--installation={installed.release}"
    installed.operator.command.remove(named)
    installed.operator.start()
    installed.operator.stop()
    await installed.api.delete("Role", "kube-system", access_name(installed))

    with pytest.raises(DidNotStart, match="name the installation with --installation"):
        installed.operator.start()
    installed.operator.command.append(named)
    installed.operator.start()


def access_name(installed: Installed) -> str:
    """Of the roles in other namespaces than the release's."""
    return f"{installed.namespace}-{installed.lease}"


@pytest.mark.parametrize("mode", MODES)
async def test_a_right_that_is_missing_at_the_start_is_named(
    mode: str, api: KubeApi, kube: KubeServer, namespace: str, tmp_path: Path
) -> None:
    release = unique("r")
    missing = next(r for r in WHILE_RUNNING if (r.mode, r.resource, r.verb) == (mode, "pointsets", "watch"))
    for made in without(access(mode, release, namespace), missing):
        await api.apply(made)
    operator = ForkedOperator(
        tmp_path,
        kubeconfig=kube.kubeconfig(token=await api.token(namespace, f"{release}-vectorops")),
        installation=release,
        namespaces=[namespace],
    )

    with pytest.raises(DidNotStart, match=r"grant its service account: watch on pointsets\.vectorops\.dev in"):
        operator.start()


# ---- and no more ----

FORBIDDEN: Final = {
    "list secrets": {"verb": "list", "resource": "secrets"},
    "watch secrets": {"verb": "watch", "resource": "secrets"},
    "update secrets": {"verb": "update", "resource": "secrets"},
    "delete secrets": {"verb": "delete", "resource": "secrets"},
    "get config maps": {"verb": "get", "resource": "configmaps"},
    "list config maps": {"verb": "list", "resource": "configmaps"},
    "watch config maps": {"verb": "watch", "resource": "configmaps"},
    "create config maps": {"verb": "create", "resource": "configmaps"},
    "patch config maps": {"verb": "patch", "resource": "configmaps"},
    "delete config maps": {"verb": "delete", "resource": "configmaps"},
    "get pods": {"verb": "get", "resource": "pods"},
    "create pods": {"verb": "create", "resource": "pods"},
    "list namespaces": {"verb": "list", "resource": "namespaces"},
    "delete namespaces": {"verb": "delete", "resource": "namespaces"},
    "get CRDs": {"verb": "get", "group": "apiextensions.k8s.io", "resource": "customresourcedefinitions"},
    "create roles": {"verb": "create", "group": "rbac.authorization.k8s.io", "resource": "roles"},
    "impersonate": {"verb": "impersonate", "resource": "users"},
    "delete its own kinds": {"verb": "delete", "group": "vectorops.dev", "resource": "pointsets"},
    "create its own kinds": {"verb": "create", "group": "vectorops.dev", "resource": "pointsets"},
    "update another's Lease": {
        "verb": "update",
        "group": "coordination.k8s.io",
        "resource": "leases",
        "name": "kube-scheduler",
    },
}


@pytest.mark.parametrize("installed", MODES, indirect=True)
@pytest.mark.parametrize("asked", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_it_may_not(installed: Installed, asked: dict[str, str]) -> None:
    user = f"system:serviceaccount:{installed.namespace}:{installed.lease}"

    assert not await installed.api.may(user, namespace=installed.namespace, **asked)


@pytest.mark.parametrize("installed", ["some namespaces"], indirect=True)
async def test_with_some_namespaces_to_watch_it_may_nothing_in_others(installed: Installed) -> None:
    user = f"system:serviceaccount:{installed.namespace}:{installed.lease}"
    for right in WHILE_RUNNING:
        resource, _, subresource = right.resource.partition("/")
        asked = {"group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb}
        assert not await installed.api.may(user, namespace="default", name="anything", **asked), right


# ---- people ----

READ: Final = {"get", "list", "watch"}
WRITE: Final = {"create", "update", "patch", "delete", "deletecollection"}


@pytest.mark.parametrize(("role", "verbs"), [("view", READ), ("edit", READ | WRITE), ("admin", READ | WRITE)])
def test_who_may_view_or_edit_a_namespace_may_do_so_with_the_three_kinds_but_not_write_status(
    role: str, verbs: set[str]
) -> None:
    """A controller of Kubernetes adds roles with these labels to its own; the API server of the tests has none."""
    label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
    rules = [rule for made in render() if made["metadata"]["labels"].get(label) == "true" for rule in made["rules"]]

    granted = {given for rule in rules for given in product(rule["apiGroups"], rule["resources"], rule["verbs"])}
    assert granted == set(product(["vectorops.dev"], KINDS, verbs))

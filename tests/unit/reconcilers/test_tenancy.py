"""Which namespaces a cluster-wide connection lets in, and which names they may use."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from vectorops.api.connection import ClusterQdrantConnectionSpec, LabelSelector
from vectorops.api.meta import CLUSTER_QDRANT_CONNECTION, QDRANT_COLLECTION, ObjectMeta, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, VectorOpsError, Waiting
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.cluster import Namespace
from vectorops.reconcilers.dependencies import cleanup_access, connection_ref, require_access
from vectorops.reconcilers.secrets import SecretNamespaces
from vectorops.reconcilers.tenancy import matches, patterns_for, require_allowed, selects


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": ""}}, {}, False),
        ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": "1"}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_a_selector_selects_as_in_kubernetes(selector: Any, labels: dict[str, str], expected: bool) -> None:
    assert selects(LabelSelector.model_validate(selector), labels) is expected


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("team-docs", "team-*", True),
        ("team-", "team-*", True),
        ("team", "team-*", False),
        ("a-team-docs", "team-*", False),
        ("team-\n", "team-*", True),
        ("team.docs", "team.*", True),
        ("teamXdocs", "team.*", False),
        ("a-b-c", "a-*-c", True),
        ("[ab]", "[ab]", True),
        ("a", "[ab]", False),
        ("team-docs", "team-docs", True),
        ("anything", "*", True),
    ],
)
def test_only_the_star_has_a_meaning_in_a_pattern(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, [pattern]) is expected


def test_patterns_are_those_of_the_namespace() -> None:
    given = ClusterQdrantConnectionSpec(
        url="http://q", collection_names=["{namespace}.*", "shared-{namespace}", "demo"]
    )

    assert patterns_for(given, "team") == ["team.*", "shared-team", "demo"]
    assert patterns_for(ClusterQdrantConnectionSpec(url="http://q"), "team") == ["team-*"]


@dataclass
class Namespaces:
    """In the place of a cluster."""

    labels: dict[str, str] | None = field(default_factory=dict)

    async def namespace(self, _: str) -> Namespace:
        return Namespace(terminating_seconds=None, labels=self.labels)


def context(labels: dict[str, str] | None = None, *, sees_cluster: bool = True) -> Context:
    nothing: Any = None
    cluster = cast("Any", Namespaces(labels))
    return Context(cluster, nothing, nothing, "test", "writer", sees_cluster=sees_cluster)


def resource(kind: str, namespace: str, name: str, spec: Any) -> Resource:
    return Resource(kind, ObjectMeta(name=name, namespace=namespace), spec, {})


def connection(**spec: Any) -> Resource:
    return resource(CLUSTER_QDRANT_CONNECTION, "", "shared", {"url": "http://q", **spec})


def collection(name: str = "team-docs", **spec: Any) -> Resource:
    reference = {"connectionRef": {"kind": CLUSTER_QDRANT_CONNECTION, "name": "shared"}}
    return resource(QDRANT_COLLECTION, "team", name, reference | spec)


NOT_LABELED = {"matchExpressions": [{"key": "frozen", "operator": "DoesNotExist"}]}


@pytest.mark.parametrize(
    ("allowed", "labels"),
    [
        ({"names": ["team"]}, None),
        ({"selector": NOT_LABELED}, {}),
    ],
)
async def test_a_namespace_is_let_in_by_name_or_by_label(allowed: Any, labels: Any) -> None:
    await require_allowed(context(labels), connection(allowedNamespaces=allowed), collection())


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        ({}, {}),
        ({"allowedNamespaces": {"names": []}}, {}),
        ({"allowedNamespaces": {"names": ["team-2"]}}, {}),
        ({"allowedNamespaces": {"selector": NOT_LABELED}}, {"frozen": "yes"}),
        # The operator may not read namespaces: what it does not know is not absent.
        ({"allowedNamespaces": {"selector": NOT_LABELED}}, None),
    ],
    ids=str,
)
async def test_all_others_wait_to_be_allowed(spec: Any, labels: Any) -> None:
    with pytest.raises(Waiting) as raised:
        await require_allowed(context(labels), connection(**spec), collection())

    assert raised.value.reason is Reason.NOT_ALLOWED


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (collection("docs"), "metadata.name"),
        (collection(collectionName="team2-docs"), "spec.collectionName"),
        (collection("docs", collectionName="team-docs", aliases=["team-live", "live"]), "spec.aliases"),
    ],
)
async def test_the_field_with_a_name_of_others_is_told(other: Resource, field: str) -> None:
    with pytest.raises(Terminal) as raised:
        await require_allowed(context(), connection(allowedNamespaces={"names": ["team"]}), other)

    assert raised.value.reason is Reason.NOT_ALLOWED
    assert raised.value.message.startswith(f"{field}: ")


async def test_an_operator_of_some_namespaces_says_that_it_uses_no_such_connection() -> None:
    some = context(sees_cluster=False)

    for asked in (require_access(some, collection()), cleanup_access(some, connection_ref(collection()))):
        with pytest.raises(VectorOpsError, match="this operator watches some namespaces only") as raised:
            await asked
        assert raised.value.reason is Reason.NOT_ALLOWED


def test_secrets_are_beside_a_namespaced_connection_and_else_where_the_installation_allows() -> None:
    shared, elsewhere = connection(), connection(secretNamespace="vault")
    operator = SecretNamespaces("operators", frozenset({"vault"}))

    assert SecretNamespaces("operators", frozenset()).of(resource("QdrantConnection", "team", "main", {})) == "team"
    assert operator.of(shared) == operator.of(connection(secretNamespace="operators")) == "operators"
    assert operator.of(elsewhere) == "vault"
    with pytest.raises(Terminal, match=r"clusterConnections\.secretNamespaces"):
        SecretNamespaces("operators", frozenset()).of(elsewhere)
    with pytest.raises(Terminal, match="--own-namespace"):
        SecretNamespaces(None, frozenset()).of(shared)

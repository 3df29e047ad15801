"""What a namespace may do through a cluster-wide connection, and what it may learn of others.

Namespaces that share a connection share a database whose key none of them has. So two things are decided here that a
namespaced connection leaves to whoever has its key: which names in Qdrant a namespace may use, and that no message
names an object of another namespace. Marks and ledgers hold those names; only the operator, and the owner of the
database, read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from vectorops.api.connection import (
    COLLECTION_NAMES,
    ClusterQdrantConnectionSpec,
    LabelRequirement,
    LabelSelector,
)
from vectorops.api.kinds import BY_NAME
from vectorops.api.meta import Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Waiting
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.placement import declared_names
from vectorops.reconcilers.references import target
from vectorops.reconcilers.spec import RawSpec, parse


def is_shared(collection: Resource) -> bool:
    """Does a collection name a cluster-wide connection?"""
    ref = target(collection)
    return ref is not None and not BY_NAME[ref.kind].is_namespaced


async def require_allowed(context: Context, connection: Resource, collection: Resource) -> None:
    """May a collection use a cluster-wide connection, under the names that it declares?

    Raises Waiting NotAllowed for its namespace: labels may change, and nothing wakes us then; Terminal NotAllowed for a
    name; Waiting ConnectionNotReady if the connection itself is not valid.
    """
    name = connection.meta.name
    try:
        spec = parse(ClusterQdrantConnectionSpec, connection)
    except Terminal as error:
        raise Waiting(Reason.CONNECTION_NOT_READY, f"{connection.ref} is not valid", on=connection.ref) from error
    namespace = collection.meta.namespace
    if not await _is_allowed(context, spec, namespace):
        raise Waiting(
            Reason.NOT_ALLOWED,
            f"{connection.kind} {name!r} does not allow this namespace; ask whoever manages it to add the namespace to "
            "spec.allowedNamespaces",
            on=connection.ref,
        )
    patterns = patterns_for(spec, namespace)
    for field, used in _effective_names(collection):
        if not matches(used, patterns):
            raise Terminal(
                Reason.NOT_ALLOWED,
                f"{field}: {used!r} is not a name that {connection.kind} {name!r} allows this namespace; allowed: "
                f"{', '.join(patterns)}",
                on=connection.ref,
            )


async def _is_allowed(context: Context, spec: ClusterQdrantConnectionSpec, namespace: str) -> bool:
    allowed = spec.allowed_namespaces
    if allowed is None:
        return False
    if allowed.names is not None:
        return namespace in allowed.names
    found = await context.cluster.namespace(namespace)
    if found is None or found.labels is None or allowed.selector is None:
        # Labels that cannot be read match no selector, not even one that asks for the absence of a label.
        return False
    return selects(allowed.selector, found.labels)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Does a selector select an object with these labels?"""
    return all(labels.get(key) == value for key, value in (selector.match_labels or {}).items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _holds(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    is_there, value = requirement.key in labels, labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return is_there and value in (requirement.values or ())
        case "NotIn":
            return not is_there or value not in (requirement.values or ())
        case "Exists":
            return is_there
        case "DoesNotExist":
            return not is_there


def patterns_for(spec: ClusterQdrantConnectionSpec, namespace: str) -> list[str]:
    """The patterns of names that a namespace may use; `*` is the only character in them that has a meaning."""
    return [pattern.replace("{namespace}", namespace) for pattern in spec.collection_names or COLLECTION_NAMES]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Does a name match one of the patterns?"""
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None for pattern in patterns
    )


def _effective_names(collection: Resource) -> list[tuple[str, str]]:
    """The names in Qdrant that a QdrantCollection declares, each with the field that says it."""
    field = "spec.collectionName" if collection.spec.get("collectionName") else "metadata.name"
    return [
        *((field, name) for name in sorted(declared_names(collection))),
        *(("spec.aliases", alias) for alias in sorted(RawSpec(collection).aliases)),
    ]


def is_hidden(namespace: str, collection: Resource) -> bool:
    """Must an object of this namespace not be named to whoever reads the status of a collection?"""
    return namespace != collection.meta.namespace and is_shared(collection)

"""There is one table of kinds, and all else is read from it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import vectorops
from vectorops.api import meta
from vectorops.api.kinds import BY_NAME, CONNECTION_KINDS, KINDS, REFERRING_KINDS, rank, ref_to
from vectorops.api.meta import ConnectionKind, Ref
from vectorops.kube.calls import resource_path
from vectorops.reconcilers.kinds import RECONCILERS

PACKAGE = Path(vectorops.__file__).parent
ALLOWED = {
    "api/kinds.py": "the table",
    "api/meta.py": "ConnectionKind: a type must be written out",
    "reconcilers/kinds.py": "RECONCILERS: the models know no reconciler",
}
"""Files that may list kinds, and why. What the last two list is compared with the table below."""
CONSTANTS = {name: value for name, value in vars(meta).items() if isinstance(value, str) and value in BY_NAME}


def test_a_kind_comes_after_those_that_it_refers_to() -> None:
    for info in KINDS:
        if info.refers_to is not None:
            assert all(rank(kind) < rank(info.kind) for kind in info.refers_to.kinds)


def test_what_is_listed_elsewhere_is_what_the_table_says() -> None:
    assert RECONCILERS.keys() == BY_NAME.keys()
    assert get_args(ConnectionKind) == CONNECTION_KINDS
    assert set(CONSTANTS.values()) == BY_NAME.keys() == {*CONNECTION_KINDS, *REFERRING_KINDS}


def kinds_of(node: ast.expr) -> str | None:
    """The kind that an expression names, by a literal or by its constant."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if node.value in BY_NAME else None
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return CONSTANTS.get(name)


def tables(source: str) -> Iterator[int]:
    """The lines where a display, or a type such as Literal, lists more than one kind."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            listed = node.elts
        elif isinstance(node, ast.Dict):
            listed = [key for key in node.keys if key is not None]
        else:
            continue
        if len({kind for each in listed if (kind := kinds_of(each))}) > 1:
            yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        'ORDER = ("QdrantConnection", "PointSet")',
        'Kind = Literal["QdrantConnection", "PointSet"]',
        "PLURALS = {QDRANT_COLLECTION: 1, meta.POINT_SET: 2}",
        'for kind in ["QdrantCollection", POINT_SET]: pass',
    ],
)
def test_a_table_is_seen(source: str) -> None:
    assert list(tables(source)) == [1]


@pytest.mark.parametrize("source", ['kind = "PointSet"', '("PointSet", "other")', 'f"PointSet {name}"'])
def test_one_kind_is_no_table(source: str) -> None:
    assert list(tables(source)) == []


def test_there_is_no_other_table_in_the_package() -> None:
    files = {str(file.relative_to(PACKAGE)): file.read_text() for file in sorted(PACKAGE.rglob("*.py"))}
    found = {f"{file}:{line}" for file, text in files.items() if file not in ALLOWED for line in tables(text)}

    assert found == set(), "read the kinds from vectorops.api.kinds"


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_the_path_of_an_object_follows_its_scope(info) -> None:
    named = ref_to(info.kind, "team", "main")
    group = "/apis/vectorops.dev/v1alpha1"
    place = f"{group}/namespaces/team" if info.is_namespaced else group

    assert resource_path(named.kind, named.namespace, named.name) == f"{place}/{info.plural}/main"
    assert resource_path(named.kind, named.namespace, named.name, "status") == f"{place}/{info.plural}/main/status"
    assert resource_path(info.kind) == f"{group}/{info.plural}"
    assert str(named) == (f"{info.kind} team/main" if info.is_namespaced else f"{info.kind} main")


def test_a_reference_without_a_namespace_leads_to_an_object_of_the_cluster() -> None:
    path = resource_path("QdrantConnection", Ref("QdrantConnection", "", "main").namespace, "main")

    assert path == "/apis/vectorops.dev/v1alpha1/qdrantconnections/main"

"""The CRDs hold to what users and GitOps tools rely on, and the files in crds/ are what the models say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from vectorops.api.crd import crds, render
from vectorops.api.reasons import Reason
from vectorops.cli import app

FILES = Path(__file__).parents[3] / "crds"

BY_KIND = {crd["spec"]["names"]["kind"]: crd for crd in crds()}


def schema(crd: dict[str, Any]) -> dict[str, Any]:
    (version,) = crd["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def nodes(node: dict[str, Any], path: str = "", *, in_list: bool = False) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every schema inside a schema: its path, itself, and whether it is inside a list."""
    yield path, node, in_list
    for name, field in node.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}", in_list=in_list)
    if isinstance(values := node.get("additionalProperties"), dict):
        yield from nodes(values, f"{path}.*", in_list=in_list)
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]", in_list=True)


every_kind = pytest.mark.parametrize("kind", BY_KIND)


def test_the_files_are_current():
    assert {path.name: path.read_text(encoding="utf-8") for path in FILES.iterdir()} == render(), "run `make crds`"


def test_the_command_writes_the_files(tmp_path: Path):
    folder = tmp_path / "new" / "folder"

    result = CliRunner().invoke(app, ["crds", "--output-dir", str(folder)])

    assert result.exit_code == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == render()
    assert [yaml.safe_load(text) for text in render().values()] == crds()


@every_kind
def test_every_field_is_described(kind: str):
    fields = [(path, node) for path, node, _ in nodes(schema(BY_KIND[kind])) if path != ".metadata"]

    assert [path for path, node in fields if not node.get("description") and not path.endswith("[]")] == []


@every_kind
def test_nothing_is_left_open_unless_said_so(kind: str):
    loose = [
        path
        for path, node, _ in nodes(schema(BY_KIND[kind]))
        if node.get("type") in (None, "object")
        and not node.keys() & {"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"}
    ]

    assert loose == [".metadata"]


@every_kind
def test_no_default_is_written_into_a_spec_or_a_list_item(kind: str):
    """Argo CD would report such an object as OutOfSync for ever; a default in a spec could never be changed again."""
    defaults = [path for path, node, _ in nodes(schema(BY_KIND[kind])) if "default" in node]

    assert defaults == [".status", ".status.observedGeneration"]


@every_kind
def test_a_resource_that_nobody_has_looked_at_is_not_finished(kind: str):
    """The library kstatus compares observedGeneration; without one it would call the object Current."""
    assert schema(BY_KIND[kind])["properties"]["status"]["default"] == {"observedGeneration": -1}


@every_kind
def test_every_list_says_how_it_is_merged(kind: str):
    lists = {path: node for path, node, _ in nodes(schema(BY_KIND[kind])) if node.get("type") == "array"}

    assert [path for path, node in lists.items() if "x-kubernetes-list-type" not in node] == []


def test_lists_with_names_merge_by_name_and_points_do_not():
    """A list map of 200 points cost 41 KB of managedFields."""
    collection = schema(BY_KIND["QdrantCollection"])["properties"]["spec"]["properties"]
    point_set = schema(BY_KIND["PointSet"])["properties"]["spec"]["properties"]

    assert [
        collection[name].get("x-kubernetes-list-map-keys") for name in ("vectors", "sparseVectors", "payloadIndexes")
    ] == [
        ["name"],
        ["name"],
        ["field"],
    ]
    assert collection["aliases"]["x-kubernetes-list-type"] == "set"
    assert point_set["points"]["x-kubernetes-list-type"] == "atomic"


@every_kind
def test_the_table_says_whether_it_is_ready_and_why(kind: str):
    (version,) = BY_KIND[kind]["spec"]["versions"]
    columns = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]

    assert columns[:2] == ["Ready", "Reason"]
    assert columns[-1] == "Age"


def test_every_reason_has_a_meaning():
    assert [reason for reason in Reason if not reason.meaning.endswith(".")] == []

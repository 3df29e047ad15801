"""docs/security.md names the rights that the chart gives: each of them, and none besides.

That each is needed is for `test_rbac` to show.
"""

import itertools
import re
from pathlib import Path
from typing import Any, Final

import pytest

from servers.helm import render
from vectorops.api.kinds import KINDS
from vectorops.api.meta import GROUP

PAGE: Final = Path(__file__).parents[2] / "docs" / "security.md"
ROW: Final = re.compile(r"^\| (?P<resources>[^|]+) \| (?P<verbs>[a-z, ]+) \| [^|]+ \| [^|]+ \|$")
GROUPS: Final = {"events": "events.k8s.io"}
"""Named in the table, because there are two kinds of events."""
NAMED: Final = ", named as the release"

Right = tuple[str, str, bool]
"""Resource, verb, and whether it is limited to objects of some name."""


def told() -> set[Right]:
    chapter = PAGE.read_text().split("## What the operator may do")[1].split("\n## ")[0]
    found: set[Right] = set()
    for line in chapter.splitlines():
        if (row := ROW.match(line)) and row["resources"] != "resource" and not row["verbs"].startswith("-"):
            resources, verbs = row["resources"], row["verbs"].split(", ")
            names = resources.removesuffix(NAMED).split(", ")
            found.update((name, verb, resources.endswith(NAMED)) for name, verb in itertools.product(names, verbs))
    return found


def granted(values: dict[str, Any]) -> set[Right]:
    """Of the operator: not of people, and not of the hook that removes the CRDs."""
    found: set[Right] = set()
    for made in render(values):
        labels = made["metadata"]["labels"]
        if made["kind"] not in {"Role", "ClusterRole"} or any("aggregate-to" in label for label in labels):
            continue
        for rule in made["rules"]:
            for resource, verb in itertools.product(rule["resources"], rule["verbs"]):
                name = f"{GROUPS[resource]} {resource}" if resource in GROUPS else resource
                # That namespaces are limited to their own names with watchNamespaces, the page says below the table.
                found.add((name, verb, "resourceNames" in rule and resource != "namespaces"))
    return found


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team"]}], ids=["all namespaces", "some namespaces"])
def test_the_page_names_the_rights_of_the_chart_and_no_others(values: dict[str, Any]) -> None:
    # Nothing that is cluster-scoped can be granted in namespaces, as the page says below the table.
    watched = {right for right in told() if not values or not right[0].startswith("clusterqdrantconnections")}
    assert watched == granted({**values, "rbac": {"configMaps": True, "readerConfigMaps": True}})
    assert granted(values) == {right for right in watched if right[0] != "configmaps"}


def test_the_hook_that_removes_the_crds_has_the_rights_that_the_page_names() -> None:
    made = render({"crds": {"keep": False}})
    roles = [each for each in made if each["kind"] == "ClusterRole" and each["metadata"]["name"].endswith("-orphan")]
    ours, crds = (rule for role in roles for rule in role["rules"])

    page = " ".join(PAGE.read_text().split())
    assert f"with `{', '.join(ours['verbs'])}` on the kinds and `{', '.join(crds['verbs'])}` on their CRDs" in page
    assert set(ours["resources"]) == {info.plural for info in KINDS}
    assert set(crds["resourceNames"]) == {f"{info.plural}.{GROUP}" for info in KINDS}

"""What the files of the chart say, without Helm; tests/integration/test_chart.py renders them."""

import runpy
from pathlib import Path

import pytest
import yaml

from vectorops import __version__
from vectorops.api.kinds import KINDS
from vectorops.api.meta import GROUP, VERSION

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "vectorops"


@pytest.fixture
def chart():
    return yaml.safe_load((CHART / "Chart.yaml").read_text())


def test_the_chart_and_the_operator_have_one_version(chart):
    assert chart["version"] == chart["appVersion"] == __version__


def test_artifact_hub_is_told_every_kind(chart):
    told = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])

    assert {(crd["kind"], crd["version"], crd["name"]) for crd in told} == {
        (info.kind, VERSION, f"{info.plural}.{GROUP}") for info in KINDS
    }


def test_artifact_hub_is_shown_an_example_of_every_kind(chart):
    examples = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])

    assert [example["kind"] for example in examples] == [info.kind for info in KINDS]


def test_the_charts_crds_are_those_of_the_repository():
    shipped, copied = (
        {file.name: file.read_text() for file in folder.glob("*.yaml")}
        for folder in (ROOT / "crds", CHART / "files" / "crds")
    )

    assert copied == shipped


def test_every_value_says_what_it_is():
    generator = runpy.run_path(str(ROOT / "tools" / "chart_page.py"))

    assert not [value.path for value in generator["values"]() if not value.comment]

"""What people paste into Argo CD is what is tested and sent upstream."""

from pathlib import Path

import pytest
import yaml

from vectorops.api.kinds import KINDS

ARGO = Path(__file__).parents[3] / "gitops" / "argocd"
CUSTOMIZATIONS = ARGO / "resource_customizations" / "vectorops.dev"
HEALTH = (CUSTOMIZATIONS / "_" / "health.lua").read_text()
SETTINGS = yaml.safe_load((ARGO / "argocd-cm.yaml").read_text())["data"]


@pytest.mark.parametrize("kind", [each.kind for each in KINDS])
def test_the_settings_have_the_scripts_of_each_kind(kind):
    folder = CUSTOMIZATIONS / kind
    actions = yaml.safe_load(SETTINGS[f"resource.customizations.actions.vectorops.dev_{kind}"])
    scripts = {script.parent.name: script.read_text() for script in folder.glob("actions/*/action.lua")}

    assert SETTINGS[f"resource.customizations.health.vectorops.dev_{kind}"] == HEALTH
    assert actions["discovery.lua"] == (folder / "actions" / "discovery.lua").read_text()
    assert {each["name"]: each["action.lua"] for each in actions["definitions"]} == scripts


def test_the_settings_have_nothing_else():
    assert len(SETTINGS) == 2 * len(KINDS)

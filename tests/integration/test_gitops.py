"""What Argo CD and Flux make of our resources: their own code judges what the real operator wrote.

The test data of the health checks (gitops/argocd/resource_customizations) is recorded here: `make statuses` writes it
anew, with the verdicts and their table in docs/gitops.md; without that, a difference fails.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from integration.conftest import StartOperator, StartProxy, StartQdrant
from integration.situations import Stage, kebab, record
from integration.team import Team, plan_hash, unique
from integration.world import Stored, point
from servers.kube import KubeServer
from servers.kubeapi import ApiError, KubeApi, Object, condition, is_ready
from servers.programs import gitops_programs, helm_program
from vectorops.api.kinds import BY_NAME
from vectorops.api.reasons import Reason

ROOT: Final = Path(__file__).parents[2]
ARGO: Final = ROOT / "gitops" / "argocd"
CUSTOMIZATIONS: Final = ARGO / "resource_customizations" / "vectorops.dev"
HEALTH: Final = CUSTOMIZATIONS / "_"
PAGE: Final = ROOT / "docs" / "gitops.md"
RECORDING: Final = os.environ.get("VECTOROPS_RECORD") == "1"

ARGO_ANSWERS_FLUX: Final = {
    "Healthy": {"Current"},
    "Degraded": {"Failed"},
    "Progressing": {"InProgress", "Terminating"},
    # kstatus knows no rest: what was Ready before stays Current.
    "Suspended": {"Current", "InProgress"},
}


def ask(**request: Any) -> Any:
    """What Argo CD with our argocd-cm, and Flux, answer; see tests/gitops/main.go."""
    settings = yaml.safe_load((ARGO / "argocd-cm.yaml").read_text())["data"]
    asked = json.dumps({"configMap": settings, **request})
    judge = gitops_programs().judge
    done = subprocess.run([str(judge)], input=asked, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def recorded() -> dict[Path, Object]:
    """The test data of the health checks, by file."""
    return {file: yaml.safe_load(file.read_text()) for file in sorted(HEALTH.glob("testdata/*/*.yaml"))}


def as_yaml(obj: Object) -> str:
    return str(yaml.safe_dump(obj, sort_keys=False, width=140))


# ---- the statuses ----


@pytest.mark.timeout(300)
async def test_the_recorded_statuses_are_those_that_the_operator_writes(
    api: KubeApi,
    kube: KubeServer,
    namespace: str,
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
    start_proxy: StartProxy,
    tmp_path: Path,
) -> None:
    stage = Stage(api, kube, namespace, start_qdrant, start_operator, start_proxy, tmp_path)
    found = {HEALTH / "testdata" / kind / f"{name}.yaml": obj for (kind, name), obj in (await record(stage)).items()}
    if RECORDING:
        for stale in recorded().keys() - found.keys():
            stale.unlink()
        for file, obj in found.items():
            file.write_text(as_yaml(obj))

    assert recorded() == dict(sorted(found.items())), "run `make statuses`, and look at what changed"


def test_there_is_a_status_of_every_reason() -> None:
    assert {kebab(reason) for reason in Reason} <= {file.stem for file in recorded()}


# ---- health ----


def verdicts() -> dict[Path, Any]:
    """What each of the two says about each recorded object."""
    objects = recorded()
    return dict(zip(objects, ask(judge=list(objects.values()))["judged"], strict=True))


def test_argo_cd_says_of_each_status_what_the_health_tests_expect() -> None:
    """The files have the form of Argo CD's repository, whose own test reads them there."""
    tests = [
        {"healthStatus": verdict["argo"], "inputPath": str(file.relative_to(HEALTH))}
        for file, verdict in verdicts().items()
        if "deletionTimestamp" not in recorded()[file]["metadata"]
    ]
    expected = HEALTH / "health_test.yaml"
    if RECORDING:
        expected.write_text(as_yaml({"tests": tests}))
    assert yaml.safe_load(expected.read_text())["tests"] == tests


def test_argo_cd_and_flux_agree_about_every_status() -> None:
    disagreed = {
        file.name: (verdict["argo"]["status"], verdict["kstatus"]["Status"])
        for file, verdict in verdicts().items()
        if verdict["kstatus"]["Status"] not in ARGO_ANSWERS_FLUX[verdict["argo"]["status"]]
    }

    assert disagreed == {}


def test_whoever_waits_or_fails_learns_why_from_the_health_message() -> None:
    """But in a deletion: that message is Argo CD's own."""
    for file, verdict in verdicts().items():
        obj, argo = recorded()[file], verdict["argo"]
        ready = condition(obj, "Ready")
        if "deletionTimestamp" in obj["metadata"]:
            assert argo["message"] == "Pending deletion"
        elif file.stem in {"new", "changed"}:
            assert argo["message"] == "Waiting for the operator to look at this generation"
        elif argo["status"] in {"Degraded", "Progressing"}:
            assert argo["message"] == f"{ready['reason']}: {ready['message']}"
        elif file.stem == "drifted":
            assert argo["message"] == f"Drifted: {condition(obj, 'Drifted')['message']}"
        else:
            assert argo["message"] == ready["message"]


def test_the_page_shows_the_verdict_of_each_reason() -> None:
    told: dict[tuple[str, str], list[str]] = {}
    for file, verdict in verdicts().items():
        told.setdefault((verdict["argo"]["status"], verdict["kstatus"]["Status"]), []).append(_shown(file))
    rows = [f"| {argo} | {flux} | {', '.join(sorted(set(names)))} |" for (argo, flux), names in sorted(told.items())]
    table = "\n".join(["| Argo CD | kstatus | in these situations |", "| -- | -- | -- |", *rows])
    text = PAGE.read_text()
    pattern = re.compile(r"(?<=<!-- verdicts -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)
    if RECORDING:
        PAGE.write_text(pattern.sub(lambda _: table, text))
        text = PAGE.read_text()

    (shown,) = pattern.findall(text)
    assert shown == table


def _shown(file: Path) -> str:
    """The reason that a file is named after; else what it shows."""
    reasons = {kebab(reason): reason.value for reason in Reason}
    others = {
        "new": "not looked at yet",
        "changed": "changed since",
        "replicas-dead": "ReplicasMissing (some are dead)",
    }
    return reasons.get(file.stem) or others[file.stem]


# ---- actions ----


def offered(obj: Object) -> set[str]:
    """The actions that Argo CD lets a person choose."""
    (told,) = ask(judge=[obj])["judged"]
    return {action["name"] for action in told["actions"] if not action.get("disabled")}


async def act(api: KubeApi, obj: Object, action: str) -> Object:
    """Does what a click on an action does: the script changes the object, Argo CD sends the difference."""
    (changed,) = ask(act=[{"object": obj, "action": action}])["acted"]
    metadata = obj["metadata"]
    return await api.patch(obj["kind"], metadata["namespace"], metadata["name"], merge_patch(obj, changed))


def merge_patch(before: Any, after: Any) -> Any:
    """The JSON merge patch between two values."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    changed = {key: merge_patch(before.get(key), value) for key, value in after.items() if before.get(key) != value}
    return changed | dict.fromkeys(before.keys() - after.keys())


async def test_a_held_back_plan_is_approved_by_an_action(api: KubeApi, team: Team) -> None:
    name = unique("held")
    fine = await team.collection(name)
    held = await team.collection(name, vector={"size": 4}, until="PlanHeldBack")

    assert "approve-plan" not in offered(fine)
    assert "approve-plan" in offered(held)
    approved = await act(api, held, "approve-plan")

    assert approved["metadata"]["annotations"]["vectorops.dev/approve-plan"] == plan_hash(held)
    assert is_ready(await team.wait("QdrantCollection", name, is_ready))


async def test_a_resource_rests_and_goes_on_by_actions(api: KubeApi, team: Team, stored: Stored) -> None:
    name = unique("resting")
    await team.collection(name)
    running = await team.points(name, name, [point(1, 1, 0, 0)])
    assert offered(running) == {"reconcile", "suspend"}

    await act(api, running, "suspend")
    suspended = await team.wait("PointSet", name, "Suspended")
    assert offered(suspended) == {"resume"}
    await stored.client.delete(name, [1], wait=True)

    await act(api, suspended, "resume")
    resumed = await team.wait("PointSet", name, "Succeeded")
    assert "suspend" not in resumed["spec"]
    assert list(await stored.points(name)) == [1]


async def test_an_action_has_the_operator_look_now(api: KubeApi, team: Team) -> None:
    name = unique("looked-at")
    before = await team.collection(name)

    asked = await act(api, before, "reconcile")

    token = asked["metadata"]["annotations"]["vectorops.dev/reconcile"]
    await team.wait("QdrantCollection", name, lambda obj: obj["status"].get("lastHandledReconcileAt") == token)


def test_the_action_tests_are_those_of_the_scripts() -> None:
    """The files have the form of Argo CD's repository; a token that is a time is written as its zero."""
    assert {folder.parent.name for folder in CUSTOMIZATIONS.glob("*/actions")} == BY_NAME.keys()
    for folder in CUSTOMIZATIONS.glob("*/actions"):
        tests = yaml.safe_load((folder / "action_test.yaml").read_text())
        for test in tests["actionTests"]:
            before = yaml.safe_load((folder / test["inputPath"]).read_text())
            (after,) = ask(act=[{"object": before, "action": test["action"]}])["acted"]
            token = after["metadata"].get("annotations", {}).get("vectorops.dev/reconcile")
            if token is not None:
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", token)
                after["metadata"]["annotations"]["vectorops.dev/reconcile"] = "0001-01-01T00:00:00Z"
            assert after == yaml.safe_load((folder / test["expectedOutputPath"]).read_text())
        for test in tests["discoveryTests"]:
            obj = yaml.safe_load((folder / test["inputPath"]).read_text())
            (told,) = ask(judge=[obj])["judged"]
            found = {action["name"]: bool(action.get("disabled")) for action in told["actions"]}
            assert found == {each["name"]: each["disabled"] for each in test["result"]}
        assert {test["action"] for test in tests["actionTests"]} == {
            each.parent.name for each in folder.glob("*/*.lua")
        }


# ---- renamed in Git: the new name is applied, the old one pruned ----


async def test_a_renamed_set_takes_its_points_over(team: Team, stored: Stored) -> None:
    name, old, new = unique("renamed"), unique("old"), unique("new")
    points = [point(1, 1, 0, 0), point(2, 0, 1, 0)]
    await team.collection(name)
    await team.points(old, name, points)

    contested = await team.points(new, name, points)
    await team.delete("PointSet", old)

    assert condition(contested, "Ready")["reason"] == "PointConflicts"
    await team.wait("PointSet", new, is_ready)
    assert await stored.vectors(name) == {1: [1.0, 0.0, 0.0], 2: [0.0, 1.0, 0.0]}


async def test_a_renamed_collection_is_adopted_with_the_points_in_it(team: Team, stored: Stored) -> None:
    name, new = unique("kept"), unique("new")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0)])
    before = await stored.points(name)

    contested = await team.collection(new, collectionName=name)
    await team.points(f"{new}-set", new, [point(2, 1, 0, 0)], until=lambda obj: condition(obj, "Ready"))
    await team.delete("QdrantCollection", name)

    assert condition(contested, "Ready")["reason"] == "OwnedByAnother"
    assert is_ready(await team.look_again("QdrantCollection", new))
    await team.wait("PointSet", f"{new}-set", is_ready)
    assert (await stored.points(name))[1] == before[1]


# ---- the examples ----

EXAMPLES: Final = ROOT / "examples" / "gitops"
NAMESPACES: Final = ("argocd", "flux-system", "search")


def example(path: str) -> list[Object]:
    """The manifests of a file or of a folder's files."""
    place = EXAMPLES / path
    files = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    return [each for file in files for each in yaml.safe_load_all(file.read_text())]


def of_kind(manifests: list[Object], kind: str) -> dict[str, Object]:
    """Those of a kind, by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


@pytest.fixture
def kube_of_others(tmp_path: Path) -> Iterator[KubeServer]:
    """An API server with the kinds of Argo CD and Flux, as their own modules ship them."""
    server = KubeServer(
        tmp_path / "kube", [yaml.safe_load(file.read_text()) for file in gitops_programs().crds.iterdir()]
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def test_argo_cd_and_flux_would_take_the_examples(kube_of_others: KubeServer) -> None:
    async with kube_of_others.api() as api:
        for name in NAMESPACES:
            await api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

        for manifest in example("argocd") + example("flux"):
            stored = await api.apply(manifest, dry_run=True)
            assert stored["metadata"]["name"] == manifest["metadata"]["name"]
        (team,) = example("argocd/team.yaml")
        team["spec"]["unknown"] = True
        with pytest.raises(ApiError, match="not declared in schema"):
            await api.apply(team, dry_run=True)


@pytest.mark.parametrize("how", ["argocd", "flux"])
def test_the_chart_takes_the_values_of_the_examples(how: str) -> None:
    manifests = example(how)
    if how == "argocd":
        source = of_kind(manifests, "Application")["vectorops"]["spec"]["source"]
        chart, values = source["path"], source["helm"]["valuesObject"]
    else:
        spec = of_kind(manifests, "HelmRelease")["vectorops"]["spec"]
        chart, values = spec["chart"]["spec"]["chart"], spec["values"]

    rendered = subprocess.run(
        [str(helm_program()), "template", "vectorops", str(ROOT / chart), "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )

    assert rendered.returncode == 0, rendered.stderr
    crds = of_kind([each for each in yaml.safe_load_all(rendered.stdout) if each], "CustomResourceDefinition")
    for crd in crds.values():
        assert crd["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false"
    assert len(crds) == len(BY_NAME)


def test_both_lead_to_the_same_resources_of_the_team() -> None:
    """Waves: what is referred to comes first, and goes last."""
    application = of_kind(example("argocd"), "Application")["search"]
    kustomization = of_kind(example("flux"), "Kustomization")["search"]
    project = of_kind(example("argocd"), "AppProject")[application["spec"]["project"]]
    sources = of_kind(example("flux"), "GitRepository")
    path = application["spec"]["source"]["path"]
    waves = {
        each["kind"]: int(each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for each in example("team")
    }

    assert ROOT / path == EXAMPLES / "team"
    assert kustomization["spec"]["path"] == f"./{path}"
    assert kustomization["spec"]["sourceRef"]["name"] in sources
    assert application["spec"]["source"]["repoURL"] in project["spec"]["sourceRepos"]
    assert application["spec"]["destination"] in project["spec"]["destinations"]
    assert waves["QdrantConnection"] < waves["QdrantCollection"] < waves["PointSet"]

"""What stands in Git stays as it is: applied twice, nothing differs, and nobody shares a field with the operator.

Server-side apply as Argo CD does it, and Argo CD's own comparison with what is live (tests/gitops). The manifests are
all that people may copy: the examples, and those in the documents.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from corpus import cases
from integration.conftest import StartOperator
from integration.test_gitops import ask
from integration.world import connection, point, point_set
from servers.kubeapi import KubeApi, Object, condition
from servers.qdrant import QdrantServer
from vectorops.api.kinds import BY_NAME, within
from vectorops.api.pointset import MAX_POINTS

ROOT: Final = Path(__file__).parents[2]
MANAGER: Final = "argocd-controller"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
ORDER: Final = [info.kind for info in within(["team"])]
"""Of what an operator of one namespace watches, each kind after what it needs."""
FENCED: Final = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sources() -> Iterator[tuple[str, list[Object]]]:
    """Every folder of examples and every page, with the manifests of our kinds in it."""
    texts: dict[str, list[str]] = {}
    for file in sorted((ROOT / "examples").rglob("*.yaml")):
        texts.setdefault(str(file.parent.relative_to(ROOT)), []).append(file.read_text())
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        texts[str(page.relative_to(ROOT))] = FENCED.findall(page.read_text())
    for source, found in texts.items():
        if manifests := [each for text in found for each in ours(text)]:
            yield source, sorted(manifests, key=lambda each: ORDER.index(each["kind"]))


def ours(text: str) -> Iterator[Object]:
    """The manifests of our kinds in a text that may hold anything."""
    if "apiVersion: vectorops.dev/" not in text:
        return
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and document.get("kind") in ORDER:
            yield document


def leaves(fields: Object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths in a `fieldsV1` at which a manager has something."""
    if not fields:
        yield path
    for key, below in fields.items():
        yield from leaves(below, (*path, key))


def fields_of(obj: Object, *, user: bool) -> set[tuple[str, ...]]:
    """What the user's manager has, or all others."""
    managers = [each for each in obj["metadata"]["managedFields"] if (each["manager"] == MANAGER) == user]
    return {path for each in managers for path in leaves(each["fieldsV1"])}


def section(path: tuple[str, ...]) -> str:
    """`f:spec`, `f:status`, or which part of the metadata."""
    return "/".join(path[:2]) if path[0] == "f:metadata" else path[0]


def differences(pairs: list[tuple[Object, Object]]) -> list[str]:
    """Which of (desired, live) Argo CD calls OutOfSync, and the two states that it compared."""
    asked = [{"desired": desired, "live": live} for desired, live in pairs]
    answers = ask(compare=asked)["compared"]
    return [
        f"{desired['kind']} {desired['metadata']['name']}: {told['predicted']} != {told['live']}"
        for (desired, _), told in zip(pairs, answers, strict=True)
        if told["modified"]
    ]


def as_kubectl_left_it(desired: Object, live: Object) -> Object:
    """The live object, had it been applied by a client that keeps what it applied in an annotation."""
    annotated = copy.deepcopy(live)
    annotated["metadata"].setdefault("annotations", {})[LAST_APPLIED] = json.dumps(desired)
    return annotated


def in_namespace(manifest: Object, namespace: str, **metadata: Any) -> Object:
    """A cluster-scoped resource stays in none."""
    place = {"namespace": namespace} if BY_NAME[manifest["kind"]].is_namespaced else {}
    return {**manifest, "metadata": {**manifest["metadata"], **place, **metadata}}


def has_null(value: Any) -> bool:
    """Is there a null outside of payloads? Server-side apply refuses some, where a client's apply has them dropped."""
    if isinstance(value, dict):
        return any(has_null(item) for key, item in value.items() if key not in {"payload", "id"})
    return value is None or (isinstance(value, list) and any(map(has_null, value)))


@pytest.mark.parametrize(("source", "manifests"), [pytest.param(*found, id=found[0]) for found in sources()])
async def test_what_people_copy_is_applied_twice_without_a_difference_while_the_operator_works(
    api: KubeApi,
    namespace: str,
    qdrant: QdrantServer,
    start_operator: StartOperator,
    source: str,
    manifests: list[Object],
) -> None:
    operator = start_operator(flags=["--offline"])
    desired = [in_namespace(there(manifest, qdrant), namespace) for manifest in manifests]
    for manifest in desired:
        await api.apply(manifest, field_manager=MANAGER, force=False)
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in desired]
    for kind, name in names:
        await api.wait_for(kind, namespace, name, lambda obj: condition(obj, "Ready"))
    # From here on nobody else writes.
    operator.stop()
    live = [await api.get(kind, namespace, name) for kind, name in names]

    again = [await api.apply(manifest, field_manager=MANAGER, force=False) for manifest in desired]

    assert again == live, "the second apply wrote"
    assert differences(list(zip(desired, live, strict=True))) == []
    assert (
        differences([(each, as_kubectl_left_it(each, is_now)) for each, is_now in zip(desired, live, strict=True)])
        == []
    )
    for obj in live:
        users, others = fields_of(obj, user=True), fields_of(obj, user=False)
        assert {section(path) for path in users} <= {"f:spec", "f:metadata/f:annotations", "f:metadata/f:labels"}
        assert {section(path) for path in others} <= {"f:status", "f:metadata/f:finalizers"}
        assert others
        assert not users & others


def there(manifest: Object, server: QdrantServer) -> Object:
    """The manifest, its address replaced by that of a server that is there."""
    if manifest["kind"] != "QdrantConnection":
        return manifest
    address = connection("", server)["spec"]
    return {**manifest, "spec": {key: value for key, value in address.items() if key != "grpcPort"}}


async def test_every_form_that_the_kinds_can_have_is_stored_as_it_is_declared(api: KubeApi, namespace: str) -> None:
    """No default is filled in, nothing in a list is changed: what Argo CD compares is what the API server keeps."""
    pairs = []
    for number, case in enumerate(cases("good")):
        # A status is nobody's to declare; Argo CD leaves it out as well.
        if has_null(case.manifest) or "status" in case.manifest:
            continue
        manifest = in_namespace(case.manifest, namespace, name=f"case-{number}")
        await api.apply(manifest, field_manager=MANAGER, force=False)
        # While no operator runs, the API server itself stores the default of `status` with the first update.
        first = await api.apply(manifest, field_manager=MANAGER, force=False)
        second = await api.apply(manifest, field_manager=MANAGER, force=False)
        assert second == first, str(case)
        assert not any(path[0] == "f:status" for path in fields_of(second, user=True))
        pairs += [(manifest, second), (manifest, as_kubectl_left_it(manifest, second))]

    assert differences(pairs) == []


async def test_annotations_that_people_set_by_hand_are_no_difference(api: KubeApi, namespace: str) -> None:
    """A plan is approved, or a collection taken over, once: that belongs into no repository, and stays all the same."""
    desired = next(case.manifest for case in cases("good") if case.manifest["kind"] == "QdrantCollection")
    desired = in_namespace(desired, namespace, annotations={"argocd.argoproj.io/tracking-id": "team:one"})
    await api.apply(desired, field_manager=MANAGER, force=False)
    by_hand: dict[str, str | None] = {"vectorops.dev/approve-plan": "0123", "vectorops.dev/take-over-from": "before"}
    live = await api.annotate(desired["kind"], namespace, desired["metadata"]["name"], by_hand)

    again = await api.apply(desired, field_manager=MANAGER, force=False)

    assert again == live
    assert differences([(desired, live), (desired, as_kubectl_left_it(desired, live))]) == []
    assert again["metadata"]["annotations"] == desired["metadata"]["annotations"] | by_hand


async def test_a_set_that_is_too_large_for_an_annotation_is_applied(api: KubeApi, namespace: str) -> None:
    """A client's apply would keep a copy of it in one: 256 KiB at most."""
    points = [point(id, payload={"text": "word " * 100}) for id in range(MAX_POINTS)]
    large = point_set(namespace, "large", "documents", points)
    assert len(json.dumps(large)) > 1_000_000

    await api.apply(large, field_manager=MANAGER, force=False)
    first = await api.apply(large, field_manager=MANAGER, force=False)
    second = await api.apply(large, field_manager=MANAGER, force=False)

    assert second == first
    assert len(json.dumps(second["metadata"]["managedFields"])) < 1000


async def test_a_field_that_is_changed_by_hand_is_a_difference(api: KubeApi, namespace: str) -> None:
    """Or the other tests could not fail."""
    desired = in_namespace(next(case.manifest for case in cases("good")), namespace)
    live = await api.apply(desired, field_manager=MANAGER)
    live["spec"]["connectionRef" if "connectionRef" in live["spec"] else "url"] = "changed"

    assert len(differences([(desired, live)])) == 1

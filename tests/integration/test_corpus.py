"""The corpus, judged by a real API server. Verdicts and words must be those of the command line (tests/unit/api)."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from corpus import Case, cases
from integration.conftest import crds
from servers.kube import KubeServer
from servers.kubeapi import ApiError, KubeApi
from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.kinds import BY_NAME
from vectorops.api.meta import Resource
from vectorops.errors import Terminal
from vectorops.reconcilers.spec import parse


async def submit(api: KubeApi, namespace: str, case: Case) -> dict[str, Any]:
    """Create the resource; for an update create its old state and put the new one in its place."""
    if case.old is None:
        return await api.create(_in(namespace, case.manifest))
    stored = await api.create(_in(namespace, case.old))
    return await api.replace({**stored, "spec": case.manifest["spec"]})


def _in(namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """In a namespace of the case's own; a cluster-scoped resource has a name of its own instead."""
    metadata = manifest["metadata"]
    info = BY_NAME.get(manifest["kind"])
    own = {"name": f"{namespace}-{metadata['name']}"} if info and not info.is_namespaced else {"namespace": namespace}
    return {**manifest, "metadata": metadata | own}


@pytest.mark.parametrize("case", cases("good"), ids=str)
async def test_the_api_server_stores_a_good_manifest(api: KubeApi, namespace: str, case: Case):
    stored = await submit(api, namespace, case)

    assert stored["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize("case", cases("bad"), ids=str)
async def test_the_api_server_refuses_a_bad_manifest_with_the_same_words(api: KubeApi, namespace: str, case: Case):
    with pytest.raises(ApiError) as refused:
        await submit(api, namespace, case)

    assert refused.value.status_code in (400, 422)
    assert [words for words in case.expect if words not in refused.value.message] == [], refused.value.message


async def test_a_resource_can_be_deleted_and_its_status_written_whatever_rules_say_of_updates(
    api: KubeApi, namespace: str
):
    """A finalizer that cannot be taken off, or a status that cannot be written, would hold a namespace for ever."""
    manifest = next(
        case.manifest for case in cases("good") if case.title == "every field of a collection with named vectors"
    )
    await api.create(_in(namespace, manifest))
    name = manifest["metadata"]["name"]
    await api.patch("QdrantCollection", namespace, name, {"metadata": {"finalizers": ["vectorops.dev/cleanup"]}})
    await api.delete("QdrantCollection", namespace, name)

    await api.patch_status("QdrantCollection", namespace, name, {"observedGeneration": 1})
    await api.patch("QdrantCollection", namespace, name, {"metadata": {"finalizers": []}})

    await api.wait_gone("QdrantCollection", namespace, name)


async def test_an_object_of_another_version_can_still_be_let_go_and_is_read_as_nothing_else(
    start_kube: Callable[[], KubeServer],
):
    """Rolled back from a version that knew more providers, or stored before the rule about size and embedder."""
    crd = next(crd for crd in crds() if crd["spec"]["names"]["kind"] == "QdrantCollection")
    vectors: dict[str, dict[str, Any]] = {
        "no-size": {"name": "text"},
        "future": {"name": "text", "embedder": {"cohere": {"model": "embed-v4.0"}}},
    }
    async with start_kube().api() as api:
        namespace = await api.create_namespace()
        await api.apply(_of_another_version(crd))
        for name, vector in vectors.items():
            await _until_stored(api, _in(namespace, _collection(name, vector)))
        await api.apply(crd)
        await _until_refused(api, _in(namespace, _collection("late", {"name": "text"})))

        for name in vectors:
            await api.patch_status("QdrantCollection", namespace, name, {"observedGeneration": 1})
            await api.patch(
                "QdrantCollection", namespace, name, {"metadata": {"finalizers": ["vectorops.dev/cleanup"]}}
            )
            read = Resource.from_object(await api.get("QdrantCollection", namespace, name))
            with pytest.raises(Terminal, match="exactly one of"):
                parse(QdrantCollectionSpec, read)
            await api.delete("QdrantCollection", namespace, name)
            await api.patch("QdrantCollection", namespace, name, {"metadata": {"finalizers": []}})
            await api.wait_gone("QdrantCollection", namespace, name)


def _collection(name: str, vector: dict[str, Any]) -> dict[str, Any]:
    spec = {"connectionRef": {"name": "main"}, "vectors": [vector]}
    return {
        "apiVersion": "vectorops.dev/v1alpha1",
        "kind": "QdrantCollection",
        "metadata": {"name": name},
        "spec": spec,
    }


def _of_another_version(crd: dict[str, Any]) -> dict[str, Any]:
    """The CRD with a provider more, and without the rule about size and embedder."""
    other = copy.deepcopy(crd)
    (version,) = other["spec"]["versions"]
    vector = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["vectors"]["items"]
    del vector["x-kubernetes-validations"]
    vector["properties"]["embedder"]["properties"]["cohere"] = {
        "type": "object",
        "properties": {"model": {"type": "string"}},
    }
    return other


async def _until_stored(api: KubeApi, manifest: dict[str, Any]) -> None:
    """A changed CRD takes a moment to be served."""
    for _ in range(100):
        try:
            await api.create(manifest)
        except ApiError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError(f"never stored: {manifest}")


async def _until_refused(api: KubeApi, manifest: dict[str, Any]) -> None:
    for _ in range(100):
        try:
            await api.create(manifest)
        except ApiError:
            return
        await api.delete("QdrantCollection", manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        await asyncio.sleep(0.1)
    raise AssertionError(f"never refused: {manifest}")

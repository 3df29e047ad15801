"""The corpus, judged by a real API server. Verdicts and words must be those of the command line (tests/unit/api)."""

from typing import Any

import pytest

from corpus import Case, cases
from servers.kubeapi import ApiError, KubeApi


async def submit(api: KubeApi, namespace: str, case: Case) -> dict[str, Any]:
    """Create the resource; for an update create its old state and put the new one in its place."""
    if case.old is None:
        return await api.create(_in(namespace, case.manifest))
    stored = await api.create(_in(namespace, case.old))
    return await api.replace({**stored, "spec": case.manifest["spec"]})


def _in(namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}


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

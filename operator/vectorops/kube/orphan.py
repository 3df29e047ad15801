"""`vectorops orphan`: deletes resources of ours and leaves everything that they made in Qdrant. Called by `cli`.

Deleting a CustomResourceDefinition deletes all resources of its kind, and a PointSet takes its points along. So this is
what removes the CRDs for the chart (`crds.keep: false`): nobody who uninstalls an operator means the data. It needs no
operator, and gets along with one that runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from vectorops.api.kinds import KINDS, within
from vectorops.api.meta import GROUP, SKIP_CLEANUP, Resource
from vectorops.errors import Transient
from vectorops.kube import access
from vectorops.kube.calls import CONFLICT, MERGE_PATCH, NOT_FOUND, Calls, Refused, resource_path
from vectorops.kube.cluster import KubeCluster
from vectorops.words import counted

AT_A_TIME: Final = 8
"""Resources under way; three requests each, one after the other."""

Tell = Callable[[str], None]
"""Takes one line for a person."""


class NotOrphaned(Exception):
    """Some resources are still there; the message says which and why."""


def run(namespaces: Sequence[str], tell: Tell, *, delete_crds: bool = False) -> int:
    """The exit code of the process. namespaces: none means all."""
    try:
        asyncio.run(_run(namespaces, tell, delete_crds=delete_crds))
    except (access.NoAccess, NotOrphaned) as error:
        tell(str(error))
        return 1
    except Transient as error:
        tell(error.message)
        return 1
    return 0


async def _run(namespaces: Sequence[str], tell: Tell, *, delete_crds: bool) -> None:
    client = access.client(await access.configuration())
    try:
        await orphan(Calls(client), namespaces, tell)
        if delete_crds:
            await _delete_crds(Calls(client), tell)
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def orphan(calls: Calls, namespaces: Sequence[str], tell: Tell) -> None:
    """Raises NotOrphaned if some cannot go, and Transient when the API server does not do what it must."""
    cluster = KubeCluster(calls, instance="orphan")
    limit = asyncio.Semaphore(AT_A_TIME)

    async def one(resource: Resource) -> None:
        async with limit:
            await _let_go(calls, cluster, resource)

    # Those that need others first, so that a running operator has nothing to wait for and nothing to say about it.
    kinds = [info.kind for info in within(namespaces)]
    for kind in reversed(kinds):
        resources = await _all(cluster, kind, namespaces)
        await asyncio.gather(*map(one, resources))
        if resources:
            tell(f"{counted(len(resources), kind)} deleted; what they made in Qdrant stays")
    left = [resource for kind in kinds for resource in await _all(cluster, kind, namespaces)]
    if left:
        raise NotOrphaned("\n".join(f"{resource.ref} is still there: {_why(resource)}" for resource in left))
    tell("nothing is left in the cluster")


async def _delete_crds(calls: Calls, tell: Tell) -> None:
    for info in reversed(KINDS):
        try:
            await calls.call("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{info.plural}.{GROUP}")
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
    tell("the CustomResourceDefinitions are deleted")


async def _all(cluster: KubeCluster, kind: str, namespaces: Sequence[str]) -> list[Resource]:
    try:
        return [
            found
            for namespace in namespaces or (None,)
            async for page in cluster.pages(kind, namespace)
            for found in page.resources
        ]
    except Refused as error:
        if error.status != NOT_FOUND:
            raise
        # Without the CRD there are no resources.
        return []


async def _let_go(calls: Calls, cluster: KubeCluster, resource: Resource) -> None:
    path = resource_path(resource.kind, resource.meta.namespace, resource.meta.name)
    annotated = {"metadata": {"annotations": {SKIP_CLEANUP: "true"}}}
    try:
        # Before the deletion, so that no operator ever sees it as one to clean up after.
        await calls.call("PATCH", path, body=annotated, content_type=MERGE_PATCH)
        await calls.call("DELETE", path)
    except Refused as error:
        if error.status != NOT_FOUND:
            raise
    await _without_finalizer(cluster, resource)


async def _without_finalizer(cluster: KubeCluster, resource: Resource) -> None:
    """Does what the operator does at the sight of the annotation, in case that none runs."""
    while (current := await cluster.get(resource.ref)) is not None and current.meta.uid == resource.meta.uid:
        try:
            await cluster.set_finalizer(current, False)
            return
        except Refused as error:
            # A running operator was quicker.
            if error.status != CONFLICT:
                raise


def _why(resource: Resource) -> str:
    if not resource.deleting:
        return "somebody makes it again; stop what applies it (Argo CD, Flux) first"
    return f"it waits for its finalizers {', '.join(resource.meta.finalizers)}"

"""`vectorops orphan`: deletes our resources, and keeps everything that they created in Qdrant.

Deleting a CustomResourceDefinition deletes all resources of its kind, and with a PointSet its points. Uninstalling an
operator must not delete data, so the chart removes the CRDs with this command (`crds.keep: false`). It works with and
without a running operator.
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
"""Resources that are deleted at the same time; three requests each, one after the other."""

PrintLine = Callable[[str], None]
"""Prints one line for a person."""


class NotOrphaned(Exception):
    """Some resources are still there; the message says which and why."""


def run_orphan(namespaces: Sequence[str], tell: PrintLine, *, delete_crds: bool = False) -> int:
    """Runs the command; returns the exit code of the process. namespaces: empty means all."""
    try:
        asyncio.run(_orphan_and_delete_crds(namespaces, tell, delete_crds=delete_crds))
    except (access.NoAccess, NotOrphaned) as error:
        tell(str(error))
        return 1
    except Transient as error:
        tell(error.message)
        return 1
    return 0


async def _orphan_and_delete_crds(namespaces: Sequence[str], tell: PrintLine, *, delete_crds: bool) -> None:
    client = access.make_client(await access.configuration())
    try:
        await orphan_resources(Calls(client), namespaces, tell)
        if delete_crds:
            await _delete_crds(Calls(client), tell)
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def orphan_resources(calls: Calls, namespaces: Sequence[str], tell: PrintLine) -> None:
    """Deletes the resources. Raises NotOrphaned if some remain, and Transient if the API server fails."""
    cluster = KubeCluster(calls, instance="orphan")
    limit = asyncio.Semaphore(AT_A_TIME)

    async def one(resource: Resource) -> None:
        async with limit:
            path = resource_path(resource.kind, resource.meta.namespace, resource.meta.name)
            annotated = {"metadata": {"annotations": {SKIP_CLEANUP: "true"}}}
            try:
                # Before the deletion, so that no operator cleans up.
                await calls.call("PATCH", path, body=annotated, content_type=MERGE_PATCH)
                await calls.call("DELETE", path)
            except Refused as error:
                if error.status != NOT_FOUND:
                    raise
            await _remove_finalizer(cluster, resource)

    # Dependents first, so that a running operator has nothing to wait for and nothing to report.
    kinds = [info.kind for info in within(namespaces)]
    for kind in reversed(kinds):
        resources = await _all(cluster, kind, namespaces)
        await asyncio.gather(*map(one, resources))
        if resources:
            tell(f"{counted(len(resources), kind)} deleted; what they made in Qdrant stays")
    left = [resource for kind in kinds for resource in await _all(cluster, kind, namespaces)]
    if left:
        raise NotOrphaned("\n".join(f"{resource.ref} is still there: {_explain(resource)}" for resource in left))
    tell("nothing is left in the cluster")


async def _delete_crds(calls: Calls, tell: PrintLine) -> None:
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


async def _remove_finalizer(cluster: KubeCluster, resource: Resource) -> None:
    """Like an operator that sees the annotation, in case none is running."""
    while (current := await cluster.get(resource.ref)) is not None and current.meta.uid == resource.meta.uid:
        try:
            await cluster.set_finalizer(current, False)
            return
        except Refused as error:
            # A running operator changed it first.
            if error.status != CONFLICT:
                raise


def _explain(resource: Resource) -> str:
    if not resource.deleting:
        return "somebody creates it again; stop what applies it (Argo CD, Flux) first"
    return f"it waits for its finalizers {', '.join(resource.meta.finalizers)}"

"""Changes of the ConfigMaps that PointSets may have as a source, so that they are picked up at once.

Only those with the label `vectorops.dev/source: "true"`, and of each its metadata alone: what they hold is read by the
reconciler. Whoever may not watch ConfigMaps finds changes at each resync.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, Never

from vectorops.api.meta import SOURCE_LABEL, JsonObject, ObjectMeta, Ref, Resource
from vectorops.errors import Transient
from vectorops.kube import permissions
from vectorops.kube.calls import METADATA, METADATA_LIST, Calls, core_path
from vectorops.kube.cluster import PAGE_ITEMS, Page, WatchEvent, read_watch
from vectorops.kube.listing import Listing
from vectorops.kube.watch import Watch

logger = logging.getLogger(__name__)

CONFIG_MAP: Final = "ConfigMap"
SELECTOR: Final = f"{SOURCE_LABEL}=true"


class ConfigMapWatch:
    """The ConfigMaps of one namespace, or of all.

    changed: called with the namespace of each that is new, changed or gone. interval_seconds: how often to find out
    whether we may watch them meanwhile.
    """

    def __init__(
        self, calls: Calls, changed: Callable[[str], None], namespace: str | None, interval_seconds: float
    ) -> None:
        self._calls = calls
        self._changed = changed
        self._namespace = namespace
        self._interval_seconds = interval_seconds
        self._versions: dict[Ref, str] = {}

    async def run(self) -> Never:
        """Ends only by cancellation."""
        listing = Listing(self, self, (), self._interval_seconds)
        watch = Watch(self, listing, self, CONFIG_MAP, self._namespace)
        while True:
            try:
                rights = permissions.needed_to_read_config_maps(self._namespace)
                if not await permissions.missing(self._calls, rights):
                    await watch.run(await listing.scope(CONFIG_MAP, self._namespace))
            except Transient as error:
                logger.debug("ConfigMaps cannot be watched: %s", error.message)
            except Exception:
                logger.exception("watching failed", extra={"kind": CONFIG_MAP})
            await asyncio.sleep(self._interval_seconds)

    # ---- where lists and watches come from: see `listing.Pages` and `watch.Events` ----

    async def pages(self, kind: str, namespace: str | None) -> AsyncIterator[Page]:
        query: dict[str, str | int] = {"limit": PAGE_ITEMS, "labelSelector": SELECTOR}
        while True:
            path = core_path(namespace, "configmaps")
            page = await self._calls.call("GET", path, query=query, accept=METADATA_LIST)
            metadata = page["metadata"]
            # An empty list in this form has null as its items.
            yield Page([_outline(kind, item) for item in page["items"] or ()], metadata["resourceVersion"])
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def watch(self, kind: str, namespace: str | None, *, since: str) -> AsyncIterator[WatchEvent]:
        path = core_path(namespace, "configmaps")
        events = read_watch(self._calls, kind, path, since=since, accept=METADATA, selector=SELECTOR)
        async for what, content, version in events:
            found = [] if what == "BOOKMARK" else [_outline(kind, content)]
            yield WatchEvent(version, found, gone=what == "DELETED")

    # ---- where they go: see `listing.Audience` ----

    def seen(self, resource: Resource) -> None:
        version = resource.meta.resource_version
        if self._versions.get(resource.ref) != version:
            self._versions[resource.ref] = version
            self._changed(resource.meta.namespace)

    def gone(self, ref: Ref) -> None:
        if self._versions.pop(ref, None) is not None:
            self._changed(ref.namespace)

    def known(self, kind: str) -> set[Ref]:  # noqa: ARG002
        return set(self._versions)

    def resync(self, ref: Ref, *, within_seconds: float) -> None:
        """PointSets have a resync of their own."""


def _outline(kind: str, item: JsonObject) -> Resource:
    # Not all of its metadata: kubectl keeps the whole content in an annotation.
    kept = {name: item["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
    return Resource(kind, ObjectMeta.model_validate(kept), {}, {})

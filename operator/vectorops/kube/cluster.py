"""`Cluster` over the API server: what reconcilers read from Kubernetes and write to it.

Reads go to the API server, never to a cache, so that a decision to delete is based on the current state. Every write
names the version of the object that it was decided on.
"""

from __future__ import annotations

import base64
import logging
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import orjson

from vectorops import metrics
from vectorops.api.meta import API_VERSION, FINALIZER, SOURCE_LABEL, JsonObject, ObjectMeta, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Terminal, Transient
from vectorops.kube.calls import (
    BAD_REQUEST,
    CONFLICT,
    EXPIRED,
    FIELD_MANAGER,
    FORBIDDEN,
    MERGE_PATCH,
    METADATA,
    NOT_FOUND,
    TABLE,
    Calls,
    Refused,
    core_path,
    parse_json,
    resource_path,
)
from vectorops.kube.outlines import column_names, is_complete, outline
from vectorops.reconcilers.cluster import MAX_CONFIG_MAPS_BYTES, Namespace, Secret
from vectorops.reconcilers.references import config_maps_of, refers

logger = logging.getLogger(__name__)

PAGE_ITEMS: Final = 50
"""Few, because each may have 256 KiB of annotations, and as much of managed fields."""
CONFIG_MAP_PAGE_ITEMS: Final = 8
"""Each is at most a mebibyte."""
WATCH_SECONDS: Final = 600
"""After this time the API server ends a watch, and we begin another."""
DEFAULT_NAMESPACE: Final = "default"
NOTE_BYTES: Final = 1024
"""The longest note that an Event may have."""
TRIES: Final = 3
REPORTING_CONTROLLER: Final = "vectorops.dev/operator"


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list."""

    resources: Sequence[Resource]
    version: str
    """Of the whole list, the same for each page; a watch can begin there."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change that a watch reported."""

    version: str
    """Where a later watch can go on."""
    resources: Sequence[Resource]
    """As they are now, or as they were before their deletion; empty if only the version changed."""
    gone: bool = False
    """Were they deleted?"""


class KubeCluster:
    """See `reconcilers.base.Cluster`. instance: the name of the pod, which Events name as their reporter."""

    def __init__(self, calls: Calls, *, instance: str) -> None:
        self._calls = calls
        self._instance = instance

    async def get(self, ref: Ref) -> Resource | None:
        """The current object; None if there is none."""
        try:
            return Resource.from_object(await self._calls.call("GET", resource_path(ref.kind, ref.namespace, ref.name)))
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
            return None

    async def list(self, kind: str, *, refers_to: Ref) -> list[Resource]:
        """All objects of a kind that refer to `refers_to`, as outlines."""
        return [
            found
            async for page in self.pages(kind, refers_to.namespace or None)
            for found in page.resources
            if refers(found, refers_to)
        ]

    async def pages(self, kind: str, namespace: str | None) -> AsyncIterator[Page]:
        """All objects of a kind, of one namespace or of all, page by page, as outlines.

        Raises Refused: 404 if there is no such kind, 403 without the permission, 410 if we took so long that the list
        expired on the API server; then the caller begins again.
        """
        query: dict[str, str | int] = {"limit": PAGE_ITEMS}
        while True:
            table = await self._calls.call("GET", resource_path(kind, namespace), query=query, accept=TABLE)
            yield Page(await self._outlines(kind, column_names(table), table), table["metadata"]["resourceVersion"])
            position = table["metadata"].get("continue")
            if not position:
                return
            query["continue"] = position

    async def watch(self, kind: str, namespace: str | None, *, since: str) -> AsyncIterator[WatchEvent]:
        """Changes after the version `since`, until the API server ends the watch, as it regularly does.

        Raises like `pages`: 410 if that version is too old, and all must be listed again.
        """
        columns: list[str] = []
        path = resource_path(kind, namespace)
        async for what, content, version in read_watch(self._calls, kind, path, since=since, accept=TABLE):
            columns = column_names(content) or columns
            gone = what == "DELETED"
            # The rows of a bookmark are empty.
            found = [] if what == "BOOKMARK" else await self._outlines(kind, columns, content, gone=gone)
            yield WatchEvent(version, found, gone=gone)

    async def _outlines(
        self, kind: str, columns: Sequence[str], table: JsonObject, *, gone: bool = False
    ) -> Sequence[Resource]:
        """The objects of a table. One that cannot be parsed is skipped, without harm to the others.

        gone: they were deleted, so nothing more can be read of them.
        """
        found = []
        for row in table["rows"]:
            try:
                resource: Resource | None = outline(kind, columns, row)
            except (KeyError, TypeError, ValueError) as error:
                metadata = (row.get("object") or {}).get("metadata") or {}
                _skip(kind, f"{metadata.get('namespace')}/{metadata.get('name')}", error)
                continue
            if resource is not None and not gone and not is_complete(kind, columns):
                resource = await self.get(resource.ref)
            if resource is not None:
                found.append(resource)
        return found

    async def secret(self, namespace: str, name: str) -> Secret | None:
        """A Secret, or None."""
        try:
            found = await self._calls.call("GET", core_path(namespace, "secrets", name))
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
            return None
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return Secret(data=data, resource_version=found["metadata"]["resourceVersion"])

    async def config_maps(self, namespace: str, labels: Mapping[str, str]) -> Sequence[JsonObject]:
        """See `Cluster`. A list that expires while it is read is read again."""
        wanted = {**labels, SOURCE_LABEL: "true"}
        selector = ",".join(f"{name}={value}" for name, value in wanted.items())
        try:
            for _ in range(TRIES):
                try:
                    found = await self._config_maps(namespace, selector)
                except Refused as error:
                    if error.status != EXPIRED:
                        raise
                else:
                    # A value with a comma in it is two conditions to the API server.
                    return [each for each in found if wanted.items() <= each["metadata"]["labels"].items()]
        except Refused as error:
            if error.status == FORBIDDEN:
                raise Terminal(
                    Reason.SOURCE_REFUSED,
                    "spec.source.configMaps: this operator may not read ConfigMaps: set the chart's value "
                    "rbac.configMaps, or use another source",
                    on=config_maps_of(namespace),
                ) from error
            if error.status == BAD_REQUEST:
                words = "spec.source.configMaps.selector.matchLabels: not the names and values of labels"
                raise Terminal(Reason.SOURCE_INVALID, words) from error
            raise
        raise Transient(Reason.KUBERNETES_API, f"the list of ConfigMaps expired {TRIES} times while it was read")

    async def _config_maps(self, namespace: str, selector: str) -> Sequence[JsonObject]:
        query: dict[str, str | int] = {"limit": CONFIG_MAP_PAGE_ITEMS, "labelSelector": selector}
        found: list[JsonObject] = []
        size = 0
        while True:
            page = await self._calls.call("GET", core_path(namespace, "configmaps"), query=query)
            for config_map in page["items"] or ():
                for part in ("data", "binaryData"):
                    size += sum(map(len, (config_map.get(part) or {}).values()))
                found.append(config_map)
            if size > MAX_CONFIG_MAPS_BYTES:
                raise Terminal(
                    Reason.SOURCE_INVALID,
                    "spec.source.configMaps: the selected ConfigMaps hold more than "
                    f"{MAX_CONFIG_MAPS_BYTES >> 20} MiB: select fewer, or keep the rows in a bucket",
                    on=config_maps_of(namespace),
                )
            position = page["metadata"].get("continue")
            if not position:
                return found
            query["continue"] = position

    async def keep_config_map(self, resource: Resource, name: str, data: Mapping[str, str]) -> bool:
        """See `Cluster`. One that is as it should be costs a GET."""
        namespace = resource.meta.namespace
        with _needs_config_maps():
            found = await self._config_map(namespace, name)
            if found is None:
                # Without blockOwnerDeletion: some clusters let only those set it who may change the owner's finalizers.
                kind_and_name = {"apiVersion": API_VERSION, "kind": resource.kind, "name": resource.meta.name}
                metadata = {
                    "name": name,
                    "namespace": namespace,
                    "labels": {"app.kubernetes.io/managed-by": "vectorops"},
                    "ownerReferences": [{**kind_and_name, "uid": resource.meta.uid, "controller": True}],
                }
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}
                query = {"fieldManager": FIELD_MANAGER}
                await self._calls.call("POST", core_path(namespace, "configmaps"), query=query, body=body)
                return True
            _require_owned(resource, found)
            patch = merge_patch(found.get("data") or {}, dict(data))
            if patch or found.get("binaryData"):
                version = {"resourceVersion": found["metadata"]["resourceVersion"]}
                content = {"metadata": version, "data": patch, "binaryData": None}
                await self._patch(core_path(namespace, "configmaps", name), content)
        return True

    async def delete_config_map(self, resource: Resource, name: str) -> None:
        """See `Cluster`."""
        namespace = resource.meta.namespace
        with _needs_config_maps():
            found = await self._config_map(namespace, name)
            if found is None or not _is_owned(resource, found):
                return
            known = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": known}
            try:
                await self._calls.call("DELETE", core_path(namespace, "configmaps", name), body=options)
            except Refused as error:
                if error.status != NOT_FOUND:
                    raise

    async def _config_map(self, namespace: str, name: str) -> JsonObject | None:
        try:
            return await self._calls.call("GET", core_path(namespace, "configmaps", name))
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
            return None

    async def namespace(self, name: str) -> Namespace | None:
        """A namespace, or None."""
        try:
            found = await self._calls.call("GET", f"/api/v1/namespaces/{name}")
        except Refused as error:
            if error.status == NOT_FOUND:
                return None
            if error.status == FORBIDDEN:
                # Without this permission finalizers are never removed early; all else works.
                return Namespace(terminating_seconds=None)
            raise
        since, labels = found["metadata"].get("deletionTimestamp"), found["metadata"].get("labels") or {}
        seconds = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds() if since is not None else None
        return Namespace(terminating_seconds=seconds, labels=labels)

    async def set_finalizer(self, resource: Resource, present: bool) -> Resource:
        """Adds or removes our finalizer, and returns the object afterwards. No request if there is nothing to do.

        Raises Transient if the object changed since it was read.
        """
        if (FINALIZER in resource.meta.finalizers) == present:
            return resource
        others = [finalizer for finalizer in resource.meta.finalizers if finalizer != FINALIZER]
        # A merge patch replaces the whole list; the version ensures that it is the list that we read.
        metadata = {
            "resourceVersion": resource.meta.resource_version,
            "finalizers": [*others, FINALIZER] if present else others,
        }
        path = resource_path(resource.kind, resource.meta.namespace, resource.meta.name)
        try:
            answer = await self._patch(path, {"metadata": metadata})
        except Refused as error:
            if error.status == NOT_FOUND and not present:
                return resource
            raise
        return replace(resource, meta=ObjectMeta.model_validate(answer["metadata"]))

    async def write_status(self, resource: Resource, status: JsonObject) -> None:
        """Replaces the status, if the object still exists.

        Raises Transient if its spec changed meanwhile, or if others keep writing.
        """
        current = resource
        for _ in range(TRIES):
            try:
                await self._patch_status(current, status)
                return
            except Refused as error:
                if error.status == NOT_FOUND:
                    return
                if error.status != CONFLICT:
                    raise
            found = await self.get(resource.ref)
            if found is None or found.meta.uid != resource.meta.uid:
                return
            if found.meta.generation != resource.meta.generation:
                raise Transient(Reason.KUBERNETES_API, f"{resource.ref} was changed while it was reconciled")
            current = found
        raise Transient(
            Reason.KUBERNETES_API, f"the status of {resource.ref} changed {TRIES} times while it was written"
        )

    async def event(self, resource: Resource, reason: str, message: str, *, warning: bool) -> None:
        """Writes an Event if possible; never raises."""
        # Kubernetes keeps the events of cluster-scoped objects in this namespace, where others than those may read who
        # may read the object.
        namespace = resource.meta.namespace or DEFAULT_NAMESPACE
        note = message if resource.meta.namespace else f"see the status of {resource.ref}"
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": f"{resource.meta.name[:220]}.{uuid.uuid4().hex}"},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "action": "Reconcile",
            "note": cut_note(note, NOTE_BYTES),
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": resource.kind,
                "namespace": resource.meta.namespace,
                "name": resource.meta.name,
                "uid": resource.meta.uid,
                "resourceVersion": resource.meta.resource_version,
            },
        }
        try:
            await self._calls.call("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", body=body)
        except Transient as error:
            # A terminating namespace always refuses them.
            logger.debug("an event was refused", extra={"resource": str(resource.ref), "error": error.message})

    async def _patch_status(self, current: Resource, status: JsonObject) -> None:
        # Conditions and other lists are replaced as a whole, and removed fields are sent as null.
        patch = merge_patch(current.status, status)
        if not patch:
            return
        path = resource_path(current.kind, current.meta.namespace, current.meta.name, "status")
        await self._patch(path, {"metadata": {"resourceVersion": current.meta.resource_version}, "status": patch})

    async def _patch(self, path: str, body: JsonObject) -> JsonObject:
        """Patches an object; the answer has its metadata only."""
        return await self._calls.call(
            "PATCH",
            path,
            query={"fieldManager": FIELD_MANAGER},
            body=body,
            content_type=MERGE_PATCH,
            accept=METADATA,
        )


@contextmanager
def _needs_config_maps() -> Iterator[None]:
    """What the API server forbids is told with what to do about it."""
    try:
        yield
    except Refused as error:
        if error.status == FORBIDDEN:
            words = (
                "spec.readerConfigMap: set the chart's value rbac.readerConfigMaps if the operator lacks the right, or "
                f"remove the field; {error.message}"
            )
            raise Terminal(Reason.NOT_ALLOWED, words) from error
        raise


def _controller_of(found: JsonObject) -> JsonObject:
    """The owner reference of the object's controller; {} if it has none."""
    owners: list[JsonObject] = found["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})


def _is_owned(resource: Resource, found: JsonObject) -> bool:
    return bool(_controller_of(found).get("uid") == resource.meta.uid)


def _require_owned(resource: Resource, found: JsonObject) -> None:
    """Raises Terminal OwnedByAnother, or Transient for one that goes by itself."""
    name, owner = found["metadata"]["name"], _controller_of(found)
    if found["metadata"].get("deletionTimestamp"):
        raise Transient(Reason.PROGRESSING, f"ConfigMap {name!r} is being deleted; then it is made again")
    if _is_owned(resource, found):
        return
    if (owner.get("kind"), owner.get("name")) == (resource.kind, resource.meta.name):
        words = (
            f"ConfigMap {name!r} is of an earlier {resource.kind} of this name; when Kubernetes has deleted it, it is"
        )
        raise Transient(Reason.PROGRESSING, f"{words} made again")
    raise Terminal(
        Reason.OWNED_BY_ANOTHER,
        f"spec.readerConfigMap: there is a ConfigMap {name!r} that this resource does not own, and it is left alone: "
        "delete or rename it, or give the resource another name",
    )


async def read_watch(
    calls: Calls, kind: str, path: str, *, since: str, accept: str, selector: str = ""
) -> AsyncIterator[tuple[str, JsonObject, str]]:
    """The type, the object and the version of each event of a watch. What cannot be parsed is skipped.

    Raises Refused as `Calls` does, and for the event that ends a watch.
    """
    query: dict[str, str | int] = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": since,
        "timeoutSeconds": WATCH_SECONDS,
        **({"labelSelector": selector} if selector else {}),
    }
    async for line in calls.lines(path, query=query, accept=accept):
        try:
            event = parse_json(line)
            content: JsonObject = event["object"]
            version = content["metadata"].get("resourceVersion", since)
        except (Transient, KeyError, TypeError, AttributeError) as error:
            _skip(kind, "a line of its watch", error)
            continue
        if event["type"] == "ERROR":
            raise Refused(int(content.get("code", 0)), f"the watch of {kind} ended: {content.get('message')}")
        yield event["type"], content, version


def merge_patch(old: JsonObject, new: JsonObject) -> JsonObject:
    """The JSON merge-patch (RFC 7396) that turns `old` into `new`; {} if they are equal."""
    patch: JsonObject = {key: None for key in old if key not in new}
    # Values are compared as JSON, because 1 and True are equal in Python.
    dump = partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or dump(before) != dump(value):
            patch[key] = value
    return patch


def _skip(kind: str, what: str, error: Exception) -> None:
    metrics.UNREADABLE.labels(kind).inc()
    # Without the error's text, which may quote the content.
    logger.error(
        "cannot be parsed, and is skipped", extra={"resource": f"{kind} {what}", "error": type(error).__name__}
    )


def cut_note(text: str, size_bytes: int) -> str:
    """The text, or its beginning and an ellipsis, in at most so many bytes of UTF-8."""
    encoded = text.encode()
    if len(encoded) <= size_bytes:
        return text
    ellipsis = "…"
    return encoded[: size_bytes - len(ellipsis.encode())].decode(errors="ignore") + ellipsis

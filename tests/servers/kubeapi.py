"""What a test says to the API server: apply, look, wait, delete. Plain objects in, plain objects out.

Deliberately not the client that the operator uses, so that a fault of that one cannot hide itself.
"""

import asyncio
import copy
import json
import ssl
import time
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import httpx
import yaml

Object: TypeAlias = dict[str, Any]

# The API versions of kinds that tests name without one; every other kind is ours.
OUR_API_VERSION: Final = "vectorops.dev/v1alpha1"
API_VERSIONS: Final = {
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "ConfigMap": "v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "Deployment": "apps/v1",
    "Event": "v1",
    "Lease": "coordination.k8s.io/v1",
    "Namespace": "v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "Secret": "v1",
    "ServiceAccount": "v1",
}


class ApiError(Exception):
    """The API server refused; `message` is its Status's."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(f"{status_code}: {message}")
        self.status_code = status_code
        self.message = message


class TimedOut(AssertionError):
    """What a test waited for did not come; the message shows the last state of the world."""


def _json(body: Object) -> str:
    """As the API server reads an apply, which is YAML to it: that knows no surrogate pairs, and takes some characters
    within a string for the end of a line.
    """
    text = json.dumps(body, ensure_ascii=False)
    return text.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class KubeApi:
    """An async client; use it as `async with kube.api() as api:`, or take the fixture `api`."""

    def __init__(self, url: str, *, token: str, tls: ssl.SSLContext | bool = True) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, verify=tls, headers={"authorization": f"Bearer {token}"}, timeout=30
        )
        self._resources: dict[str, dict[str, Object]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def apply(
        self, obj: Object, *, field_manager: str = "tests", dry_run: bool = False, force: bool = True
    ) -> Object:
        """Server-side apply, as `kubectl apply --server-side --force-conflicts`; unknown fields are refused.

        dry_run: all is checked, nothing is stored. force: else ApiError 409 if another manager has one of the fields.
        """
        path = await self._path(
            obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"], obj["apiVersion"]
        )
        return await self._call(
            "PATCH",
            path,
            params={"fieldManager": field_manager, "force": str(force).lower(), "fieldValidation": "Strict"}
            | ({"dryRun": "All"} if dry_run else {}),
            body=obj,
            content_type="application/apply-patch+yaml",
        )

    async def create(self, obj: Object) -> Object:
        """POST; fails if the object is there."""
        path = await self._path(obj["kind"], obj["metadata"].get("namespace"), None, obj["apiVersion"])
        return await self._call("POST", path, params={"fieldValidation": "Strict"}, body=obj)

    async def replace(self, obj: Object) -> Object:
        """PUT an object that was read and edited."""
        path = await self._path(
            obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"], obj["apiVersion"]
        )
        return await self._call("PUT", path, params={"fieldValidation": "Strict"}, body=obj)

    async def get(self, kind: str, namespace: str | None, name: str) -> Object:
        """The object; ApiError 404 if there is none."""
        return await self._call("GET", await self._path(kind, namespace, name))

    async def find(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """The object, or None."""
        try:
            return await self.get(kind, namespace, name)
        except ApiError as error:
            if error.status_code != 404:
                raise
            return None

    async def list(self, kind: str, namespace: str | None = None, *, label_selector: str = "") -> list[Object]:
        """All objects of a kind, of one namespace or of all."""
        answer = await self._call(
            "GET", await self._path(kind, namespace, None), params={"labelSelector": label_selector}
        )
        api_version = answer["apiVersion"]
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]

    async def delete(self, kind: str, namespace: str | None, name: str) -> None:
        """Ask for deletion; finalizers may hold the object back (see `wait_gone`)."""
        await self._call("DELETE", await self._path(kind, namespace, name))

    async def patch(self, kind: str, namespace: str | None, name: str, patch: Object) -> Object:
        """JSON merge patch."""
        path = await self._path(kind, namespace, name)
        return await self._call("PATCH", path, body=patch, content_type="application/merge-patch+json")

    async def patch_status(self, kind: str, namespace: str | None, name: str, patch: Object) -> Object:
        """JSON merge patch of the status subresource; `patch` is the content of `status`."""
        path = await self._path(kind, namespace, name) + "/status"
        return await self._call("PATCH", path, body={"status": patch}, content_type="application/merge-patch+json")

    async def annotate(self, kind: str, namespace: str, name: str, annotations: dict[str, str | None]) -> Object:
        """Set annotations (None removes one)."""
        return await self.patch(kind, namespace, name, {"metadata": {"annotations": annotations}})

    async def wait_for(
        self,
        kind: str,
        namespace: str | None,
        name: str,
        predicate: Callable[[Object], object],
        *,
        timeout: float = 30,  # noqa: ASYNC109 -- on its end the test must see the object, not a cancellation
    ) -> Object:
        """Wait until the object is there and `predicate` holds for it."""
        last: Object | None = None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            last = await self.find(kind, namespace, name)
            if last is not None and predicate(last):
                return last
            await asyncio.sleep(0.1)
        raise TimedOut(f"{kind} {namespace}/{name} is not as expected after {timeout:g} s:\n{_as_yaml(last)}")

    async def wait_gone(
        self,
        kind: str,
        namespace: str | None,
        name: str,
        *,
        timeout: float = 30,  # noqa: ASYNC109 -- as in wait_for
    ) -> None:
        """Wait until there is no such object."""
        last: Object | None = None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            last = await self.find(kind, namespace, name)
            if last is None:
                return
            await asyncio.sleep(0.1)
        raise TimedOut(f"{kind} {namespace}/{name} is still there after {timeout:g} s:\n{_as_yaml(last)}")

    async def create_namespace(self, prefix: str = "test") -> str:
        """A fresh namespace; returns its name."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        await self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    async def token(self, namespace: str, service_account: str) -> str:
        """One with which a process is that service account, as in a pod."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str((await self._call("POST", path, body=body))["status"]["token"])

    async def may(self, user: str, **attributes: str) -> bool:
        """Does RBAC let this user? attributes: group, resource, subresource, verb, namespace, name."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }
        answer = await self._call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body=review)
        return bool(answer["status"]["allowed"])

    async def delete_namespace(
        self,
        name: str,
        order: Iterable[str] = ("PointSet", "QdrantCollection", "QdrantConnection", "Secret", "ConfigMap"),
        *,
        timeout: float = 60,  # noqa: ASYNC109 -- as in wait_for
    ) -> None:
        """Delete a namespace as its controller does, kind after kind in the given order.

        The controller promises no order, so a test chooses one. As the real one it does not wait between kinds, only at
        the end, until nothing is left; then it takes its finalizer off and the namespace goes.
        """
        kinds = tuple(order)
        await self.delete("Namespace", None, name)
        for kind in kinds:
            await self._call("DELETE", await self._path(kind, name, None))
        left: list[str] = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            left = [f"{kind} {item['metadata']['name']}" for kind in kinds for item in await self.list(kind, name)]
            if not left:
                break
            await asyncio.sleep(0.1)
        else:
            raise TimedOut(f"namespace {name} still holds after {timeout:g} s: {', '.join(left)}")
        namespace = await self.get("Namespace", None, name)
        namespace["spec"]["finalizers"] = []
        await self._call("PUT", f"/api/v1/namespaces/{name}/finalize", body=namespace)
        await self.wait_gone("Namespace", None, name)

    async def _path(self, kind: str, namespace: str | None, name: str | None, api_version: str | None = None) -> str:
        api_version = api_version or API_VERSIONS.get(kind, OUR_API_VERSION)
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if kind not in self._resources.get(api_version, {}):
            found = (await self._call("GET", root))["resources"]
            self._resources[api_version] = {item["kind"]: item for item in found if "/" not in item["name"]}
        resource = self._resources[api_version].get(kind)
        if resource is None:
            raise ApiError(404, f"no kind {kind} in {api_version}")
        parts = [root]
        if resource["namespaced"] and namespace is not None:
            parts += ["namespaces", namespace]
        parts += [resource["name"], *([name] if name is not None else [])]
        return "/".join(parts)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        content = _json(body) if body is not None else None
        answer = await self._client.request(
            method, path, params=params, content=content, headers={"content-type": content_type}
        )
        if not answer.is_success:
            try:
                message = answer.json()["message"]
            except (ValueError, KeyError):
                message = answer.text
            raise ApiError(answer.status_code, message)
        parsed: Object = answer.json()
        return parsed


def condition(obj: Object, kind: str) -> Object:
    """The condition of that type in an object's status; an empty one while there is none."""
    for found in obj.get("status", {}).get("conditions", []):
        if found["type"] == kind:
            return dict(found)
    return {}


def is_ready(obj: Object) -> bool:
    """Ready=True, about the spec as it is now, and nothing under way: what kstatus calls Current."""
    ready = condition(obj, "Ready")
    is_at_rest = ready.get("status") == "True" and not condition(obj, "Reconciling")
    return is_at_rest and obj["status"].get("observedGeneration") == obj["metadata"]["generation"]


def _as_yaml(obj: Object | None) -> str:
    if obj is None:
        return "(absent)"
    shown = copy.deepcopy(obj)
    shown["metadata"].pop("managedFields", None)
    return yaml.safe_dump(shown, sort_keys=False)

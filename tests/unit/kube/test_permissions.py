"""What is said of missing rights."""

from typing import Any

from vectorops.api.meta import JsonObject
from vectorops.kube.calls import Refused
from vectorops.kube.permissions import describe_rights, missing, needed


class Rbac:
    """Answers access reviews; in the place of `Calls`. denied: (resource, verb, subresource)."""

    def __init__(self, *denied: tuple[str, str, str], askable: bool = True) -> None:
        self._denied = set(denied)
        self._askable = askable

    async def call(self, method: str, path: str, *, body: JsonObject, **_: Any) -> JsonObject:
        assert (method, path.rpartition("/")[2]) == ("POST", "selfsubjectaccessreviews")
        if not self._askable:
            raise Refused(403, "forbidden")
        asked = body["spec"]["resourceAttributes"]
        return {"status": {"allowed": (asked["resource"], asked["verb"], asked["subresource"]) not in self._denied}}


def rbac(*denied: tuple[str, str, str], askable: bool = True) -> Any:
    return Rbac(*denied, askable=askable)


async def test_who_may_do_everything_misses_nothing():
    assert await missing(rbac(), needed(["team"])) == []


async def test_missing_rights_are_named_by_resource_and_place():
    some = rbac(("pointsets", "watch", ""), ("pointsets", "patch", ""), ("qdrantcollections", "patch", "status"))

    assert describe_rights(await missing(some, needed(["team"]))).endswith(
        "grant its service account: patch on qdrantcollections.vectorops.dev/status in namespace team; "
        "watch, patch on pointsets.vectorops.dev in namespace team"
    )
    assert describe_rights(await missing(some, needed([]))).endswith(
        "watch, patch on pointsets.vectorops.dev in all namespaces"
    )


async def test_where_asking_is_forbidden_nothing_is_claimed():
    assert await missing(rbac(askable=False), needed([])) == []

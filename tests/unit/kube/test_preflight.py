"""What the operator asks before it begins, and what it says."""

import logging
from typing import Any

import pytest

from vectorops.api.crd import resource_schema
from vectorops.api.kinds import KINDS
from vectorops.api.meta import JsonObject
from vectorops.kube.calls import Refused
from vectorops.kube.permissions import needed, needed_to_lead
from vectorops.kube.preflight import CannotStart, check


class ApiServer:
    """Answers what is asked before the start; in the place of `Calls`. without: plurals that are not served."""

    def __init__(
        self, *, version: JsonObject | None = None, without: str = "", fields: JsonObject | None = None
    ) -> None:
        self._version = version or {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}
        self._without = without
        self._fields = fields

    async def call(self, method: str, path: str, **_: Any) -> JsonObject:
        if path == "/version":
            return self._version
        if method == "POST":
            return {"status": {"allowed": True}}
        if path.startswith("/openapi"):
            if self._fields is None:
                raise Refused(404, "not published")
            return {"components": {"schemas": self._fields}}
        if self._without and self._without in path:
            raise Refused(404, "the server could not find the requested resource")
        return {"items": []}


def as_installed() -> JsonObject:
    """What an API server publishes of our CRDs."""
    return {f"dev.vectorops.v1alpha1.{info.kind}": resource_schema(info) for info in KINDS}


async def checked(server: ApiServer) -> None:
    await check(server, ["team"], needed(["team"]))  # type: ignore[arg-type]  # a fake


@pytest.mark.parametrize(
    "version",
    [
        {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
        {"major": "1", "minor": "30+", "gitVersion": "v1.30.4-eks-a737599"},
        {"major": "2", "minor": "0"},
        {"major": "", "minor": ""},
    ],
    ids=["the oldest", "a vendor's", "a new age", "unknown"],
)
async def test_supported_versions_of_kubernetes_are_taken(version):
    await checked(ApiServer(version=version))


async def test_an_older_kubernetes_is_refused_by_its_number():
    with pytest.raises(CannotStart, match=r"^Kubernetes 1\.29\.3 is older than 1\.30, the oldest supported$"):
        await checked(ApiServer(version={"major": "1", "minor": "29", "gitVersion": "v1.29.3"}))


async def test_a_missing_crd_is_named_with_the_way_to_get_it():
    with pytest.raises(
        CannotStart, match=r"pointsets\.vectorops\.dev is not installed.*vectorops crds \| kubectl apply"
    ):
        await checked(ApiServer(without="pointsets"))


async def test_older_crds_are_told_by_the_fields_that_they_drop(caplog):
    older = as_installed()
    spec = older["dev.vectorops.v1alpha1.PointSet"]["properties"]["spec"]["properties"]
    del spec["suspend"]
    del spec["points"]["items"]["properties"]["payload"]

    await checked(ApiServer(fields=older))

    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "they drop PointSet spec.points[].payload, PointSet spec.suspend;" in warning
    assert "vectorops crds | kubectl apply --server-side" in warning


@pytest.mark.parametrize("fields", [as_installed(), None], ids=["the same", "not published"])
async def test_nothing_is_said_of_crds_that_are_current_or_cannot_be_seen(fields, caplog):
    await checked(ApiServer(fields=fields))

    assert not caplog.records


def test_a_lease_is_created_by_no_name_and_read_and_written_by_its_own():
    asked = {(right.verb, right.name) for right in needed_to_lead("vectorops", "operator")}

    assert asked == {("create", ""), ("get", "operator"), ("update", "operator")}

"""Reading Secrets for a resource."""

import pytest

from vectorops.api.meta import Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.reconcilers.cluster import Secret
from vectorops.reconcilers.secrets import SecretReader

PLACE = "source.http.headersSecretRef"


class Cluster:
    """Has one Secret, in the namespace team."""

    async def secret(self, namespace, name):
        return Secret({"Authorization": b"Bearer x"}, "7") if (namespace, name) == ("team", "token") else None


def reader() -> SecretReader:
    raw = {"kind": "PointSet", "metadata": {"name": "docs", "namespace": "team", "uid": "1"}, "spec": {}}
    return SecretReader(Cluster(), Resource.from_object(raw))  # type: ignore[arg-type]  # the part that is called


async def test_a_whole_secret_is_read_with_its_version():
    secrets = reader()

    assert await secrets.read_all(PLACE, "token") == {"Authorization": b"Bearer x"}
    assert secrets.versions == [f"{PLACE}=7"]


async def test_what_is_missing_is_named_with_the_field_that_wants_it():
    with pytest.raises(Transient, match=f"{PLACE}: there is no Secret 'other' in this namespace") as failed:
        await reader().read_all(PLACE, "other")
    assert failed.value.reason is Reason.SECRET_NOT_FOUND

    with pytest.raises(Transient, match="the Secret 'token' has no key 'other' in this namespace"):
        await reader().read(PLACE, "token", "other")

"""What an answer of the API server, or of something in front of it, means."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.kube.calls import Calls


class Answering:
    """In the place of the library's client: one answer to everything."""

    def __init__(self, status: int, content: bytes) -> None:
        self._status = status
        self._content = content

    async def param_serialize(self, *_: object, **__: object) -> tuple[()]:
        return ()

    async def call_api(self, *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(status=self._status, headers={}, read=self._read)

    async def _read(self) -> bytes:
        return self._content


@pytest.mark.parametrize("status", [200, 502])
async def test_a_page_of_a_proxy_is_tried_again_like_an_outage(status: int) -> None:
    """An error outside the tree would end the listing for good."""
    calls = Calls(cast("Any", Answering(status, b"<html>Bad gateway</html>")))

    with pytest.raises(Transient) as found:
        await calls.call("GET", "/apis/vectorops.dev/v1alpha1/pointsets")

    assert found.value.reason is Reason.KUBERNETES_API

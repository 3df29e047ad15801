"""What an answer of the API server, or of something in front of it, means."""

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from vectorops.api.nesting import LEVELS, READ_LEVELS, is_deeper
from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.kube.calls import Calls, Refused


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


async def test_an_answer_that_is_nested_too_deeply_for_a_parser_is_read_up_to_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The API server takes JSON that is ten times as deep as what parsers take; this one takes less."""
    loads = orjson.loads

    def limited(content: bytes) -> Any:
        if is_deeper(value := loads(content), READ_LEVELS):
            raise orjson.JSONDecodeError("depth limit exceeded", "", 0)
        return value

    monkeypatch.setattr(orjson, "loads", limited)
    content = b'{"metadata":{"name":"deep"},"spec":' + b'{"a":' * READ_LEVELS + b"1" + b"}" * READ_LEVELS + b"}"

    answer = await Calls(cast("Any", Answering(200, content))).call("GET", "/apis/vectorops.dev/v1alpha1/pointsets")

    assert answer["metadata"] == {"name": "deep"}
    assert is_deeper(answer, LEVELS)


class Refusing(Answering):
    """Takes only the second token."""

    def __init__(self, *, token: str = "first") -> None:
        super().__init__(200, b"{}")
        self.token = token

    async def call_api(self, *_: object, **__: object) -> SimpleNamespace:
        status = 200 if self.token == "second" else 401
        return SimpleNamespace(status=status, headers={}, read=self._read, response=SimpleNamespace(close=lambda: None))


async def test_a_token_that_is_refused_is_read_again_and_the_request_sent_once_more() -> None:
    client = Refusing()

    async def renew() -> None:
        client.token = "second"

    assert await Calls(cast("Any", client), renew=renew).call("GET", "/version") == {}


async def test_a_token_that_is_refused_again_is_told() -> None:
    async def renew() -> None:
        """There is no other."""

    with pytest.raises(Refused) as told:
        await Calls(cast("Any", Refusing()), renew=renew).call("GET", "/version")
    assert told.value.status == 401

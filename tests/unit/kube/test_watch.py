"""A watch goes on whatever happens to it, with an API server that answers from a list, in virtual time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from unit.virtual_time import in_virtual_time
from vectorops.api.meta import ObjectMeta, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.kube.calls import Refused
from vectorops.kube.cluster import Page, WatchEvent
from vectorops.kube.listing import Listing
from vectorops.kube.watch import Watch

CATS, DOGS = Ref("PointSet", "team", "cats"), Ref("PointSet", "team", "dogs")


def resource(ref: Ref) -> Resource:
    return Resource(ref.kind, ObjectMeta(name=ref.name, namespace=ref.namespace), {}, {})


def came(ref: Ref, version: str) -> WatchEvent:
    return WatchEvent(version, [resource(ref)])


class Server:
    """streams: what each watch brings before it ends, or fails. there: what a list finds. since: where they began."""

    def __init__(self, *streams: list[WatchEvent | Exception], there: tuple[Ref, ...] = ()) -> None:
        self.streams = list(streams)
        self.there = there
        self.since: list[str] = []
        self.used_up = asyncio.Event()

    async def watch(self, kind: str, namespace: str | None, *, since: str) -> AsyncIterator[WatchEvent]:
        self.since.append(since)
        if not self.streams:
            self.used_up.set()
            await asyncio.Event().wait()
        for each in self.streams.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each

    async def pages(self, kind: str, namespace: str | None) -> AsyncIterator[Page]:
        yield Page([resource(ref) for ref in self.there], version="100")


class Heard:
    def __init__(self, *refs: Ref) -> None:
        self.refs = set(refs)

    def seen(self, resource: Resource) -> None:
        self.refs.add(resource.ref)

    def gone(self, ref: Ref) -> None:
        self.refs.discard(ref)

    def known(self, kind: str) -> set[Ref]:
        return set(self.refs)

    def resync(self, ref: Ref, *, within_seconds: float) -> None:
        raise AssertionError(ref)


async def watched(server: Server, heard: Heard) -> None:
    """Until the server has no more to tell."""
    listing = Listing(server, heard, ["team"], interval_seconds=600)
    task = asyncio.create_task(Watch(server, listing, heard, "PointSet", "team").run("1"))
    await server.used_up.wait()
    task.cancel()


@in_virtual_time
async def test_what_comes_and_goes_is_told() -> None:
    server, heard = Server([came(CATS, "2"), came(DOGS, "3"), WatchEvent("4", [resource(CATS)], gone=True)]), Heard()

    await watched(server, heard)

    assert heard.refs == {DOGS}


@in_virtual_time
async def test_the_next_watch_goes_on_where_the_last_one_ended() -> None:
    server = Server([came(CATS, "2"), WatchEvent("5", [])], [], [came(DOGS, "7")])

    await watched(server, Heard())

    assert server.since == ["1", "5", "5", "7"]


@in_virtual_time
async def test_a_connection_that_breaks_loses_no_place() -> None:
    server = Server([came(CATS, "2"), Transient(Reason.KUBERNETES_API, "no answer")], there=())
    heard = Heard()

    await watched(server, heard)

    assert server.since == ["1", "2"]
    assert heard.refs == {CATS}


@pytest.mark.parametrize(
    "failure",
    [Refused(410, "too old"), Refused(500, "etcd is away"), RuntimeError("a fault of ours")],
    ids=["410", "500", "fault"],
)
def test_after_a_refusal_everything_is_listed_again(failure: Exception) -> None:
    @in_virtual_time
    async def run() -> None:
        """DOGS went while nobody looked."""
        server, heard = Server([came(CATS, "2"), failure], there=(CATS,)), Heard(DOGS)

        await watched(server, heard)

        assert server.since == ["1", "100"]
        assert heard.refs == {CATS}

    run()


@in_virtual_time
async def test_who_may_not_watch_does_not_list_all_the_time() -> None:
    server = Server([came(CATS, "2")], [Refused(403, "cannot watch")], [Refused(403, "cannot watch")])

    await watched(server, Heard())

    assert server.since == ["1", "2", "2", "2"]


@in_virtual_time
async def test_an_api_server_that_is_away_for_long_is_not_asked_all_the_time() -> None:
    away = [Transient(Reason.KUBERNETES_API, "no answer")]
    server = Server(*[list[WatchEvent | Exception](away) for _ in range(20)])

    await watched(server, Heard())

    assert asyncio.get_running_loop().time() > 300

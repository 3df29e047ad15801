"""What LISTs add to watch events, with an API server that answers from a dict."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from vectorops.api.meta import Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.errors import Transient
from vectorops.kube.calls import Refused
from vectorops.kube.cluster import Page
from vectorops.kube.listing import Listing
from vectorops.kube.preflight import CannotStart

ZOO, CATS = Ref("QdrantCollection", "team", "zoo"), Ref("PointSet", "team", "cats")


class Lists:
    """The API server, with one object on a page. failures: raised one by one, after the first page was given."""

    def __init__(self, *refs: Ref) -> None:
        self.refs = set(refs)
        self.failures: list[Transient] = []
        self.asked: list[tuple[str, str | None]] = []

    async def pages(self, kind: str, namespace: str | None) -> AsyncIterator[Page]:
        self.asked.append((kind, namespace))
        for ref in [ref for ref in self.refs if ref.kind == kind]:
            object_ = {"kind": kind, "metadata": {"name": ref.name, "namespace": ref.namespace}}
            yield Page([Resource.from_object(object_)], version="7")
            if self.failures:
                raise self.failures.pop(0)
        if self.failures:
            raise self.failures.pop(0)


class Heard:
    """What the controller was told."""

    def __init__(self) -> None:
        self.refs: set[Ref] = set()
        self.resynced: set[Ref] = set()
        self.again = asyncio.Event()

    def seen(self, resource: Resource) -> None:
        self.refs.add(resource.ref)

    def gone(self, ref: Ref) -> None:
        self.refs.discard(ref)

    def known(self, kind: str) -> set[Ref]:
        return {ref for ref in self.refs if ref.kind == kind}

    def resync(self, ref: Ref, *, within_seconds: float) -> None:
        assert within_seconds == 0.01
        self.resynced.add(ref)
        self.again.set()


def listing(lists: Lists, heard: Heard, *namespaces: str) -> Listing:
    return Listing(lists, heard, namespaces, interval_seconds=0.01)


async def second_round(listing: Listing, heard: Heard) -> None:
    task = asyncio.create_task(listing.repeat())
    await heard.again.wait()
    task.cancel()


async def test_the_first_round_tells_of_everything():
    heard = Heard()
    found = listing(Lists(ZOO, CATS), heard)

    await found.first()

    assert heard.refs == {ZOO, CATS}
    assert found.last_success > 0


async def test_what_vanished_while_the_watch_was_broken_is_told():
    lists, heard = Lists(ZOO, CATS), Heard()
    found = listing(lists, heard)
    await found.first()

    lists.refs.discard(CATS)
    await second_round(found, heard)

    assert heard.refs == {ZOO}


async def test_a_later_round_has_everything_compared_again():
    heard = Heard()
    found = listing(Lists(ZOO), heard)
    await found.first()

    await second_round(found, heard)

    assert heard.resynced == {ZOO}


async def test_half_a_list_is_no_proof_that_the_rest_is_gone():
    """The API server forgets where a slow reader was (410)."""
    lists, heard = Lists(ZOO, Ref("QdrantCollection", "team", "farm")), Heard()
    heard.refs = set(lists.refs)
    lists.failures = [Refused(410, "expired")]

    await listing(lists, heard).first()

    assert heard.refs == lists.refs


async def test_a_failed_round_changes_nothing_and_is_repeated():
    lists, heard = Lists(ZOO, CATS), Heard()
    found = listing(lists, heard)
    await found.first()
    first = found.last_success

    lists.failures = [Transient(Reason.KUBERNETES_API, "no answer")]
    await second_round(found, heard)

    assert heard.refs == {ZOO, CATS}
    assert found.last_success >= first


async def test_only_the_given_namespaces_are_listed():
    lists = Lists(ZOO)

    await listing(lists, Heard(), "team", "other").first()

    assert {namespace for _, namespace in lists.asked} == {"team", "other"}


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (
            Refused(404, "404 page not found"),
            ["qdrantconnections.vectorops.dev is not installed", "vectorops crds | kubectl apply"],
        ),
        (
            Refused(403, 'User "op" cannot list resource "qdrantconnections"'),
            ['User "op" cannot list resource "qdrantconnections"'],
        ),
        (Transient(Reason.KUBERNETES_API, "no answer of the Kubernetes API server: refused"), ["no answer"]),
    ],
    ids=["missing CRD", "missing permission", "no API server"],
)
async def test_what_is_missing_at_the_start_is_named(failure, words):
    lists = Lists()
    lists.failures = [failure]

    with pytest.raises(CannotStart) as told:
        await listing(lists, Heard()).first()

    assert all(word in str(told.value) for word in words)

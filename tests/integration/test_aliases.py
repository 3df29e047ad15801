"""An alias passes from one collection to another, and whoever reads by it meanwhile never finds it gone."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from integration.command_line import Shell
from integration.command_line import collection as manifest
from integration.team import Team, message, reason, unique
from integration.world import Stored
from servers.kubeapi import is_ready
from servers.qdrant import QdrantServer


class Reader:
    """What somebody found who asked for a collection by an alias all the while: the answers that were no success."""

    def __init__(self) -> None:
        self.asked = 0
        self.failures: list[int] = []


@contextmanager
def reading(qdrant: QdrantServer, alias: str) -> Iterator[Reader]:
    """Asks in the background until the block ends, and at least a few times."""
    reader, stop = Reader(), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=qdrant.url, timeout=30) as client:
            while not stop.is_set() or reader.asked < 10:
                status = client.get(f"/collections/{alias}").status_code
                reader.asked += 1
                reader.failures += [] if status == 200 else [status]
                time.sleep(0.001)  # or nothing else gets the processor

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join()


def led_to(qdrant: QdrantServer, alias: str) -> str | None:
    """The collection that an alias leads to."""
    found = {entry["alias_name"]: entry["collection_name"] for entry in qdrant.get("/aliases")["aliases"]}
    return found.get(alias)


class Us:
    """One owner on the command line."""

    def __init__(self, folder: Path, qdrant: QdrantServer) -> None:
        self.shell = Shell(folder)
        self._flags = ("-f", "all.yaml", "--qdrant", qdrant.url, "--owner", unique("us"))

    def declare(self, *documents: str) -> None:
        self.shell.write("all.yaml", *documents)

    def apply(self, *flags: str) -> int:
        return self.shell.run("apply", *self._flags, *flags).code

    def plan(self, *flags: str) -> str:
        return self.shell.run("plan", *self._flags, *flags).out

    def nothing_left(self) -> bool:
        return self.shell.run("plan", *self._flags, "--detailed-exitcode").code == 0


@pytest.fixture
def us(tmp_path: Path, qdrant: QdrantServer) -> Us:
    return Us(tmp_path, qdrant)


def test_one_run_of_the_command_line_moves_an_alias_and_nobody_misses_it(us: Us, qdrant: QdrantServer) -> None:
    blue, green, alias = unique("blue"), unique("green"), unique("live")
    us.declare(manifest(blue, aliases=[alias]), manifest(green))
    assert us.apply() == 0
    us.declare(manifest(blue), manifest(green, aliases=[alias]))

    planned = us.plan()
    with reading(qdrant, alias) as reader:
        assert us.apply() == 0

    assert led_to(qdrant, alias) == green
    assert reader.failures == []
    assert f"move alias {alias} here from collection {blue}" in planned
    assert f"delete alias {alias}" not in planned
    assert us.nothing_left()


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_an_alias_of_a_collection_that_is_pruned_passes_before_that_goes(
    us: Us, qdrant: QdrantServer, policy: str
) -> None:
    blue, green, alias = unique("blue"), unique("green"), unique("live")
    us.declare(manifest(blue, aliases=[alias], deletionPolicy=policy), manifest(green))
    assert us.apply() == 0
    us.declare(manifest(green, aliases=[alias]))
    assert us.apply() == 1, "a file that is not there may still declare it"
    assert led_to(qdrant, alias) == blue

    planned = us.plan("--prune")
    with reading(qdrant, alias) as reader:
        assert us.apply("--prune") == 0

    assert led_to(qdrant, alias) == green
    assert reader.failures == []
    assert f"move alias {alias} here from collection {blue}" in planned
    assert us.nothing_left()


def test_an_alias_that_somebody_else_made_is_not_taken_from_a_collection_of_ours(us: Us, qdrant: QdrantServer) -> None:
    blue, green, alias = unique("blue"), unique("green"), unique("live")
    us.declare(manifest(blue), manifest(green))
    assert us.apply() == 0
    point_to(qdrant, alias, blue)
    us.declare(manifest(blue), manifest(green, aliases=[alias]))

    assert us.apply() == 1
    assert led_to(qdrant, alias) == blue


def point_to(qdrant: QdrantServer, alias: str, collection: str) -> None:
    action = {"create_alias": {"alias_name": alias, "collection_name": collection}}
    httpx.post(f"{qdrant.url}/collections/aliases", json={"actions": [action]}).raise_for_status()


# --------------------------------------------------------------------------------------------------------- the operator


@pytest.mark.parametrize("first", ["old", "new"])
async def test_an_alias_passes_in_a_cluster_whichever_of_the_two_is_changed_first(
    team: Team, qdrant: QdrantServer, first: str
) -> None:
    blue, green, alias = unique("blue"), unique("green"), unique("live")
    await team.collection(blue, aliases=[alias])
    await team.collection(green)

    with reading(qdrant, alias) as reader:
        changes = {"old": team.collection(blue, until=bool), "new": team.collection(green, aliases=[alias], until=bool)}
        await changes.pop(first)
        await changes.popitem()[1]
        new = await team.wait("QdrantCollection", green, is_ready)
        old = await team.wait("QdrantCollection", blue, lambda obj: is_ready(obj) and alias not in message(obj))

    assert led_to(qdrant, alias) == green
    assert reader.failures == []
    assert reason(new) == reason(old) == "Succeeded"


async def test_an_alias_stays_while_the_one_that_declares_it_cannot_take_it_and_passes_when_it_can(
    team: Team, qdrant: QdrantServer
) -> None:
    blue, green, alias = unique("blue"), unique("green"), unique("live")
    await team.collection(blue, aliases=[alias])
    await team.collection(green, aliases=[alias], suspend=True)

    with reading(qdrant, alias) as reader:
        kept = await team.collection(blue)
        assert green in message(kept)
        assert led_to(qdrant, alias) == blue
        assert is_ready(await team.collection(green, aliases=[alias], suspend=False))
        await team.wait("QdrantCollection", blue, lambda obj: alias not in message(obj))

    assert led_to(qdrant, alias) == green
    assert reader.failures == []


async def test_an_alias_passes_from_a_collection_that_is_deleted(team: Team, qdrant: QdrantServer) -> None:
    blue, green, alias = unique("blue"), unique("green"), unique("live")
    await team.collection(blue, aliases=[alias], deletionPolicy="Delete")
    taken = await team.collection(green, aliases=[alias])
    assert reason(taken) == "AliasTaken"
    assert f"{team.namespace}/{blue} declares it too" in message(taken)

    with reading(qdrant, alias) as reader:
        await team.delete("QdrantCollection", blue)
        await team.wait("QdrantCollection", green, is_ready)

    assert led_to(qdrant, alias) == green
    assert reader.failures == []


async def test_a_collection_whose_name_is_an_alias_is_made_as_soon_as_that_is_given_up(
    team: Team, stored: Stored, qdrant: QdrantServer
) -> None:
    holder, name = unique("holder"), unique("name")
    await team.collection(holder, aliases=[name])
    assert reason(await team.collection(name)) == "AliasTaken"

    await team.collection(holder)
    await team.wait("QdrantCollection", name, is_ready)

    assert await stored.exists(name)
    assert led_to(qdrant, name) is None

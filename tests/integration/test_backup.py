"""Backup, disaster, restore: with the commands of docs/backup.md, and whatever is restored without the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from documented import documented, run
from integration.conftest import StartOperator, StartQdrant
from integration.team import Team, message, reason
from integration.world import Stored, collection, connection, mark_of, point, point_set, put_by_hand
from servers.kube import KubeServer
from servers.kubeapi import KubeApi, Object, is_ready
from servers.operator import OperatorProcess
from servers.qdrant import QdrantServer

PAGE: Final = "docs/backup.md"
TAKE_SNAPSHOTS: Final = documented(PAGE, "Taking snapshots")
RESTORE: Final = documented(PAGE, "Restoring")
DOCUMENTS: Final = "documents"
LEDGER: Final = "vectorops-ledger"
OURS: Final = (("QdrantConnection", "main"), ("QdrantCollection", DOCUMENTS), ("PointSet", "handbook"))
FOREIGN: Final = 99


def text(id: int, words: str) -> Object:
    return point(id, id, 0, 1, payload={"text": words})


THEN: Final = [text(1, "same"), text(2, "old"), text(3, "to leave")]
"""What the set declares when the snapshots are taken."""
NOW: Final = [text(1, "same"), text(2, "new"), text(4, "new")]
"""What it declares when they are restored."""


def texts(*declared: tuple[int, str]) -> dict[int, Object]:
    return {id: {"text": words} for id, words in declared}


async def declare(team: Team, server: QdrantServer, points: list[Object]) -> None:
    """All at once, in the wrong order."""
    await team.api.apply(point_set(team.namespace, "handbook", DOCUMENTS, points))
    await team.api.apply(collection(team.namespace, DOCUMENTS, aliases=["docs"]))
    await team.api.apply(connection(team.namespace, server))


async def until_ready(team: Team) -> None:
    for kind, name in OURS:
        await team.look_again(kind, name)
        await team.wait(kind, name, is_ready)


async def suspended(team: Team, server: QdrantServer) -> None:
    """As the page says: until collections and sets say that they wait."""
    await team.api.apply(connection(team.namespace, server, suspend=True))
    await team.wait("QdrantCollection", DOCUMENTS, "ConnectionNotReady")
    await team.wait("PointSet", "handbook", "ConnectionNotReady")


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    return folder


@pytest.fixture
def qdrant(start_qdrant: StartQdrant) -> QdrantServer:
    """A server of each test's own, in place of the shared one."""
    return start_qdrant()


@pytest.fixture
async def stored(qdrant: QdrantServer):
    async with Stored(qdrant) as stored:
        yield stored


# ---- the drill ----


async def test_what_was_lost_with_qdrant_and_the_cluster_is_as_declared_again_after_the_restore(
    start_kube: Callable[[], KubeServer],
    namespace: str,
    start_qdrant: StartQdrant,
    start_operator: StartOperator,
    snapshots: Path,
) -> None:
    kube, server = start_kube(), start_qdrant()
    operator = start_operator(installation="prod", kubeconfig=kube.kubeconfig())
    async with kube.api() as api, Stored(server) as stored:
        team = await new_team(api, namespace)
        await declare(team, server, THEN)
        await until_ready(team)
        foreign = (await put_by_hand(stored, DOCUMENTS, FOREIGN))[FOREIGN]
        await suspended(team, server)
        run(TAKE_SNAPSHOTS, snapshots, environment={"QDRANT": server.url})
        await declare(team, server, NOW)
        await until_ready(team)
        uids = await uids_of(team)

    operator.kill()
    server.kill()
    kube.rebuild()
    another = start_qdrant()
    run(RESTORE, snapshots, environment={"QDRANT": another.url})
    operator.start()

    async with kube.api() as api, Stored(another) as stored:
        team = await new_team(api, namespace)
        await declare(team, another, NOW)
        await until_ready(team)
        assert not uids & await uids_of(team)
        points = await stored.points(DOCUMENTS)
        assert points.pop(FOREIGN) == foreign
        assert {id: found.payload for id, found in points.items()} == texts((1, "same"), (2, "new"), (4, "new"))
        assert another.get(f"/collections/{DOCUMENTS}/aliases")["aliases"][0]["alias_name"] == "docs"
        # Its own are known to be its own.
        await team.points("handbook", DOCUMENTS, [], until=is_ready)
        assert sorted(await stored.points(DOCUMENTS)) == [FOREIGN]


async def test_objects_from_a_backup_find_their_own_in_qdrant_and_write_nothing(
    start_kube: Callable[[], KubeServer], namespace: str, qdrant: QdrantServer, start_operator: StartOperator
) -> None:
    """As Velero brings them: other UIDs, no status, whatever finalizers they had, points before collections."""
    kube = start_kube()
    operator = start_operator(installation="prod", kubeconfig=kube.kubeconfig())
    async with kube.api() as api:
        team = await new_team(api, namespace)
        await declare(team, qdrant, THEN)
        await until_ready(team)
        backup = [from_backup(await team.get(kind, name)) for kind, name in reversed(OURS)]
    writes = qdrant.telemetry_writes_by_endpoint()
    assert all(saved["metadata"]["finalizers"] for saved in backup)

    operator.kill()
    kube.rebuild()
    operator.start()
    async with kube.api() as api:
        team = await new_team(api, namespace)
        for saved in backup:
            await api.create(saved)
        await until_ready(team)

    assert qdrant.telemetry_writes_by_endpoint() == writes


async def uids_of(team: Team) -> set[str]:
    return {(await team.get(kind, name))["metadata"]["uid"] for kind, name in OURS}


async def new_team(api: KubeApi, namespace: str) -> Team:
    await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return Team(api, namespace)


def from_backup(found: Object) -> Object:
    kept = ("name", "namespace", "labels", "annotations", "finalizers")
    metadata = {key: found["metadata"][key] for key in kept if key in found["metadata"]}
    return {**{key: found[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata}


# ---- without a name of one's own ----


@pytest.fixture
async def stranger(
    start_kube: Callable[[], KubeServer], namespace: str, qdrant: QdrantServer, start_operator: StartOperator
):
    """A cluster that was built anew, whose operator was given no name: it and the team in it, and the former UID."""
    kube = start_kube()
    operator = start_operator(installation="none", kubeconfig=kube.kubeconfig())
    operator.stop()
    operator.command.remove("--installation=none")
    operator.start()
    async with kube.api() as api:
        team = await new_team(api, namespace)
        former = (await api.get("Namespace", None, "kube-system"))["metadata"]["uid"]
        await declare(team, qdrant, THEN)
        await until_ready(team)
    operator.kill()
    kube.rebuild()
    operator.start()
    async with kube.api() as api:
        yield operator, await new_team(api, namespace), former


async def test_without_a_name_a_new_cluster_is_a_stranger_until_it_is_told_to_take_over(
    stranger: tuple[OperatorProcess, Team, str], qdrant: QdrantServer, stored: Stored
) -> None:
    _, team, former = stranger
    before, writes = await stored.versions(DOCUMENTS), qdrant.telemetry_writes()

    await declare(team, qdrant, THEN)
    told = await team.wait("QdrantCollection", DOCUMENTS, "OwnedByAnother")
    assert former in message(told)
    assert qdrant.telemetry_writes() == writes

    await team.annotate("QdrantCollection", DOCUMENTS, {"vectorops.dev/take-over-from": former})
    await team.wait("PointSet", "handbook", is_ready)
    assert await stored.versions(DOCUMENTS) == before
    await team.points("handbook", DOCUMENTS, THEN[:1], until=is_ready)
    assert sorted(await stored.points(DOCUMENTS)) == [1]


async def test_an_operator_that_is_given_the_former_uid_as_its_name_is_no_stranger(
    stranger: tuple[OperatorProcess, Team, str], qdrant: QdrantServer
) -> None:
    operator, team, former = stranger
    operator.stop()
    operator.command.append(f"--installation={former}")
    writes = qdrant.telemetry_writes_by_endpoint()

    operator.start()
    await declare(team, qdrant, THEN)
    await until_ready(team)

    assert qdrant.telemetry_writes_by_endpoint() == writes


# ---- one without the other ----


@pytest.fixture
async def team(api: KubeApi, namespace: str) -> Team:
    return Team(api, namespace)


@pytest.fixture
async def operator(
    team: Team, qdrant: QdrantServer, stored: Stored, start_operator: StartOperator, snapshots: Path
) -> OperatorProcess:
    """Stopped. Snapshots were taken of what was declared then, and what is declared now was written."""
    operator = start_operator()
    await declare(team, qdrant, THEN)
    await until_ready(team)
    await put_by_hand(stored, DOCUMENTS, FOREIGN)
    run(TAKE_SNAPSHOTS, snapshots, environment={"QDRANT": qdrant.url})
    await declare(team, qdrant, NOW)
    await until_ready(team)
    operator.stop()
    return operator


def restore(name: str, server: QdrantServer, snapshots: Path) -> None:
    """One collection only."""
    commands = RESTORE.replace(f"{DOCUMENTS} {LEDGER}", name)
    assert commands != RESTORE
    run(commands, snapshots, environment={"QDRANT": server.url})


BY_HAND: Final = {FOREIGN: {"by": "hand"}}


async def test_a_collection_without_its_ledger_gets_back_what_had_left_the_set(
    team: Team, qdrant: QdrantServer, stored: Stored, operator: OperatorProcess, snapshots: Path
) -> None:
    restore(DOCUMENTS, qdrant, snapshots)
    operator.start()
    await until_ready(team)

    assert await stored.payloads(DOCUMENTS) == BY_HAND | texts((1, "same"), (2, "new"), (3, "to leave"), (4, "new"))
    await team.points("handbook", DOCUMENTS, [], until=is_ready)
    assert sorted(await stored.points(DOCUMENTS)) == [3, FOREIGN]


async def test_a_collection_that_was_made_anew_since_is_restored_with_the_mark_of_then(
    team: Team, qdrant: QdrantServer, stored: Stored, operator: OperatorProcess, snapshots: Path
) -> None:
    """Restored over the one that is there it would keep the mark of now, and the ledger of then know nothing of it."""
    then = mark_of(qdrant, DOCUMENTS)["incarnation"]
    await stored.client.delete_collection(DOCUMENTS)
    operator.start()
    await until_ready(team)
    assert mark_of(qdrant, DOCUMENTS)["incarnation"] != then
    operator.stop()

    run(RESTORE, snapshots, environment={"QDRANT": qdrant.url})
    operator.start()
    await until_ready(team)

    assert mark_of(qdrant, DOCUMENTS)["incarnation"] == then
    assert await stored.payloads(DOCUMENTS) == BY_HAND | texts((1, "same"), (2, "new"), (4, "new"))
    await team.points("handbook", DOCUMENTS, [], until=is_ready)
    assert sorted(await stored.points(DOCUMENTS)) == [FOREIGN]


async def test_a_collection_whose_ledger_is_gone_says_so_and_nothing_is_deleted(
    team: Team, qdrant: QdrantServer, stored: Stored, operator: OperatorProcess, snapshots: Path
) -> None:
    restore(DOCUMENTS, qdrant, snapshots)
    await stored.client.delete_collection(LEDGER)
    operator.start()
    await until_ready(team)

    assert reason(await team.get("PointSet", "handbook")) == "LedgerLost"
    assert await stored.payloads(DOCUMENTS) == BY_HAND | texts((1, "same"), (2, "new"), (3, "to leave"), (4, "new"))
    await team.points("handbook", DOCUMENTS, [], until=is_ready)
    assert sorted(await stored.points(DOCUMENTS)) == [3, FOREIGN]


async def test_an_old_ledger_does_not_know_the_points_that_joined_since(
    team: Team, qdrant: QdrantServer, stored: Stored, operator: OperatorProcess, snapshots: Path
) -> None:
    restore(LEDGER, qdrant, snapshots)
    operator.start()
    told = await team.look_again("PointSet", "handbook")

    assert reason(told) == "PointConflicts"
    assert [failure["id"] for failure in told["status"]["failures"]] == ["4"]
    assert await stored.payloads(DOCUMENTS) == BY_HAND | texts((1, "same"), (2, "new"), (4, "new"))
    # As the page says: deleted by hand, it is written, and then the set's own.
    await stored.client.delete(DOCUMENTS, [4], wait=True)
    await until_ready(team)
    await team.points("handbook", DOCUMENTS, [], until=is_ready)
    assert sorted(await stored.points(DOCUMENTS)) == [FOREIGN]


async def test_a_ledger_without_its_collection_is_no_obstacle(
    team: Team, qdrant: QdrantServer, stored: Stored, operator: OperatorProcess, snapshots: Path
) -> None:
    await stored.client.delete_collection(DOCUMENTS)
    restore(LEDGER, qdrant, snapshots)
    operator.start()
    await until_ready(team)

    assert await stored.payloads(DOCUMENTS) == texts((1, "same"), (2, "new"), (4, "new"))


async def test_a_snapshot_under_another_name_is_a_collection_without_an_owner(
    team: Team, qdrant: QdrantServer, stored: Stored, operator: OperatorProcess, snapshots: Path
) -> None:
    (snapshots / "copy.snapshot").write_bytes((snapshots / f"{DOCUMENTS}.snapshot").read_bytes())
    restore("copy", qdrant, snapshots)
    operator.start()

    await team.collection("copy", until=is_ready)
    told = await team.points("handbook-too", "copy", THEN[:1])

    assert mark_of(qdrant, "copy")["collection"] == "copy"
    assert reason(told) == "PointConflicts"

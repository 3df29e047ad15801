"""`vectorops ledger show` and `check`, at ledgers that were damaged on purpose, and at good ones."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from documented import documented, replaced, run
from integration.command_line import CONNECTION, Shell, collection, point_set
from integration.points.scene import Killed, Scene, Watched, killed_after, point
from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.ledger.inspection import Severity
from vectorops.ledger.records import Part
from vectorops.local.ledgers import InspectedLedgers, LedgerReader
from vectorops.local.session import read_only
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import PayloadChange, PointData, PointId
from vectorops.qdrant.marks import Mark, registration_key

IDS = [1, 2, 3, 5, 8, "doc", "dog", "dot"]
POINTS = [point(id, text=[1, float(place), 0], secret="payload-of-a-user") for place, id in enumerate(IDS)]
OWNER = "here/default/mine"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    """Of these tests alone: the check reads all ledgers of a server."""
    server = QdrantServer(tmp_path_factory.mktemp("qdrant"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def scene(server: QdrantServer) -> AsyncIterator[Scene]:
    """A managed collection with a set in it, and nothing else on the server."""
    database = connect(QdrantConnectionSpec(url=server.url, prefer_grpc=False), Credentials())
    await database.check()
    scene = Scene(database)
    await scene.make()
    await scene.mark()
    yield scene
    for name in await database.collection_names():
        await database.delete_collection(name)
    await database.close()


async def check(scene: Scene, chosen: str = "") -> InspectedLedgers:
    return await LedgerReader(read_only(scene.database), chosen).check()


def kinds(found: InspectedLedgers, severity: Severity) -> set[str]:
    return {one.kind for one in found.findings if one.severity is severity}


@pytest.mark.parametrize("bits", [0, 2])
async def test_good_ledgers_are_found_good_and_nothing_is_written(scene, server, bits):
    scene.bits = bits
    await scene.sync(*POINTS)
    await scene.sync(point(100), owner="other")
    writes = server.telemetry_writes()

    found = await check(scene)

    assert found.is_sound
    assert found.findings == []
    mine, other = found.ledgers
    assert (mine.owner, mine.points, len(mine.parts), mine.format) == (OWNER, 8, 1 << bits, 2 if bits else 1)
    assert (other.owner, other.points) == ("here/default/other", 1)
    assert server.telemetry_writes() == writes


# ---- what can be wrong ----


def part_of_scene(scene: Scene) -> Part:
    return Part(scene.bits, 1, 1) if scene.bits else Part()


def record(scene: Scene, kind: str) -> PointId:
    return scene.store().key.record_id(kind, part_of_scene(scene))


async def change_record(scene: Scene, kind: str, **fields: object) -> None:
    change = PayloadChange(record(scene, kind), put=fields)
    await scene.database.change_payloads(scene.ledgers, [change])


async def lose_base(scene: Scene) -> None:
    await scene.database.delete_points(scene.ledgers, [record(scene, "base")])


async def lose_head(scene: Scene) -> None:
    await scene.database.delete_points(scene.ledgers, [record(scene, "head")])


async def lose_all(scene: Scene) -> None:
    await scene.database.delete_matching(scene.ledgers, {})


async def spoil_base(scene: Scene) -> None:
    await change_record(scene, "base", u64="no base64!")


async def spoil_head(scene: Scene) -> None:
    await change_record(scene, "head", bits="many")


async def swap_entries(scene: Scene) -> None:
    """The slot's entries stand in the order of their ids as well; here two rows are exchanged."""
    stored = await scene.database.points(scene.ledgers, [record(scene, "base")], payload=True)
    payload = stored[record(scene, "base")].payload
    width = 24 * (2 + payload["width"]) // 9 * 3
    rows = payload["u64"]
    assert len(rows) > width, "of at least two rows"
    await change_record(scene, "base", u64=rows[-width:] + rows[:-width])


async def list_other_hashes(scene: Scene) -> None:
    await change_record(scene, "base", hashes=[-1, 12345])


async def forget_hashes(scene: Scene) -> None:
    change = PayloadChange(record(scene, "base"), remove=["hashes"])
    await scene.database.change_payloads(scene.ledgers, [change])


async def become_newer(scene: Scene) -> None:
    await change_record(scene, "head", format=3)


async def delete_points(scene: Scene) -> None:
    await scene.database.delete_points(scene.collection, [1, 5])


async def unregister(scene: Scene) -> None:
    key = registration_key("here", scene.store().key.point_set)
    await scene.database.update_collection(scene.collection, {"metadata": {key: None}})


async def remove_mark(scene: Scene) -> None:
    mark = Mark("here", "default", "zoo", "", scene.collection, scene.incarnation)
    await scene.database.update_collection(scene.collection, {"metadata": dict.fromkeys(mark.metadata())})


async def add_stray(scene: Scene) -> None:
    await scene.database.upsert(scene.ledgers, [PointData(77, {}, {"kind": "base", "owner": OWNER, "key": "?"})])


async def copy_record(scene: Scene) -> None:
    stored = await scene.database.points(scene.ledgers, [record(scene, "base")], payload=True)
    await scene.database.upsert(scene.ledgers, [PointData(78, {}, stored[record(scene, "base")].payload)])


async def claim_twice(scene: Scene) -> None:
    """As after the ledger of one set was restored."""
    ledger = await scene.ledger()
    assert ledger is not None
    first_uuid = next(id for id in ledger.entries if not isinstance(id, int))
    shared = {id: ledger.entries[id] for id in (1, first_uuid)}
    scene.bits, bits = 0, scene.bits
    await scene.sync(point(200), owner="other")
    scene.bits = bits
    store = scene.store("other")
    taken = await store.take(await store.read_existing())
    await store.settle(taken, {**taken.entries, **shared}, taken.through)


async def drop_collection(scene: Scene) -> None:
    await scene.database.delete_collection(scene.collection)


async def make_anew(scene: Scene) -> None:
    await scene.database.delete_collection(scene.collection)
    await scene.make()
    scene.incarnation = "second"
    await scene.mark()


async def die_in_a_window(scene: Scene) -> None:
    watched = Watched(scene.database, at=3, instead=killed_after)
    with suppress(Killed):
        await scene.sync(*POINTS[:-1], point("dot", text=[5, 5, 5]), database=watched)


async def die_while_cut(scene: Scene) -> None:
    scene.bits += 1
    watched = Watched(scene.database, at=3 if scene.bits == 1 else 4, instead=killed_after)
    with suppress(Killed):
        await scene.sync(*POINTS, database=watched)
    scene.bits -= 1


Happens = Callable[[Scene], Awaitable[None]]

PROBLEMS: dict[Happens, set[str]] = {
    lose_base: {"RecordMissing"},
    lose_head: {"HeadMissing"},
    lose_all: {"LedgerGone"},
    spoil_base: {"PartDamaged"},
    spoil_head: {"HeadDamaged"},
    swap_entries: {"PartDamaged"},
    list_other_hashes: {"WrongHashes"},
    become_newer: {"NewerFormat"},
    delete_points: {"PointsMissing"},
    unregister: {"NotRegistered"},
    remove_mark: {"MarkMissing"},
    add_stray: {"StrayRecord"},
    copy_record: {"MisplacedRecord"},
    claim_twice: {"SharedPoints"},
    drop_collection: {"CollectionGone"},
}
NOTICES: dict[Happens, set[str]] = {
    forget_hashes: {"NoHashes"},
    make_anew: {"FormerLedger"},
    die_in_a_window: {"OpenWindow"},
    die_while_cut: {"LeftOverRecords"},
}
IN_PARTS = (lose_base, spoil_base, delete_points, copy_record, claim_twice)
"""Those that are tried at a ledger of several parts, too."""


@pytest.mark.parametrize(
    ("happens", "bits"),
    [*((each, 0) for each in PROBLEMS), *((each, 1) for each in IN_PARTS)],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_what_is_wrong_is_a_problem(scene, happens: Happens, bits):
    scene.bits = bits
    await scene.sync(*POINTS)
    await happens(scene)

    found = await check(scene)

    assert kinds(found, Severity.PROBLEM) == PROBLEMS[happens]
    assert not found.is_sound
    words = " ".join(one.message for one in found.findings)
    assert "payload-of-a-user" not in words


@pytest.mark.parametrize("bits", [0, 1])
@pytest.mark.parametrize("happens", NOTICES, ids=lambda happens: happens.__name__)
async def test_what_the_next_pass_puts_in_order_is_a_notice(scene, happens: Happens, bits):
    scene.bits = bits
    await scene.sync(*POINTS)
    await happens(scene)

    found = await check(scene)

    assert found.is_sound
    assert kinds(found, Severity.NOTICE) >= NOTICES[happens]


async def test_the_words_name_the_points_and_the_other_set(scene):
    await scene.sync(*POINTS)
    await claim_twice(scene)
    await delete_points(scene)

    found = await check(scene, "default/mine")
    of_other = await check(scene, "other")

    shared = next(one for one in found.findings if one.kind == "SharedPoints")
    missing = next(one for one in found.findings if one.kind == "PointsMissing")
    assert shared.message.startswith("it shares 2 points with here/default/other: 1, ")
    assert [one.kind for one in of_other.findings] == ["PointsMissing", "SharedPoints"], "it claims point 1 as well"
    assert missing.message.startswith("Qdrant lacks 2 of its 8 points: 1, 5. ")


async def test_a_collection_of_its_user_needs_no_registration(scene):
    await remove_mark(scene)
    scene.incarnation = "unmanaged"
    await scene.sync(*POINTS)
    await scene.database.update_collection(
        scene.collection, {"metadata": {registration_key("here", scene.store().key.point_set): None}}
    )

    assert (await check(scene)).findings == []


# ---- as a person runs it ----


@pytest.fixture
def shell(scene: Scene, tmp_path) -> Shell:
    """With two sets that were applied. scene: for its empty server."""
    return Shell(tmp_path)


def delete_point(server: QdrantServer, name: str, id: int) -> None:
    """Somebody does, with the client of their choice."""
    httpx.post(f"{server.url}/collections/{name}/points/delete?wait=true", json={"points": [id]}).raise_for_status()


def test_a_person_reads_what_is_there_and_what_is_wrong(shell, server):
    points = {7: [1.0, 0.0], 8: [0.0, 1.0]}
    shell.write(
        "all.yaml",
        CONNECTION,
        collection("zoo"),
        point_set("cats", "zoo", points),
        point_set("dogs", "zoo", {9: [1.0, 1.0]}),
    )
    target = ["--qdrant", server.url]
    assert shell.run("apply", "-f", "all.yaml", *target).code == 0

    shown = shell.run("ledger", "show", *target)
    in_detail = shell.run("ledger", "show", "cats", *target)
    as_json = shell.run("ledger", "show", "default/cats", *target, "-o", "json")
    checked = shell.run("ledger", "check", *target)
    of_page = run(
        replaced(documented("docs/operations.md", "Looking into the ledgers"), {"http://qdrant:6333": server.url})
    )
    delete_point(server, "zoo", 7)
    damaged = shell.run("ledger", "check", *target)
    damaged_json = shell.run("ledger", "check", *target, "-o", "json")
    other = shell.run("ledger", "check", "dogs", *target)
    nobody = shell.run("ledger", "show", "birds", *target)

    assert [line.split()[0] for line in shown.out.splitlines()] == ["OWNER", "cli/default/cats", "cli/default/dogs"]
    assert "PART" in in_detail.out
    assert "dogs" not in in_detail.out
    (cats,) = as_json.json
    assert (cats["owner"], cats["points"], cats["parts"][0]["points"]) == ("cli/default/cats", 2, 2)
    assert (checked.code, checked.out) == (0, "2 ledgers with 3 points: 0 problems, 0 notices\n")
    assert of_page == shown.out + checked.out
    assert damaged.code == 1
    assert "cli/default/cats in collection 'zoo': Qdrant lacks 1 of its 2 points: 7. " in damaged.out
    assert [one["kind"] for one in damaged_json.json] == ["PointsMissing"]
    assert other.code == 0
    assert (nobody.code, nobody.err) == (1, "no ledger of birds was found\n")


def test_the_ledgers_of_a_folder_are_read_as_well(shell):
    shell.write("all.yaml", CONNECTION, collection("zoo"), point_set("cats", "zoo", {7: [1.0, 0.0]}))
    assert shell.run("apply", "-f", "all.yaml", "--qdrant", "folder").code == 0

    checked = shell.run("ledger", "check", "--qdrant", "folder")
    missing = shell.run("ledger", "check", "--qdrant", "nowhere")

    assert (checked.code, checked.out) == (0, "1 ledger with 1 point: 0 problems, 0 notices\n")
    assert missing.code == 2

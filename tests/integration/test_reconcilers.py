"""The reconcilers over a folder, in this process: what a server of version 1.16 cannot do, and what is between two
calls of one reconciliation.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from vectorops.api.meta import JsonObject, ObjectMeta, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.errors import Rejected, Transient
from vectorops.local.cluster import LocalCluster
from vectorops.local.runner import Runner
from vectorops.qdrant.database import PointData
from vectorops.qdrant.local import LocalQdrant
from vectorops.qdrant.marks import MARK_KEY, mark_of
from vectorops.reconcilers.base import Context, Grants
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.driver import Driver
from vectorops.reconcilers.kinds import RECONCILERS

ZOO = Ref("QdrantCollection", "park", "zoo")
TEXT: JsonObject = {"name": "text", "size": 2, "distance": "Dot"}
IMAGE: JsonObject = {"name": "image", "size": 2, "distance": "Dot"}
LION: JsonObject = {"id": 1, "vectors": {"text": {"values": [1.0, 2.0]}}}
LION_SEEN: JsonObject = {"id": 1, "vectors": {**LION["vectors"], "image": {"values": [3.0, 4.0]}}}


class Park:
    """One namespace with a connection to the folder, as one installation sees it."""

    def __init__(self, folder: LocalQdrant) -> None:
        self.folder = folder
        self.events: list[str] = []

    async def declare(
        self,
        zoo: JsonObject,
        *points: JsonObject,
        installation: str = "test",
        grants: Grants | None = None,
    ) -> dict[str, Resource]:
        """Applies collection `zoo` and point set `animals` like a new process; returns what became of all."""
        resources = [
            resource("QdrantConnection", "main", {"url": "http://localhost:6333"}),
            resource("QdrantCollection", "zoo", {"connectionRef": {"name": "main"}, **zoo}),
            resource("PointSet", "animals", {"collectionRef": {"name": "zoo"}, "points": list(points)}),
        ]
        cluster = LocalCluster(resources, {}, lambda _, reason, __: self.events.append(reason))
        context = Context(
            cluster,
            Databases(lambda _, __: self.folder),
            Embedders(EmbedderSettings()),
            installation,
            writer=installation,
            grants=grants or Grants(),
        )
        runner = Runner(cluster, Driver(context, RECONCILERS))
        await runner.run(asyncio.get_running_loop().time() + 3)
        found = {ref.name: cluster.now(ref) for ref in cluster.refs}
        return {name: one for name, one in found.items() if one is not None}

    async def delete(self, found: dict[str, Resource], name: str) -> None:
        """Deletes one of the resources that `declare` returned, and looks at nothing else."""
        doomed = found[name]
        doomed = replace(doomed, meta=doomed.meta.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"}))
        cluster = LocalCluster([*(one for one in found.values() if one.ref != doomed.ref), doomed], {})
        context = Context(
            cluster, Databases(lambda _, __: self.folder), Embedders(EmbedderSettings()), "test", writer="another"
        )
        await Driver(context, RECONCILERS).run(doomed.ref)
        assert cluster.now(doomed.ref) is None

    async def lion(self) -> dict[str, list[float]]:
        """The stored vectors of point 1."""
        (found,) = (await self.folder.points("zoo", [1], vectors=True)).values()
        return {name: cast("Any", vector).tolist() for name, vector in found.vectors.items()}

    async def mark(self) -> Any:
        return mark_of(await self.folder.collection("zoo") or {}, "zoo")


def resource(kind: str, name: str, spec: JsonObject) -> Resource:
    meta = ObjectMeta(name=name, namespace="park", uid=name, generation=1)
    return Resource(kind, meta, spec, {})


@pytest.fixture
async def park(tmp_path: Path) -> AsyncIterator[Park]:
    folder = LocalQdrant(tmp_path)
    yield Park(folder)
    await folder.close()


async def test_a_set_is_not_ready_before_the_vectors_that_it_declares_are_there_and_filled(park: Park) -> None:
    both = {"vectors": [TEXT, IMAGE]}
    early = await park.declare({"vectors": [TEXT]}, LION_SEEN)
    assert not early["animals"].ready

    found = await park.declare(both, LION_SEEN)
    assert found["animals"].ready
    assert await park.lion() == {"text": [1.0, 2.0], "image": [3.0, 4.0]}

    # An operator that goes on, and finds that somebody deleted the vector.
    await park.folder.delete_vector_name("zoo", "image")
    cluster = LocalCluster(found.values(), {})
    context = Context(
        cluster, Databases(lambda _, __: park.folder), Embedders(EmbedderSettings()), "test", writer="another"
    )
    driver, animals = Driver(context, RECONCILERS), found["animals"].ref

    def ready(ref: Ref) -> bool:
        now = cluster.now(ref)
        assert now is not None
        return now.ready

    seen = []
    for ref in (ZOO, animals, ZOO, animals):
        await driver.run(ref)
        vectors = set((await park.folder.collection("zoo") or {})["config"]["params"]["vectors"])
        seen.append((ready(animals), vectors, await park.lion()))

    alone = {"text": [1.0, 2.0]}
    assert seen[0] == (True, {"text"}, alone), "it waits for the set"
    assert seen[1] == (False, {"text"}, alone)
    assert seen[2] == (False, {"text", "image"}, alone)
    assert seen[3] == (True, {"text", "image"}, alone | {"image": [3.0, 4.0]})
    assert ready(ZOO)


async def test_a_folder_has_no_snapshots_so_a_plan_that_needs_one_is_refused(park: Park) -> None:
    both: JsonObject = {"vectors": [TEXT, IMAGE], "snapshotBefore": True}
    await park.declare(both, LION_SEEN)
    held_back = (await park.declare(both | {"vectors": [TEXT]}, LION_SEEN))["zoo"]
    grants = Grants(frozenset({held_back.status["plan"]["hash"]}))

    found = await park.declare(both | {"vectors": [TEXT]}, LION_SEEN, grants=grants)

    ready = found["zoo"].condition("Ready")
    assert ready is not None
    assert "it has no snapshots" in ready["message"]
    assert await park.lion() == {"text": [1.0, 2.0], "image": [3.0, 4.0]}


async def test_a_vector_that_comes_again_is_filled_by_the_sets_whose_points_miss_it(park: Park) -> None:
    both = {"vectors": [TEXT, IMAGE]}
    await park.declare(both, LION_SEEN)
    held_back = (await park.declare({"vectors": [TEXT]}, LION))["zoo"]
    await park.declare({"vectors": [TEXT]}, LION, grants=Grants(frozenset({held_back.status["plan"]["hash"]})))

    found = await park.declare(both, LION_SEEN)

    assert found["animals"].ready
    assert await park.lion() == {"text": [1.0, 2.0], "image": [3.0, 4.0]}


async def test_a_vector_that_was_lost_and_comes_again_is_filled_although_no_set_was_changed(park: Park) -> None:
    both = {"vectors": [TEXT, IMAGE]}
    await park.declare(both, LION_SEEN)
    await park.folder.delete_vector_name("zoo", "image")

    found = await park.declare(both, LION_SEEN)

    assert found["animals"].ready
    assert await park.lion() == {"text": [1.0, 2.0], "image": [3.0, 4.0]}


@pytest.mark.parametrize("spec", [{"collectionName": "vectorops-ledger"}, {"aliases": ["vectorops-ledger"]}])
async def test_nobody_gets_the_name_under_which_the_ledgers_are_kept(park: Park, spec: JsonObject) -> None:
    """Whoever owned that collection could delete the ledgers of all."""
    found = await park.declare({"vectors": [TEXT], "deletionPolicy": "Delete", **spec})

    assert (found["zoo"].condition("Ready") or {})["reason"] == "InvalidSpec"
    assert await park.folder.collection_names() == []


async def test_a_collection_that_drifted_is_taken_over_and_only_then_reported(park: Park) -> None:
    """Whose it is, is no drift."""
    zoo = {"vectors": [TEXT], "aliases": ["docs"], "driftPolicy": "Report"}
    await park.declare(zoo, installation="first")
    await park.folder.delete_alias("docs")

    found = await park.declare(zoo, installation="second", grants=Grants(take_over_from="first"))

    assert found["zoo"].condition("Drifted") is not None
    assert (await park.mark()).installation == "second"
    assert await park.folder.aliases() == {}


async def test_another_deletion_policy_is_recorded_although_drift_is_only_reported(park: Park) -> None:
    """Else `--prune` would delete by the old one."""
    zoo = {"vectors": [TEXT], "aliases": ["docs"], "driftPolicy": "Report"}
    await park.declare({**zoo, "deletionPolicy": "Delete"})
    await park.folder.delete_alias("docs")

    found = await park.declare({**zoo, "deletionPolicy": "Retain"})

    assert found["zoo"].condition("Drifted") is not None
    assert (await park.mark()).deletion_policy == "Retain"


async def test_a_correction_is_told_once_it_is_done_and_not_at_each_try(
    park: Park, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = {"vectors": [TEXT], "aliases": ["docs"]}
    await park.declare(zoo)
    await park.folder.delete_alias("docs")
    tries = []

    async def fail_twice(alias: str, collection: str) -> None:
        tries.append(alias)
        if len(tries) <= 2:
            raise Transient(Reason.SERVER_ERROR, "not now")
        monkeypatch.undo()
        await park.folder.create_alias(alias, collection)

    monkeypatch.setattr(park.folder, "create_alias", fail_twice)
    await park.declare(zoo)

    assert len(tries) == 3
    assert park.events.count("DriftCorrected") == 1
    assert await park.folder.aliases() == {"docs": "zoo"}


async def test_a_set_takes_its_points_along_although_somebody_wiped_the_mark(park: Park) -> None:
    """What the set entered itself tells that this is the collection which holds them."""
    found = await park.declare({"vectors": [TEXT]}, LION)
    await park.folder.update_collection("zoo", {"metadata": {MARK_KEY: None}})

    await park.delete(found, "animals")

    assert await park.folder.points("zoo", [1]) == {}


async def test_points_get_through_a_proxy_that_takes_short_requests_only(
    park: Park, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingress takes 1 MiB unless told otherwise."""
    write = park.folder.upsert

    async def upsert(name: str, points: Sequence[PointData], **how: Any) -> None:
        if name == "zoo" and len(points) > 2:
            raise Rejected(Reason.REQUEST_REJECTED, "the request is too long for the server", status=413)
        await write(name, points, **how)

    monkeypatch.setattr(park.folder, "upsert", upsert)
    found = await park.declare({"vectors": [TEXT]}, *({**LION, "id": id} for id in range(9)))

    assert found["animals"].ready
    assert len(await park.folder.points("zoo", range(9))) == 9

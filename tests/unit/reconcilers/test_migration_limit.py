"""How many migrations are under way is read from Qdrant alone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vectorops.api.meta import ObjectMeta, Ref, Resource
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders
from vectorops.errors import Waiting
from vectorops.local.cluster import LocalCluster
from vectorops.qdrant.local import LocalQdrant
from vectorops.qdrant.marks import Mark, name_behind
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.databases import Databases
from vectorops.reconcilers.migration_limit import MigrationLimit, find_migrations

OLD, NEW = "0" * 16, "f" * 16
ZOO = Mark(
    installation="ours", namespace="park", name="zoo", uid="", collection=name_behind("zoo", NEW), incarnation=NEW
)


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[LocalQdrant]:
    folder = LocalQdrant(tmp_path)
    yield folder
    await folder.close()


async def make(folder: LocalQdrant, mark: Mark, alias: str = "") -> None:
    """A collection with this mark, and the alias that leads to it."""
    vectors = {"size": 2, "distance": "Dot"}
    await folder.create_collection(mark.collection, {"vectors": vectors, "metadata": mark.metadata()})
    if alias:
        await folder.create_alias(alias, mark.collection)


def behind(name: str, incarnation: str, **fields: Any) -> Mark:
    fields = {"incarnation": incarnation, "name": name, "collection": name_behind(name, incarnation)} | fields
    return replace(ZOO, **fields)


async def test_a_collection_that_readers_were_never_moved_to_is_a_migration(folder: LocalQdrant) -> None:
    await make(folder, behind("zoo", OLD, switched_at="2026-01-01T00:00:00Z"), "zoo")
    assert await find_migrations(folder, "ours") == []

    await make(folder, behind("zoo", NEW))
    assert await find_migrations(folder, "ours") == [Ref("QdrantCollection", "park", "zoo")]

    await folder.move_aliases(["zoo"], name_behind("zoo", NEW))
    assert await find_migrations(folder, "ours") == [], "it was switched, and the time is about to be noted"


async def test_the_first_step_from_direct_to_aliased_is_a_migration_too(folder: LocalQdrant) -> None:
    await make(folder, behind("zoo", OLD, collection="zoo"))

    await make(folder, behind("zoo", NEW))

    assert await find_migrations(folder, "ours") == [Ref("QdrantCollection", "park", "zoo")]


@pytest.mark.parametrize(
    "mark",
    [
        behind("zoo", NEW, installation="theirs"),
        behind("zoo", NEW, released=True),
        behind("zoo", NEW, switched_at="2026-01-01T00:00:00Z"),
        behind("zoo", NEW, collection="zoo-fffffff"),
        behind("zoo", OLD, collection="zoo-ffffffff"),
        behind("farm", NEW),
    ],
    ids=["theirs", "released", "served before", "short name", "another incarnation", "the first one"],
)
async def test_other_collections_are_none(folder: LocalQdrant, mark: Mark) -> None:
    await make(folder, behind("zoo", OLD, switched_at="2026-01-01T00:00:00Z"), "zoo")

    await make(folder, mark)

    assert await find_migrations(folder, "ours") == []


async def test_one_migration_starts_when_another_one_has_ended(folder: LocalQdrant) -> None:
    def resource(name: str) -> Resource:
        return Resource("QdrantCollection", ObjectMeta(name=name, namespace="park"), {}, {})

    embedders = Embedders(EmbedderSettings())
    context = Context(LocalCluster([], {}), Databases(lambda _, __: folder), embedders, "ours", writer="w")
    limit, zoo, farm = MigrationLimit(), resource("zoo"), resource("farm")
    for name in ("zoo", "farm"):
        await make(folder, behind(name, OLD, switched_at="2026-01-01T00:00:00Z"), name)
    async with limit.start(context, zoo, folder):
        await make(folder, behind("zoo", NEW))

    with pytest.raises(Waiting, match="1 other migration under way") as blocked:
        async with limit.start(context, farm, folder):
            pytest.fail("it started")
    async with limit.start(context, zoo, folder):
        pass  # Its own candidate is in nobody's way.
    async with limit.start(replace(context, max_migrations=2), farm, folder):
        pass
    await folder.move_aliases(["zoo"], name_behind("zoo", NEW))
    async with limit.start(context, farm, folder):
        pass

    assert (blocked.value.reason, blocked.value.on) == (Reason.MIGRATION_BLOCKED, zoo.ref)
    await embedders.close()

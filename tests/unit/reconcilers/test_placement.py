"""Which collections in Qdrant a QdrantCollection has, told from aliases and marks."""

from dataclasses import replace
from typing import Any

from unit.collections.echo import EchoingQdrant
from vectorops.api.meta import ObjectMeta, Resource
from vectorops.qdrant.marks import Mark
from vectorops.reconcilers.placement import Placement, declared_names, find_placement

OURS = Mark("here", "park", "zoo", "uid", "zoo", "1234567890abcdef", alias="zoo")


def declared(**spec: Any) -> Resource:
    return Resource("QdrantCollection", ObjectMeta(name="zoo", namespace="park"), spec, {})


async def make(database: EchoingQdrant, name: str, mark: Mark | None = OURS, **known: Any) -> None:
    """A collection with a mark that speaks of it."""
    metadata = replace(mark, collection=name, **known).metadata() if mark else {}
    await database.create_collection(name, {"vectors": {"size": 4, "distance": "Dot"}, "metadata": metadata})


async def placed(database: EchoingQdrant, **spec: Any) -> Placement:
    return await find_placement(database, declared(**spec), "here")  # type: ignore[arg-type]


def names(placement: Placement) -> tuple[str, list[str]]:
    return placement.active.name, [one.name for one in placement.others]


async def test_a_direct_one_has_the_declared_name():
    database = EchoingQdrant()
    await make(database, "docs")

    assert names(await placed(database)) == ("zoo", [])
    assert names(await placed(database, collectionName="docs")) == ("docs", [])


async def test_the_alias_leads_to_the_active_one_and_the_others_are_ours():
    database = EchoingQdrant()
    await make(database, "zoo-00000001", switched_at="2026-01-01T00:00:00.000+00:00")
    await make(database, "zoo-00000002", switched_at="2026-02-01T00:00:00.000+00:00")
    await make(database, "zoo-00000003")
    await make(database, "zoo-00000004", installation="elsewhere")
    await make(database, "zoo-00000005", released=True)
    await make(database, "zoo-00000006", None)
    await make(database, "zoo-0000000g")
    await database.create_alias("zoo", "zoo-00000001")

    assert names(await placed(database, layout="Aliased")) == ("zoo-00000001", ["zoo-00000002", "zoo-00000003"])


async def test_without_the_alias_the_one_that_served_last_is_active():
    database = EchoingQdrant()
    assert not (await placed(database, layout="Aliased")).active.exists
    await make(database, "zoo-00000009")
    assert names(await placed(database, layout="Aliased")) == ("zoo-00000009", [])
    await make(database, "zoo-00000001", switched_at="2026-01-01T00:00:00.000+00:00")
    assert names(await placed(database, layout="Aliased")) == ("zoo-00000001", ["zoo-00000009"])


async def test_an_alias_that_led_to_a_collection_which_is_gone_meanwhile_counts_as_none(monkeypatch):
    """Aliases and names come in two answers."""
    database = EchoingQdrant()
    await make(database, "zoo-00000002")

    async def aliases():
        return {"zoo": "zoo-00000001"}

    monkeypatch.setattr(database, "aliases", aliases)

    assert names(await placed(database, layout="Aliased")) == ("zoo-00000002", [])


async def test_one_that_was_there_first_keeps_its_name():
    database = EchoingQdrant()
    await make(database, "documents_v3")
    await make(database, "zoo-00000002", predecessor="documents_v3", switched_at="2026-02-01T00:00:00.000+00:00")
    await database.create_alias("zoo", "zoo-00000002")

    assert names(await placed(database, layout="Aliased")) == ("zoo-00000002", ["documents_v3"])


async def test_a_direct_collection_that_is_to_be_behind_an_alias_serves_until_then():
    database = EchoingQdrant()
    await make(database, "zoo", alias="")
    await make(database, "zoo-00000002", predecessor="zoo")

    assert names(await placed(database, layout="Aliased")) == ("zoo", ["zoo-00000002"])


def test_the_names_that_others_must_not_have():
    assert declared_names(declared()) == {"zoo"}
    assert declared_names(declared(layout="Aliased")) == {"zoo", "zoo-00000000"}

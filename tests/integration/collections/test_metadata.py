"""User metadata on a real Qdrant, and in a folder: the same values come to rest on both."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from servers.qdrant import QdrantServer
from unit.collections.specs import bring, declare, look
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database
from vectorops.qdrant.local import LocalQdrant
from vectorops.qdrant.observe import observe

VALUES: dict[str, Any] = {
    "text": "größe",
    "": "empty",
    "whole": 2**63 - 1,
    "least": -(2**63),
    "fraction": 0.1,
    "large": 1e20,
    "time": 1732700000.123456,
    "yes": True,
    "list": [1, None, {"a": [1.0, 2.5]}],
    "deep": {"a": {"b": {"c": None}}, "empty": {}, "none": []},
    "gone": None,
}


@pytest.fixture(params=["server", "folder"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    database: Database
    if request.param == "folder":
        database = LocalQdrant(tmp_path / "folder")
    else:
        server: QdrantServer = request.getfixturevalue("qdrant")
        database = connect(QdrantConnectionSpec(url=server.url, prefer_grpc=False), Credentials())
    await database.check()
    yield database
    await database.close()


@pytest.fixture
def name() -> str:
    return f"zoo-{uuid.uuid4().hex[:8]}"


async def metadata(database: Database, name: str) -> dict[str, Any]:
    found = (await observe(database, name)).metadata
    return {key: value for key, value in found.items() if not key.startswith("vectorops.dev/")}


async def test_every_kind_of_value_comes_to_rest(database, name):
    made = await bring(database, declare(name, metadata=VALUES))
    patched = await bring(database, declare(name, metadata={**VALUES, "fraction": 0.2, "deep": {"a": 1}}))

    assert made.plan.doable == patched.plan.doable == ()
    assert made.plan.unsupported == patched.plan.unsupported == ()
    assert (await metadata(database, name)).keys() == VALUES.keys() - {"gone"}
    assert (await metadata(database, name))["deep"] == {"a": 1}


async def test_ours_goes_and_that_of_others_stays(database, name):
    await bring(database, declare(name, metadata={"team": "search", "cost": 1}))
    await database.update_collection(name, {"metadata": {"theirs": {"a": 1}, "cost": 2}})

    drift = await look(database, declare(name, metadata={"team": "search", "cost": 1}))
    await bring(database, declare(name, metadata={"team": "search"}))

    assert drift.is_drift
    assert drift.describe() == ["metadata.cost: 2 -> 1"]
    assert await metadata(database, name) == {"team": "search", "theirs": {"a": 1}}
    await bring(database, declare(name, metadata={"theirs": None}))
    assert await metadata(database, name) == {}

"""A scene at each kind of Qdrant: a server, over REST and over gRPC, and a folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.points.scene import Scene
from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database
from vectorops.qdrant.local import LocalQdrant


@pytest.fixture(params=["rest", "grpc", "embedded"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A Qdrant behind one of its doors."""
    database: Database
    if request.param == "embedded":
        database = LocalQdrant(tmp_path / "folder")
    else:
        server: QdrantServer = request.getfixturevalue("qdrant")
        spec = QdrantConnectionSpec(url=server.url, grpc_port=server.grpc_port, prefer_grpc=request.param == "grpc")
        database = connect(spec, Credentials())
    await database.check()
    yield database
    await database.close()


@pytest.fixture
async def scene(database: Database) -> Scene:
    """An empty collection."""
    scene = Scene(database)
    await scene.make()
    return scene

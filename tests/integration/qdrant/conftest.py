"""The three doors to a Qdrant, each of which must behave like the others."""

import itertools
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from servers.qdrant import QdrantServer
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.qdrant.connect import Credentials, connect
from vectorops.qdrant.database import Database
from vectorops.qdrant.local import LocalQdrant

DOORS = ("rest", "grpc", "embedded")


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Which of the three this run is about."""
    return str(request.param)


@pytest.fixture
async def database(door: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A Qdrant behind one of the doors."""
    database: Database
    if door == "embedded":
        database = LocalQdrant(tmp_path / "folder")
    else:
        server: QdrantServer = request.getfixturevalue("qdrant")
        spec = QdrantConnectionSpec(url=server.url, grpc_port=server.grpc_port, prefer_grpc=door == "grpc")
        database = connect(spec, Credentials())
    await database.check()
    yield database
    await database.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for the collection of this test, with characters that an URL must escape."""
    return f"test é%+ {uuid.uuid4().hex[:8]}"


@pytest.fixture
def floats() -> "Floats":
    """Random numbers, all different from one another."""
    return Floats()


class Floats:
    """float32 with all their digits, between -1 and 1."""

    def __init__(self) -> None:
        self._seeds = itertools.count(1)

    def __call__(self, *shape: int) -> np.typing.NDArray[np.float32]:
        generator = np.random.default_rng(next(self._seeds))
        return generator.uniform(-1, 1, shape).astype(np.float32)

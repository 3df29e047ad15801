"""The servers of sources: one of files for each test, two of objects for each test process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.sources.sourced import SourcedSet
from servers.files import FileServer
from servers.qdrant import QdrantServer
from servers.s3 import S3Server, moto_server, versity_gateway


@pytest.fixture
def files() -> Iterator[FileServer]:
    """A server of files that the test fills."""
    with FileServer() as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """moto's server, without buckets."""
    server = moto_server(tmp_path_factory.mktemp("moto"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gateway_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where versitygw keeps its buckets."""
    return tmp_path_factory.mktemp("versitygw")


@pytest.fixture(scope="session")
def gateway(gateway_folder: Path) -> Iterator[S3Server]:
    """versitygw, without buckets."""
    server = versity_gateway(gateway_folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """An empty folder for what is fetched."""
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


@pytest.fixture
def rows(tmp_path: Path, qdrant: QdrantServer) -> SourcedSet:
    """A set of the rows of all `*.jsonl` beside its manifest."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    return SourcedSet(folder, qdrant)

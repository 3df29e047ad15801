"""Files in ConfigMaps."""

from base64 import b64encode
from pathlib import Path

import pytest

from vectorops.api.reasons import Reason
from vectorops.api.source import ConfigMapsSource
from vectorops.errors import Terminal, Transient
from vectorops.sources.config_maps import ConfigMapFiles


def config_map(name, *, created="2026-11-28T03:00:00Z", data=None, binary=None):
    return {"metadata": {"name": name, "creationTimestamp": created}, "data": data, "binaryData": binary}


def declare(**more) -> ConfigMapsSource:
    return ConfigMapsSource.model_validate({"selector": {"matchLabels": {"docs": "handbook"}}, **more})


class Cluster:
    """Stands for the API server."""

    def __init__(self, *config_maps) -> None:
        self.config_maps = list(config_maps)
        self.labels: list[dict[str, str]] = []

    async def read(self, labels):
        self.labels.append(dict(labels))
        return self.config_maps


async def test_each_key_is_a_file(tmp_path):
    cluster = Cluster(
        config_map("b", data={"x.jsonl": "{}"}),
        config_map("a", data={"y.jsonl": "ä"}, binary={"z.parquet": b64encode(b"\xff").decode()}),
    )
    source = ConfigMapFiles(declare(), cluster.read)

    files = await source.list()

    assert [file.name for file in files] == ["configmap/a:y.jsonl", "configmap/a:z.parquet", "configmap/b:x.jsonl"]
    assert [(await source.fetch(file, tmp_path)).path.read_bytes() for file in files] == ["ä".encode(), b"\xff", b"{}"]
    assert [file.size for file in files] == [2, 1, 2]


async def test_they_need_the_label_of_sources_as_well():
    cluster = Cluster()

    assert await ConfigMapFiles(declare(), cluster.read).list() == []
    assert cluster.labels == [{"docs": "handbook", "vectorops.dev/source": "true"}]


async def test_keys_are_chosen_by_a_pattern():
    cluster = Cluster(config_map("a", data={"x.jsonl": "{}", "x.csv": "", "README": ""}))

    assert [file.name for file in await ConfigMapFiles(declare(keys="*.csv"), cluster.read).list()] == [
        "configmap/a:x.csv"
    ]


async def test_only_another_content_is_another_version():
    cluster = Cluster(config_map("a", data={"x": "1"}))
    (before,) = await ConfigMapFiles(declare(), cluster.read).list()
    cluster.config_maps[0]["metadata"]["labels"] = {"more": "labels"}
    (same,) = await ConfigMapFiles(declare(), cluster.read).list()
    cluster.config_maps[0]["data"] = {"x": "2"}
    (after,) = await ConfigMapFiles(declare(), cluster.read).list()

    assert before == same
    assert before.version != after.version


async def test_the_newer_config_map_has_the_higher_rank():
    cluster = Cluster(
        config_map("handbook-7f8a", data={"x": "1"}, created="2026-11-28T03:00:01Z"),
        config_map("handbook-aa11", data={"x": "1"}, created="2026-11-28T03:00:00Z"),
    )

    newer, older = await ConfigMapFiles(declare(), cluster.read).list()

    assert newer.rank > older.rank


async def test_config_maps_of_files_have_one_rank():
    cluster = Cluster(config_map("a", created=None, data={"x": "1"}), config_map("b", created=None, data={"x": "1"}))

    assert [file.rank for file in await ConfigMapFiles(declare(), cluster.read).list()] == [0, 0]


async def test_another_content_than_the_listed_one_is_not_given(tmp_path):
    cluster = Cluster(config_map("a", data={"x": "1"}))
    source = ConfigMapFiles(declare(), cluster.read)
    (before,) = await source.list()
    cluster.config_maps = [config_map("a", data={"x": "2"})]
    await source.list()

    with pytest.raises(Transient) as failed:
        await source.fetch(before, tmp_path)

    assert failed.value.reason is Reason.SOURCE_CHANGED
    assert list(tmp_path.iterdir()) == []


async def test_binary_data_that_is_no_base64_is_refused():
    cluster = Cluster(config_map("a", binary={"x": "%"}))

    with pytest.raises(Terminal, match="configmap/a:x: binaryData is not base64"):
        await ConfigMapFiles(declare(), cluster.read).list()


async def test_a_folder_without_room_is_said_to_be_full(tmp_path):
    source = ConfigMapFiles(declare(), Cluster(config_map("a", data={"x": "1"})).read)
    (file,) = await source.list()

    with pytest.raises(Transient) as failed:
        await source.fetch(file, Path("/proc"))

    assert failed.value.reason is Reason.STAGING_FULL

"""Which files are read, what is taken from them, and how all that is wrong is told at once."""

import io
from pathlib import Path

import pytest

from vectorops.api.meta import Ref
from vectorops.errors import InvalidManifest
from vectorops.local.cluster import LocalCluster
from vectorops.local.manifests import Manifests, read_manifests

CONNECTION = """
apiVersion: vectorops.dev/v1alpha1
kind: QdrantConnection
metadata: {name: main}
spec: {url: "http://localhost:6333"}
"""
COLLECTION = """
apiVersion: vectorops.dev/v1alpha1
kind: QdrantCollection
metadata: {name: zoo, labels: {team: search}, annotations: {vectorops.dev/reconcile: "1"}}
spec: {connectionRef: {name: main}, vector: {size: 4}}
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {api-key: czNj
  cjN0}
stringData: {other: plain}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and we are in it: messages then show names without a path."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(*paths: str, namespace: str | None = None) -> list[str]:
    with pytest.raises(InvalidManifest) as raised:
        read_manifests(paths, namespace=namespace)
    return raised.value.problems


def names(manifests: Manifests) -> list[str]:
    return [str(ref) for ref in manifests.resources]


def test_a_folder_gives_its_own_manifests_in_order_and_nothing_else(folder):
    (folder / "b.yaml").write_text(COLLECTION)
    (folder / "a.yml").write_text(CONNECTION)
    (folder / "readme.md").write_text("# no manifest")
    (folder / "data").mkdir()
    (folder / "data" / "c.yaml").write_text("- no manifest either")

    assert names(read_manifests(["."])) == ["QdrantConnection default/main", "QdrantCollection default/zoo"]


def test_documents_lists_and_json_are_all_the_same(folder):
    (folder / "all.yaml").write_text(f"{CONNECTION}---{COLLECTION}")
    (folder / "list.json").write_text(
        '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "vectorops.dev/v1alpha1",'
        ' "kind": "QdrantConnection", "metadata": {"name": "other"}, "spec": {"url": "http://localhost"}}]}'
    )

    assert names(read_manifests(["all.yaml", "list.json"])) == [
        "QdrantConnection default/main",
        "QdrantCollection default/zoo",
        "QdrantConnection default/other",
    ]


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CONNECTION.encode())))

    assert names(read_manifests(["-"])) == ["QdrantConnection default/main"]


def test_a_resource_is_as_on_its_first_day(folder):
    (folder / "a.yaml").write_text(f"{COLLECTION}status: {{observedGeneration: 7}}")

    (resource,) = read_manifests(["a.yaml"]).resources.values()

    assert (resource.meta.generation, resource.status, resource.meta.finalizers) == (1, {}, [])
    assert resource.meta.labels == {"team": "search"}
    assert resource.meta.annotations == {"vectorops.dev/reconcile": "1"}
    assert resource.meta.uid == read_manifests(["a.yaml"]).resources[resource.ref].meta.uid


def test_each_resource_remembers_the_folder_of_its_file(folder, monkeypatch):
    (folder / "below").mkdir()
    (folder / "below" / "a.yaml").write_text(CONNECTION)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(COLLECTION.encode())))

    found = read_manifests(["below/a.yaml", "-"])

    assert {str(ref): str(path) for ref, path in found.folders.items()} == {
        "QdrantConnection default/main": "below",
        "QdrantCollection default/zoo": ".",
    }


def test_secrets_are_decoded_and_shown_nowhere(folder):
    (folder / "a.yaml").write_text(f"{SECRET}---{CONNECTION}")

    manifests = read_manifests(["a.yaml"])

    assert manifests.secrets == {("default", "keys"): {"api-key": b"s3cr3t", "other": b"plain"}}
    assert "s3cr3t" not in repr(manifests)


def test_a_namespace_is_given_by_the_file_else_by_the_flag_else_it_is_default(folder):
    (folder / "own.yaml").write_text(CONNECTION.replace("name: main", "name: main, namespace: own"))
    (folder / "none.yaml").write_text(CONNECTION)

    assert names(read_manifests(["own.yaml", "none.yaml"])) == [
        "QdrantConnection own/main",
        "QdrantConnection default/main",
    ]
    assert names(read_manifests(["none.yaml"], namespace="search")) == ["QdrantConnection search/main"]
    assert problems("own.yaml", namespace="search") == [
        (
            "own.yaml (document 1, QdrantConnection own/main): "
            "metadata.namespace: own is not the requested namespace search"
        )
    ]


def test_a_cluster_scoped_resource_is_in_no_namespace_whatever_its_manifest_says(folder):
    shared = (
        "apiVersion: vectorops.dev/v1alpha1\nkind: ClusterQdrantConnection\nmetadata: {}\nspec: {{url: 'http://q'}}\n"
    )
    (folder / "a.yaml").write_text(shared.format("{name: shared}"))
    (folder / "b.yaml").write_text(shared.format("{name: shared, namespace: own}"))

    assert (
        names(read_manifests(["a.yaml"]))
        == names(read_manifests(["b.yaml"], namespace="search"))
        == ["ClusterQdrantConnection shared"]
    )
    [twice] = problems("a.yaml", "b.yaml")
    assert twice.endswith("declared twice, first in a.yaml (document 1, ClusterQdrantConnection shared)")


def test_of_a_namespace_its_labels_are_read(folder):
    labeled = "apiVersion: v1\nkind: Namespace\nmetadata: {name: search, labels: {qdrant: shared}}\n"
    (folder / "a.yaml").write_text(f"{labeled}---{CONNECTION}")

    manifests = read_manifests(["a.yaml"])

    assert manifests.labels == {"search": {"qdrant": "shared"}}
    assert manifests.notices == []


ROWS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: handbook, labels: {vectorops.dev/source: "true", app: docs}}
data: {a.jsonl: '{"id": 1}'}
binaryData: {b.parquet: UEFSMQ==}
"""


async def test_a_config_map_with_the_label_of_sources_is_read_and_found_by_its_labels(folder):
    (folder / "a.yaml").write_text(f"{CONNECTION}---{ROWS}")

    manifests = read_manifests(["a.yaml"])

    assert manifests.notices == []
    cluster = LocalCluster([], {}, config_maps=manifests.config_maps)
    [found] = await cluster.config_maps("default", {"app": "docs"})
    assert found["metadata"]["name"] == "handbook"
    assert (found["data"], found["binaryData"]) == ({"a.jsonl": '{"id": 1}'}, {"b.parquet": "UEFSMQ=="})
    assert await cluster.config_maps("default", {"app": "other"}) == []
    assert await cluster.config_maps("team", {"app": "docs"}) == []


def test_a_config_map_without_the_label_is_left_out_with_a_notice(folder):
    (folder / "a.yaml").write_text(f"{CONNECTION}---{ROWS.replace('vectorops.dev/source', 'other')}")

    manifests = read_manifests(["a.yaml"])

    assert manifests.config_maps == []
    assert ["ConfigMap handbook" in notice for notice in manifests.notices] == [True]


def test_a_config_map_that_no_server_would_take_is_refused_without_its_content(folder):
    text = ROWS.replace("UEFSMQ==", "rows!").replace("""'{"id": 1}'""", "7")
    (folder / "a.yaml").write_text(f"{CONNECTION}---{text}")

    place = "a.yaml (document 2, ConfigMap default/handbook)"
    assert problems("a.yaml") == [
        f"{place}: data.a.jsonl: must be a string; put it in quotes",
        f"{place}: binaryData.b.parquet: must be base64; plain text goes under data",
    ]


def test_other_kinds_are_left_out_with_a_notice(folder):
    others = """
apiVersion: v1
kind: Namespace
metadata: {name: search}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: rows, labels: {vectorops.dev/source: true}}
---"""
    (folder / "a.yaml").write_text(f"{others}{CONNECTION}")

    manifests = read_manifests(["a.yaml"])

    assert names(manifests) == ["QdrantConnection default/main"]
    namespace, config_map = "a.yaml (document 1, Namespace search)", "a.yaml (document 2, ConfigMap rows)"
    label = 'vectorops.dev/source: "true"'
    assert manifests.notices == [
        f"{namespace}: skipped; without a cluster only our kinds, Secrets and ConfigMaps of sources are read",
        f"{config_map}: skipped; a ConfigMap is read as a source if it has the label {label}",
    ]


def test_everything_that_is_wrong_in_any_file_is_told_at_once(folder):
    (folder / "1.yaml").write_text(f"{CONNECTION}---{COLLECTION.replace('size: 4', 'size: 0, sizes: 4')}")
    (folder / "2.yaml").write_text("apiVersion: v1\nkind: [")
    (folder / "3.yaml").write_text("- a list")
    (folder / "4.yaml").write_text("kind: Secret\nmetadata: {name: a}")
    (folder / "5.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {}")
    (folder / "6.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: plain text, b: 7}")
    (folder / "7.yaml").write_bytes(b"a: 1\nb: \xff")
    (folder / "empty").mkdir()

    assert problems(".", "missing.yaml", "empty") == [
        "1.yaml (document 2, QdrantCollection default/zoo): spec.vector.size: should be greater than or equal to 1",
        '1.yaml (document 2, QdrantCollection default/zoo): unknown field "spec.vector.sizes"',
        "2.yaml:2: not YAML: did not find expected node content, while parsing a flow node",
        "3.yaml (document 1, line 1): an object with apiVersion and kind is expected",
        "4.yaml (document 1, line 1): apiVersion is missing",
        "5.yaml (document 1, Secret): metadata.name is missing",
        "6.yaml (document 1, Secret default/a): data.b: must be a string; put it in quotes",
        "6.yaml (document 1, Secret default/a): data.a: must be base64; plain text goes under stringData",
        "7.yaml:2: not UTF-8 text",
        "missing.yaml: No such file or directory",
        "empty: this folder has no *.json, *.yaml, *.yml",
    ]


def test_a_kind_of_ours_under_another_group_or_version_is_wrong_and_not_left_out(folder):
    (folder / "a.yaml").write_text(COLLECTION.replace("vectorops.dev/v1alpha1", "v1"))
    (folder / "b.yaml").write_text(COLLECTION.replace("QdrantCollection", "QdrantColection"))

    assert len(problems(".")) == 2


def test_the_same_object_twice_is_wrong(folder):
    (folder / "a.yaml").write_text(CONNECTION)

    assert problems("a.yaml", "a.yaml") == [
        (
            "a.yaml (document 1, QdrantConnection default/main): declared twice, "
            "first in a.yaml (document 1, QdrantConnection default/main)"
        )
    ]


def test_names_are_unique_by_kind_and_namespace_only(folder):
    (folder / "a.yaml").write_text(CONNECTION)
    (folder / "b.yaml").write_text(CONNECTION.replace("name: main", "name: main, namespace: other"))
    (folder / "c.yaml").write_text(COLLECTION.replace("name: zoo", "name: main"))

    assert Ref("QdrantCollection", "default", "main") in read_manifests(["."]).resources
    assert len(read_manifests(["."]).resources) == 3


@pytest.mark.parametrize("text", ["# nothing", "", SECRET])
def test_files_without_a_resource_are_a_mistake_and_no_wish_to_have_nothing(folder, text):
    (folder / "a.yaml").write_text(text)

    assert problems("a.yaml") == ["a.yaml: no resource of vectorops.dev found"]


@pytest.mark.parametrize(
    ("annotation", "option"), [("approve-plan", "--approve HASH"), ("take-over-from", "--take-over-from INSTALLATION")]
)
def test_no_file_allows_what_a_person_allows_for_one_run(folder, annotation, option):
    (folder / "a.yaml").write_text(COLLECTION.replace("reconcile", annotation))

    (problem,) = problems("a.yaml")

    assert f"metadata.annotations: vectorops.dev/{annotation}: " in problem
    assert option in problem


def test_that_only_the_operator_writes_a_config_map_for_readers_is_told(folder):
    collection = "apiVersion: vectorops.dev/v1alpha1\nkind: QdrantCollection\nmetadata: {name: zoo}\n"
    spec = "spec: {connectionRef: {name: main}, vector: {size: 3}, readerConfigMap: true}\n"
    (folder / "a.yaml").write_text(f"{CONNECTION}---\n{collection}{spec}")

    [notice] = read_manifests(["a.yaml"]).notices

    assert notice == (
        "a.yaml (document 2, QdrantCollection default/zoo): spec.readerConfigMap: only the operator writes a ConfigMap"
    )

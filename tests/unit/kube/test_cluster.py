"""What is written to the API server, seen by what it then holds."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorops.api.meta import FINALIZER, JsonObject, Ref, Resource
from vectorops.errors import Transient
from vectorops.kube.calls import Refused
from vectorops.kube.cluster import NOTE_BYTES, KubeCluster, cut_note, merge_patch

json_values = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=10,
)
json_objects = st.dictionaries(st.text(max_size=2), json_values, max_size=4)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class StoredObject:
    """One object, read and patched by the API server's rules about versions; in the place of `Calls`.

    meddle: called before each write, as somebody else who is faster.
    """

    def __init__(self) -> None:
        self.object: JsonObject | None = {
            "kind": "QdrantCollection",
            "metadata": {"name": "zoo", "namespace": "team", "uid": "u1", "generation": 1, "resourceVersion": "1"},
            "spec": {},
            "status": {"observedGeneration": -1},
        }
        self.writes = 0
        self.meddle = lambda: None

    def change(self, patch: JsonObject) -> None:
        assert self.object is not None
        self.object = merged(self.object, patch)
        self.object["metadata"]["resourceVersion"] = str(int(self.object["metadata"]["resourceVersion"]) + 1)

    def resource(self) -> Resource:
        assert self.object is not None
        return Resource.from_object(copy.deepcopy(self.object))

    async def call(self, method: str, path: str, *, body: JsonObject | None = None, **_: Any) -> JsonObject:
        if method == "PATCH":
            self.meddle()
        if self.object is None:
            raise Refused(404, "not found")
        if method == "PATCH":
            assert body is not None
            if body["metadata"].pop("resourceVersion") != self.object["metadata"]["resourceVersion"]:
                raise Refused(409, "the object has been modified")
            self.writes += 1
            self.change({key: body[key] for key in (["status"] if path.endswith("/status") else ["metadata"])})
        return copy.deepcopy(self.object)


@pytest.fixture
def stored() -> StoredObject:
    return StoredObject()


@pytest.fixture
def cluster(stored) -> KubeCluster:
    return KubeCluster(stored, instance="pod")


@given(old=json_objects, new=json_objects)
def test_a_merge_patch_turns_the_old_status_into_the_new_one(old, new):
    patch = merge_patch(old, new)

    assert orjson.dumps(merged(old, patch), option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        new, option=orjson.OPT_SORT_KEYS
    )
    assert merge_patch(new, new) == {}


def test_a_merge_patch_tells_true_from_one():
    assert merge_patch({"a": 1}, {"a": True}) == {"a": True}


async def test_what_vanished_from_a_status_vanishes_in_the_cluster(cluster, stored):
    stored.change(
        {"status": {"plan": {"hash": "abc", "steps": ["x"]}, "collection": {"name": "a", "incarnation": "1"}}}
    )

    await cluster.write_status(stored.resource(), {"observedGeneration": 1, "collection": {"name": "a"}})

    assert stored.object["status"] == {"observedGeneration": 1, "collection": {"name": "a"}}


async def test_a_status_is_written_over_a_label_that_came_meanwhile(cluster, stored):
    read = stored.resource()
    stored.change({"metadata": {"labels": {"app": "x"}}})

    await cluster.write_status(read, {"observedGeneration": 1})

    assert stored.object["status"] == {"observedGeneration": 1}
    assert stored.object["metadata"]["labels"] == {"app": "x"}


async def test_a_status_is_not_written_over_a_new_spec(cluster, stored):
    read = stored.resource()
    stored.change({"metadata": {"generation": 2}})

    with pytest.raises(Transient):
        await cluster.write_status(read, {"observedGeneration": 1})

    assert stored.object["status"] == {"observedGeneration": -1}


async def test_a_status_is_not_written_to_a_namesake(cluster, stored):
    read = stored.resource()
    stored.change({"metadata": {"uid": "u2"}})

    await cluster.write_status(read, {"observedGeneration": 1})

    assert stored.object["status"] == {"observedGeneration": -1}


async def test_who_always_comes_second_gives_up_for_now(cluster, stored):
    stored.meddle = lambda: stored.change({"metadata": {"labels": {"turn": str(stored.object["metadata"])}}})

    with pytest.raises(Transient, match="changed 3 times"):
        await cluster.write_status(stored.resource(), {"observedGeneration": 1})

    assert stored.writes == 0


async def test_the_status_and_finalizer_of_an_object_that_is_gone_need_no_writing(cluster, stored):
    stored.change({"metadata": {"finalizers": [FINALIZER]}})
    read = stored.resource()
    stored.object = None

    await cluster.write_status(read, {"observedGeneration": 1})
    await cluster.set_finalizer(read, False)

    assert await cluster.get(Ref("QdrantCollection", "team", "zoo")) is None


async def test_a_finalizer_that_did_not_get_onto_the_object_stops_the_reconciler(cluster, stored):
    """Else it would make something in Qdrant that nobody cleans up."""
    read = stored.resource()
    stored.object = None

    with pytest.raises(Transient):
        await cluster.set_finalizer(read, True)


async def test_finalizers_of_others_stay(cluster, stored):
    stored.change({"metadata": {"finalizers": ["others/one"]}})

    guarded = await cluster.set_finalizer(stored.resource(), True)
    assert guarded.meta.finalizers == ["others/one", FINALIZER]

    await cluster.set_finalizer(guarded, False)
    assert stored.object["metadata"]["finalizers"] == ["others/one"]


async def test_a_finalizer_that_is_as_wanted_is_not_written(cluster, stored):
    guarded = await cluster.set_finalizer(stored.resource(), True)

    assert await cluster.set_finalizer(guarded, True) is guarded
    assert stored.writes == 1


async def test_a_finalizer_is_not_set_on_what_changed_since_it_was_read(cluster, stored):
    read = stored.resource()
    stored.change({"metadata": {"finalizers": ["others/one"]}})

    with pytest.raises(Transient):
        await cluster.set_finalizer(read, True)

    assert stored.object["metadata"]["finalizers"] == ["others/one"]


@given(st.text(alphabet="aé漢😀", max_size=600))
def test_a_cut_text_fits_into_an_event_and_says_that_it_was_cut(text):
    short = cut_note(text, NOTE_BYTES)

    assert len(short.encode()) <= NOTE_BYTES
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))

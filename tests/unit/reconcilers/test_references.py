"""Whom to wake when a resource changes."""

from dataclasses import replace

from vectorops.api.meta import ObjectMeta, Ref, Resource
from vectorops.reconcilers.references import References, refers, remembered_connection, target

CONNECTION = Ref("QdrantConnection", "zoo", "main")
COLLECTION = Ref("QdrantCollection", "zoo", "animals")
LIONS, BIRDS = Ref("PointSet", "zoo", "lions"), Ref("PointSet", "zoo", "birds")


def known() -> References:
    references = References()
    references.update(_resource(COLLECTION, connectionRef={"name": "main"}))
    for point_set in (LIONS, BIRDS):
        references.update(_resource(point_set, collectionRef={"name": "animals"}))
    return references


def test_a_connection_wakes_everything_that_hangs_on_it_and_not_only_its_collections() -> None:
    assert known().woken_by(CONNECTION) == {COLLECTION, LIONS, BIRDS}


def test_a_collection_wakes_its_sets_and_its_connection_which_may_wait_to_be_deleted() -> None:
    assert known().woken_by(COLLECTION) == {CONNECTION, LIONS, BIRDS}


def test_a_set_wakes_those_of_its_siblings_that_want_ids_of_others_and_no_more() -> None:
    """Else the end of one of 300 sets would have all the others looked at."""
    references = known()
    assert references.woken_by(LIONS) == {COLLECTION}

    assert references.looked_at(BIRDS, {"points": {"conflicts": 1}})
    assert references.woken_by(LIONS) == {COLLECTION, BIRDS}
    assert references.woken_by(BIRDS) == {COLLECTION}

    references.looked_at(BIRDS, {"points": {"conflicts": 0}})
    assert references.woken_by(LIONS) == {COLLECTION}


def test_that_a_set_wants_ids_of_others_is_new_once_and_outlives_a_change_of_its_spec() -> None:
    references = known()
    assert references.looked_at(BIRDS, {"points": {"conflicts": 1}})
    assert not references.looked_at(BIRDS, {"points": {"conflicts": 2}})

    references.update(_resource(BIRDS, collectionRef={"name": "animals"}))
    assert references.woken_by(LIONS) == {COLLECTION, BIRDS}

    references.remove(BIRDS)
    assert references.woken_by(LIONS) == {COLLECTION}


def test_a_set_that_gives_ids_up_wakes_the_sibling_that_others_hold_ids_of_and_no_other() -> None:
    references = known()
    assert references.contesting(LIONS) == set()
    references.looked_at(BIRDS, {"points": {"desired": 2, "conflicts": 1}})
    assert references.contesting(LIONS) == {BIRDS}
    references.looked_at(BIRDS, {"points": {"desired": 2, "conflicts": 0}})
    assert references.contesting(LIONS) == set()
    assert references.contesting(Ref("PointSet", "zoo", "unknown")) == set()


def test_a_set_hangs_on_a_connection_through_its_collection_in_whatever_order_they_came() -> None:
    references = References()
    references.update(_resource(LIONS, collectionRef={"name": "animals"}))
    assert references.connection(LIONS) is None

    references.update(_resource(COLLECTION, connectionRef={"name": "main"}))
    assert references.connection(LIONS) == CONNECTION


def test_a_connection_of_the_cluster_wakes_its_users_in_all_namespaces_and_no_connection_of_its_name() -> None:
    references, shared = known(), Ref("ClusterQdrantConnection", "", "main")
    others = [Ref("QdrantCollection", namespace, "animals") for namespace in ("park", "sea")]
    for other in others:
        references.update(_resource(other, connectionRef={"name": "main", "kind": "ClusterQdrantConnection"}))

    assert references.woken_by(shared) == set(others)
    assert references.woken_by(others[0]) == {shared}
    assert references.connection(others[0]) == shared
    assert references.woken_by(CONNECTION) == {COLLECTION, LIONS, BIRDS}


def test_the_kind_that_is_named_is_the_one_that_is_needed() -> None:
    shared = Ref("ClusterQdrantConnection", "", "main")
    collection = _resource(COLLECTION, connectionRef={"name": "main", "kind": "ClusterQdrantConnection"})
    target = {"connection": "main", "collection": "animals", "incarnation": "1"}
    before = replace(_resource(LIONS, collectionRef={"name": "animals"}), status={"target": target})
    now = replace(before, status={"target": target | {"connectionKind": "ClusterQdrantConnection"}})

    assert [refers(each, shared) for each in (collection, before, now)] == [True, False, True]
    assert [refers(each, CONNECTION) for each in (collection, before, now)] == [False, True, False]


def test_a_kind_of_a_later_release_is_nobody() -> None:
    collection = _resource(COLLECTION, connectionRef={"name": "main", "kind": "LaterConnection"})

    assert target(collection) is None
    assert (
        remembered_connection(replace(collection, status={"target": {"connection": "a", "connectionKind": "B"}}))
        is None
    )


def test_what_is_gone_wakes_nobody_later() -> None:
    references = known()
    references.remove(BIRDS)
    assert references.woken_by(COLLECTION) == {CONNECTION, LIONS}


def test_a_resource_is_woken_by_those_that_its_last_verdict_rests_on() -> None:
    references, elsewhere = known(), Ref("QdrantCollection", "other", "holder")
    references.rest(COLLECTION, frozenset({elsewhere}))

    assert references.woken_by(elsewhere) == references.resting_on(elsewhere) == {COLLECTION}
    references.update(_resource(COLLECTION, connectionRef={"name": "main"}))
    assert references.resting_on(elsewhere) == {COLLECTION}, "only the next verdict ends that"

    references.rest(COLLECTION, frozenset())
    assert references.resting_on(elsewhere) == set()


def test_what_is_gone_rests_on_nothing() -> None:
    references = known()
    references.rest(COLLECTION, frozenset({LIONS}))
    references.remove(COLLECTION)

    assert references.resting_on(LIONS) == set()


def test_a_set_that_moved_to_another_collection_is_woken_by_that_one_alone() -> None:
    references = known()
    references.update(_resource(LIONS, collectionRef={"name": "cats"}))
    assert references.woken_by(COLLECTION) == {CONNECTION, BIRDS}
    assert references.woken_by(Ref("QdrantCollection", "zoo", "cats")) == {LIONS}


def test_a_set_needs_the_connection_that_its_points_came_by_even_when_its_collection_is_gone() -> None:
    point_set = _resource(LIONS, collectionRef={"name": "animals"})
    remembering = Resource("PointSet", point_set.meta, point_set.spec, {"target": {"connection": "main"}})

    assert refers(remembering, CONNECTION)
    assert not refers(remembering, Ref("QdrantConnection", "elsewhere", "main"))
    assert not refers(point_set, CONNECTION)


def _resource(ref: Ref, **spec: object) -> Resource:
    return Resource(ref.kind, ObjectMeta(name=ref.name, namespace=ref.namespace), dict(spec), {})

"""The main road: a connection, a collection and a set of points, applied, changed and deleted, with the operator as
a process.
"""

from integration.conftest import StartOperator
from integration.world import Stored, collection, connection, point, point_set
from servers.kubeapi import KubeApi, is_ready
from servers.qdrant import QdrantServer


async def test_what_is_declared_comes_to_be_and_goes_again(
    api: KubeApi, namespace: str, qdrant: QdrantServer, stored: Stored, start_operator: StartOperator
) -> None:
    start_operator(forked=False)
    name = f"zoo-{namespace}"
    for resource in (
        connection(namespace, qdrant),
        collection(namespace, name, vectors=[{"name": "text", "size": 3}], deletionPolicy="Delete"),
        point_set(namespace, "animals", name, [point("lion", text=[1, 0, 0]), point(7, text=[0, 1, 0])]),
    ):
        await api.apply(resource)

    await api.wait_for("PointSet", namespace, "animals", is_ready)
    assert await stored.count(name) == 2

    await api.apply(point_set(namespace, "animals", name, [point(7, text=[0, 0, 1])]))
    await api.wait_for("PointSet", namespace, "animals", is_ready)
    assert await stored.vectors(name) == {7: {"text": [0.0, 0.0, 1.0]}}

    await api.delete("QdrantConnection", namespace, "main")
    await api.delete("QdrantCollection", namespace, name)
    await api.delete("PointSet", namespace, "animals")
    for kind, each in (("PointSet", "animals"), ("QdrantCollection", name), ("QdrantConnection", "main")):
        await api.wait_gone(kind, namespace, each)
    assert not await stored.exists(name)

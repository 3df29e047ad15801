"""What `kubectl get` shows: the API server's own tables, made of the printer columns of the CRDs."""

import httpx

from integration.team import Team, unique
from integration.world import point
from servers.kube import KubeServer

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def names(kube: KubeServer, team: Team, plural: str, selector: str) -> list[str]:
    """`kubectl get PLURAL --field-selector SELECTOR`: the names of what is found."""
    answer = httpx.get(
        f"{kube.url}/apis/vectorops.dev/v1alpha1/namespaces/{team.namespace}/{plural}",
        params={"fieldSelector": selector},
        headers={"authorization": f"Bearer {kube.token}"},
        verify=kube.tls,
    )
    return [item["metadata"]["name"] for item in answer.raise_for_status().json()["items"]]


def row(kube: KubeServer, team: Team, plural: str, name: str) -> dict[str, str]:
    """`kubectl get PLURAL NAME`: the cells by column, as kubectl prints them, without the age, which moves."""
    answer = httpx.get(
        f"{kube.url}/apis/vectorops.dev/v1alpha1/namespaces/{team.namespace}/{plural}/{name}",
        headers={"accept": TABLE, "authorization": f"Bearer {kube.token}"},
        verify=kube.tls,
    )
    table = answer.raise_for_status().json()
    shown = zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
    return {
        column["name"]: "<none>" if cell is None else str(cell)
        for column, cell in shown
        if column["priority"] == 0 and column["name"] not in {"Name", "Age"}
    }


async def test_a_row_tells_the_story_of_a_collection(kube: KubeServer, team: Team) -> None:
    name, physical = unique("story"), unique("physical")
    vectors = [{"name": "text", "size": 384}, {"name": "image", "size": 512, "distance": "Dot", "datatype": "float16"}]
    await team.collection(name, collectionName=physical, vectors=vectors, sparseVectors=[{"name": "terms"}])
    fine = {
        "Ready": "True",
        "Reason": "Succeeded",
        "Connection": "main",
        "Collection": physical,
        "Schema": "image 512 Dot float16, text 384 Cosine, terms sparse",
        "Migration": "<none>",
    }
    assert row(kube, team, "qdrantcollections", name) == fine

    await team.look_again("QdrantCollection", name)
    assert row(kube, team, "qdrantcollections", name) == fine

    vectors[0]["size"] = 768
    await team.collection(name, collectionName=physical, vectors=vectors, sparseVectors=[{"name": "terms"}])
    held = row(kube, team, "qdrantcollections", name)
    assert (held["Ready"], held["Reason"]) == ("False", "PlanHeldBack")


async def test_a_row_tells_the_story_of_a_point_set(kube: KubeServer, team: Team) -> None:
    name = unique("story")
    await team.collection(name)
    await team.points(name, name, [point(1, 1, 0, 0), point(2, 1, 0, 0), point(3, 1, 0)])

    assert row(kube, team, "pointsets", name) == {
        "Ready": "False",
        "Reason": "PointsFailed",
        "Collection": name,
        "Points": "3",
        "Synced": "2",
    }


async def test_a_row_tells_the_story_of_a_connection(kube: KubeServer, team: Team) -> None:
    url = (await team.get("QdrantConnection", "main"))["spec"]["url"]

    await team.look_again("QdrantConnection", "main")

    assert row(kube, team, "qdrantconnections", "main") == {
        "Ready": "True",
        "Reason": "Succeeded",
        "URL": url,
        "Version": "1.16.3",
    }


async def test_a_field_selector_finds_what_needs_a_resource(kube: KubeServer, team: Team) -> None:
    one, other = unique("one"), unique("other")
    await team.collection(one)
    await team.collection(other)
    await team.points("cats", one, [point(1, 1, 0, 0)])
    await team.points("dogs", other, [point(1, 1, 0, 0)])

    assert names(kube, team, "pointsets", f"spec.collectionRef.name={one}") == ["cats"]
    assert {one, other} <= set(names(kube, team, "qdrantcollections", "spec.connectionRef.name=main"))
    assert names(kube, team, "qdrantcollections", "spec.connectionRef.name=another") == []

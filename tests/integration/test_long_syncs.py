"""A sync that takes long says how far it is, in the status, in metrics and in events, until it has ended."""

import json
from threading import Event

from integration.conftest import StartOperator
from integration.prometheus import scrape
from integration.team import Team, unique
from integration.world import Stored, point_set
from servers.files import FileServer, Served
from servers.kubeapi import KubeApi, is_ready
from servers.qdrant import QdrantServer

ROWS = b"".join(json.dumps({"id": id, "vector": [id, 0, 1]}).encode() + b"\n" for id in range(1, 31))


async def test_how_far_a_long_sync_is_can_be_seen_until_it_ends(
    api: KubeApi, namespace: str, qdrant: QdrantServer, stored: Stored, start_operator: StartOperator
) -> None:
    operator, team = start_operator(), Team(api, namespace)
    await team.connection(qdrant)
    name = unique("slow")
    going_on = Event()
    with FileServer() as server:
        # Less than what the operator waits for the next bytes.
        server.files["/rows.jsonl"] = Served(ROWS, etag='"1"', during=lambda: going_on.wait(50))
        await team.collection(name)
        slow = point_set(team.namespace, name, name, [])
        del slow["spec"]["points"]
        slow["spec"]["source"] = {"http": {"urls": [f"{server.url}/rows.jsonl"]}}
        try:
            await api.apply(slow)
            seen = await team.wait("PointSet", name, lambda found: "progress" in found.get("status", {}))
            shown = scrape(operator)
        finally:
            going_on.set()
        ready = await team.wait("PointSet", name, is_ready)

    assert seen["status"]["progress"] == {"phase": "Fetching", "done": 0, "total": len(ROWS)}
    assert shown.value("vectorops_sync_expected", phase="fetching") == len(ROWS)
    assert "progress" not in ready["status"]
    assert "vectorops_sync_done" not in scrape(operator).label_names()
    assert await stored.count(name) == 30
    assert await team.event(name, "Progressing")
    begun = [note for note in await team.events(name, "Progressing") if "long pass" in note]
    assert begun == ["a long pass has begun: fetching bytes"]
    ended = [note for note in await team.events(name, "Succeeded") if "long pass" in note]
    assert ended == ["the long pass has ended: 30 of 30 points as declared, 30 written, 0 deleted"]

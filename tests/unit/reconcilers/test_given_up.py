"""Which of its points a sibling no longer declares, so that another set may take them over."""

from typing import Any, cast

import pytest

from vectorops.api.meta import JsonObject, ObjectMeta, Resource
from vectorops.local.cluster import LocalCluster
from vectorops.reconcilers.base import Context
from vectorops.reconcilers.situation import _given_up_by


def point_set(name: str, **spec: Any) -> Resource:
    return Resource(
        "PointSet", ObjectMeta(name=name, namespace="team"), {"collectionRef": {"name": "docs"}, **spec}, {}
    )


INLINE: JsonObject = {"points": [{"id": 1}]}
FROM_FILES: JsonObject = {"source": {"files": {"path": "a.parquet"}}}


@pytest.mark.parametrize(
    ("holder", "expected"),
    [(INLINE, {2}), (INLINE | {"suspend": True}, set()), (FROM_FILES, set())],
    ids=["inline", "suspended", "with a source"],
)
async def test_a_set_gives_up_what_its_own_spec_says_it_no_longer_declares(holder, expected):
    taker = point_set("taker", points=[])
    cluster = LocalCluster([point_set("holder", **holder), taker], {})
    context = Context(cluster, cast("Any", None), cast("Any", None), "test", "writer")

    assert await _given_up_by(context, taker)("test/team/holder", [1, 2]) == expected

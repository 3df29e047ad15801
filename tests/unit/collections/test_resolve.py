"""What a spec means, and which specs mean nothing."""

import pytest

from unit.collections.specs import TEXT, declare
from vectorops.collections.resolve import schema_status
from vectorops.errors import Terminal


def test_a_collection_has_the_name_of_its_resource_unless_it_says_another():
    assert declare("zoo").name == "zoo"
    assert declare("zoo", collectionName="docs").name == "docs"


def test_a_vector_gets_the_promised_defaults_and_nothing_else():
    assert declare(vectors=[TEXT]).vectors == {"text": {"size": 4, "distance": "Cosine", "datatype": "float32"}}


def test_every_verbatim_option_reaches_qdrant_under_its_own_name():
    wanted = declare(
        vector={"size": 4, "params": {"on_disk": True, "memory": "cold"}, "multivector": {"comparator": "max_sim"}},
        sparseVectors=[{"name": "terms", "modifier": "idf", "index": {"on_disk": True}}],
        params={"shard_number": 2},
        optimizersConfig={"new_in_2_0": {"deep": [1]}},
    )

    assert wanted.vectors[""]["memory"] == "cold"
    assert wanted.vectors[""]["multivector_config"] == {"comparator": "max_sim"}
    assert wanted.sparse_vectors == {"terms": {"modifier": "idf", "index": {"on_disk": True}}}
    assert wanted.config == {"params": {"shard_number": 2}, "optimizers_config": {"new_in_2_0": {"deep": [1]}}}


def test_nulls_and_empty_blocks_declare_nothing():
    assert declare(hnswConfig={"m": None}, strictModeConfig={}, params={}).hash == declare().hash


def test_indexes_and_their_paths_are_in_canonical_form():
    wanted = declare(payloadIndexes=[{"field": '"author"', "schema": {"type": "keyword", "is_tenant": False}}])

    assert wanted.indexes == {"author": {"type": "keyword"}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"vector": {"size": 4, "params": {"size": 8}}}, r"spec\.vector\.params\.size: belongs into size"),
        (
            {"vectors": [{**TEXT, "params": {"hnsw_config": {}}}]},
            r"spec\.vectors\[0\]\.params\.hnsw_config: .*hnswConfig",
        ),
        ({"params": {"vectors": {}}}, r"spec\.params\.vectors: belongs into spec\.vectors"),
        (
            {"params": {"optimizers_config": {}}},
            r"spec\.params\.optimizers_config: belongs into spec\.optimizersConfig",
        ),
        ({"params": {"metadata": {"team": "a"}}}, r"spec\.params\.metadata: is kept by the operator"),
        ({"aliases": ["zoo"]}, r"spec\.aliases: 'zoo' is the name of the collection itself"),
        (
            {"payloadIndexes": [{"field": f, "schema": {"type": "bool"}} for f in ("a", '"a"')]},
            r"spec\.payloadIndexes\[1\]\.field: another index is on 'a' already",
        ),
        ({"payloadIndexes": [{"field": "a", "schema": {}}]}, r"spec\.payloadIndexes\[0\]\.schema\.type: must name"),
        ({"payloadIndexes": [{"field": "a", "schema": {"type": 3}}]}, r"spec\.payloadIndexes\[0\]\.schema\.type"),
    ],
)
def test_a_spec_that_means_nothing_is_refused_with_its_field(spec, words):
    with pytest.raises(Terminal, match=words) as refused:
        declare("zoo", **spec)

    assert refused.value.reason == "InvalidSpec"


def test_the_schema_is_told_in_one_line():
    wanted = declare(
        vectors=[
            TEXT,
            {"name": "image", "size": 512, "distance": "Dot", "datatype": "float16"},
            {"name": "tokens", "size": 128, "multivector": {"comparator": "max_sim"}},
        ],
        sparseVectors=[{"name": "terms"}],
    )

    status = schema_status(wanted)

    assert status.summary == "image 512 Dot float16, text 4 Cosine, tokens 128 Cosine multivector, terms sparse"
    assert [vector.kind for vector in status.vectors] == ["dense", "dense", "multivector", "sparse"]
    assert [vector.sources["kind"] for vector in status.vectors if vector.kind == "sparse"] == ["declared"]


def test_the_line_stays_short_with_many_vectors():
    wanted = declare(vectors=[{"name": f"v{n:02}", "size": 4} for n in range(40)])

    status = schema_status(wanted)

    assert status.summary.endswith("v04 4 Cosine, and 35 more")
    assert len(status.vectors) == 40


def test_the_unnamed_vector_has_no_name_in_the_line():
    assert schema_status(declare(vector={"size": 384})).summary == "384 Cosine"

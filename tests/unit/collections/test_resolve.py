"""What a spec means, and which specs mean nothing."""

import pytest

from unit.collections.specs import EMBEDDER, TEXT, declare, model
from vectorops.collections.resolve import schema_status
from vectorops.errors import Terminal


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
        ({"params": {"metadata": {"team": "a"}}}, r"spec\.params\.metadata: belongs into spec\.metadata"),
        (
            {"metadata": {"a": 1, "vectorops.dev/mark": {}}},
            r"spec\.metadata: the key 'vectorops\.dev/mark': keys that begin with",
        ),
        ({"metadata": {"n": 2**64}}, r"spec\.metadata: cannot be written as JSON"),
        ({"metadata": {"deep": ["\ud800"]}}, r"spec\.metadata: cannot be written as JSON"),
        (
            {"shardKeys": [{"name": "acme"}]},
            r"spec\.shardKeys: Qdrant takes shard keys with params\.sharding_method: custom",
        ),
        ({"aliases": ["zoo"]}, r"spec\.aliases: 'zoo' is the name of the collection itself"),
        (
            {"payloadIndexes": [{"field": f, "schema": {"type": "bool"}} for f in ("a", '"a"')]},
            r"spec\.payloadIndexes\[1\]\.field: another index is on 'a' already",
        ),
        *(
            (
                {"payloadIndexes": [{"field": path, "schema": {"type": "bool"}}]},
                r"spec\.payloadIndexes\[0\]\.field: .* double quotes",
            )
            for path in ("a b", "a.", ".a", "a..b", "a[x]", "a[-1]", '"a"b', "a/b", "a\n")
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


# ---- embedders


def dense(**vector):
    """One vector "text" with an embedder."""
    return {"vectors": [{"name": "text", "embedder": EMBEDDER, **vector}]}


def sparse(**vector):
    """One sparse vector "text" with an embedder."""
    return {"sparseVectors": [{"name": "text", "embedder": EMBEDDER, **vector}]}


IDF = {"kind": "sparse", "size": None, "modifier": "idf", "sources": {"modifier": "its list of models"}}
TOKENS = {"kind": "multivector", "size": 96, "distance": "Dot"}


@pytest.mark.parametrize(
    ("known", "declared", "params"),
    [
        ({}, dense(), {"size": 4, "distance": "Cosine", "datatype": "float32"}),
        ({"distance": "Euclid"}, dense(), {"size": 4, "distance": "Euclid", "datatype": "float32"}),
        (
            {"distance": "Euclid"},
            dense(distance="Euclid", datatype="float16", params={"on_disk": True}),
            {"size": 4, "distance": "Euclid", "datatype": "float16", "on_disk": True},
        ),
        ({}, dense(distance="Manhattan"), {"size": 4, "distance": "Manhattan", "datatype": "float32"}),
        (
            {"distance": "Cosine", "normalized": True},
            dense(distance="Dot"),
            {"size": 4, "distance": "Dot", "datatype": "float32"},
        ),
        (
            TOKENS,
            dense(),
            {
                "size": 96,
                "distance": "Dot",
                "datatype": "float32",
                "multivector_config": {"comparator": "max_sim"},
            },
        ),
        (
            TOKENS,
            dense(multivector={"comparator": "max_sim"}),
            {
                "size": 96,
                "distance": "Dot",
                "datatype": "float32",
                "multivector_config": {"comparator": "max_sim"},
            },
        ),
    ],
)
def test_a_dense_vector_looks_as_its_model_says(known, declared, params):
    assert declare(embedders={"text": model(**known)}, **declared).vectors == {"text": params}


@pytest.mark.parametrize(
    ("known", "declared", "params"),
    [
        (IDF, sparse(), {"modifier": "idf"}),
        (IDF, sparse(modifier="idf", index={"on_disk": True}), {"modifier": "idf", "index": {"on_disk": True}}),
        (IDF | {"modifier": None}, sparse(), {}),
        (IDF | {"modifier": None}, sparse(modifier="idf"), {"modifier": "idf"}),
    ],
)
def test_a_sparse_vector_is_weighed_as_its_model_says(known, declared, params):
    assert declare(embedders={"text": model(**known)}, **declared).sparse_vectors == {"text": params}


def test_the_unnamed_vector_has_an_embedder_too():
    assert declare(embedders={"": model()}, vector={"embedder": EMBEDDER}).vectors[""]["size"] == 4


@pytest.mark.parametrize(
    ("known", "declared", "words"),
    [
        (
            {"distance": "Cosine", "sources": {"distance": "config_sentence_transformers.json"}},
            dense(distance="Euclid"),
            (
                "spec.vectors[0].distance: Euclid is declared, and model a/model at 1234 states Cosine "
                "(config_sentence_transformers.json): remove `distance`"
            ),
        ),
        (
            {"distance": "Cosine"},
            dense(distance="Dot"),
            "spec.vectors[0].distance: Dot is declared, and model a/model at 1234 states Cosine",
        ),
        (
            {},
            dense(multivector={"comparator": "max_sim"}),
            (
                "spec.vectors[0].multivector: max_sim is declared, and model a/model at 1234 gives one vector for a "
                "text: remove `multivector`"
            ),
        ),
        (
            {},
            dense(datatype="uint8"),
            "spec.vectors[0].datatype: uint8 is declared, and model a/model at 1234 gives fractions",
        ),
        ({"size": 65537}, dense(), "gives size 65537, and Qdrant takes at most 65536"),
        (
            IDF,
            dense(),
            (
                "spec.vectors[0].embedder: model a/model at 1234 gives sparse vectors: declare it under "
                "spec.sparseVectors"
            ),
        ),
        (
            {},
            sparse(),
            (
                "spec.sparseVectors[0].embedder: model a/model at 1234 gives dense vectors of size 4: declare it "
                "under spec.vectors"
            ),
        ),
        (TOKENS, sparse(), "gives multivector vectors of size 96: declare it under spec.vectors"),
        (
            IDF,
            sparse(modifier="none"),
            (
                "spec.sparseVectors[0].modifier: none is declared, and model a/model at 1234 states idf (its list "
                "of models): remove `modifier`"
            ),
        ),
    ],
)
def test_what_contradicts_the_model_is_refused_with_both_values_and_what_to_do(known, declared, words):
    with pytest.raises(Terminal) as refused:
        declare(embedders={"text": model(**known)}, **declared)

    assert refused.value.reason == "InvalidSpec"
    assert words in refused.value.message


def test_status_tells_the_model_and_where_each_value_comes_from():
    stated = {"kind": "a", "size": "b", "distance": "c", "revision": "the hub"}
    made_by = model(distance="Dot", sources=stated, document_prompt="passage: ", dimensions=4)

    (vector,) = schema_status(declare(embedders={"text": made_by}, **dense(datatype="float16"))).vectors

    assert vector.embedder is not None
    assert vector.embedder.dump() == {
        "provider": "sentenceTransformers",
        "model": "a/model",
        "revision": "1234",
        "dimensions": 4,
        "documentPrompt": "passage: ",
        "identity": made_by.identity,
    }
    assert vector.sources == {
        "kind": "a",
        "size": "b",
        "distance": "c",
        "revision": "the hub",
        "datatype": "declared",
    }


def test_status_tells_what_was_declared_and_what_is_a_default():
    wanted = declare(vectors=[TEXT, {"name": "image", "size": 2, "distance": "Dot"}], sparseVectors=[{"name": "terms"}])

    assert {vector.name: vector.sources for vector in schema_status(wanted).vectors} == {
        "text": {"kind": "declared", "size": "declared", "distance": "default", "datatype": "default"},
        "image": {"kind": "declared", "size": "declared", "distance": "declared", "datatype": "default"},
        "terms": {"kind": "declared"},
    }


def test_a_model_that_says_nothing_of_distance_leaves_the_default_or_what_is_declared():
    silent = {"text": model()}

    told = schema_status(declare(embedders=silent, **dense())).vectors
    declared = schema_status(declare(embedders=silent, **dense(distance="Dot"))).vectors

    assert [vector.sources["distance"] for vector in (*told, *declared)] == ["default", "declared"]

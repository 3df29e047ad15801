"""What a reader is told: of the collection that serves, whatever is declared by then."""

import json
from dataclasses import replace
from typing import Any

from unit.collections.specs import declare, model
from vectorops.api.collection import PhysicalCollection
from vectorops.api.connection import QdrantConnectionSpec
from vectorops.api.meta import JsonObject
from vectorops.collections.reader_contract import DOCUMENT, Served, reader_content
from vectorops.embedders.base import Resolved
from vectorops.qdrant.observe import Observed

CONNECTION = QdrantConnectionSpec.model_validate(
    {
        "url": "https://qdrant.search.svc:6333",
        "grpcPort": 7334,
        "apiKeySecretRef": {"name": "the-secret", "key": "api-key"},
    }
)
HOSTED = Resolved(
    declared={"openAI": {"model": "small", "extraBody": {"queries": {"input_type": "query"}}}},
    provider="openAI",
    model="small",
    kind="dense",
    size=8,
    dimensions=8,
    base_url="https://models.example.org/v1",
    document_prompt="passage: ",
    query_prompt="query: ",
    document_extra_body={"input_type": "passage"},
)


def serve(**more: Any) -> Served:
    """An aliased collection with a vector of each kind."""
    wanted = declare(
        vectors=[
            {"name": "text", "size": 4},
            {"name": "hosted", "size": 8, "distance": "Dot", "datatype": "float16"},
            {"name": "tokens", "size": 2, "multivector": {"comparator": "max_sim"}},
        ],
        sparseVectors=[{"name": "terms"}],
    )
    observed = Observed("zoo-1a2b3c4d", True, vectors=wanted.vectors, sparse_vectors=wanted.sparse_vectors)
    served = Served(
        name="zoo",
        aliases={"zoo-too", "animals"},
        collection=PhysicalCollection(name="zoo-1a2b3c4d", incarnation="1a2b3c4d5e6f"),
        observed=observed,
        embedders={"text": model(query_prompt="ask: "), "hosted": HOSTED},
    )
    return replace(served, **more)


def document(served: Served) -> JsonObject:
    found: JsonObject = json.loads(reader_content(CONNECTION, served)[DOCUMENT])
    return found


def test_it_says_where_to_ask_and_which_physical_collection():
    found = document(serve())

    assert {name: value for name, value in found.items() if name != "vectors"} == {
        "version": 1,
        "url": "https://qdrant.search.svc:6333",
        "grpcPort": 7334,
        "name": "zoo",
        "aliases": ["animals", "zoo-too"],
        "collection": "zoo-1a2b3c4d",
        "incarnation": "1a2b3c4d5e6f",
    }


def test_it_says_what_each_vector_is_and_how_a_question_becomes_one():
    vectors = {vector.pop("name"): vector for vector in document(serve())["vectors"]}

    assert vectors["tokens"] == {"kind": "multivector", "size": 2, "distance": "Cosine", "datatype": "float32"}
    assert vectors["terms"] == {"kind": "sparse"}
    text = vectors["text"]["embedder"]
    assert (text["provider"], text["model"], text["revision"]) == ("sentenceTransformers", "a/model", "1234")
    assert text["queryPrompt"] == "ask: "
    hosted = vectors["hosted"]
    assert (hosted["kind"], hosted["size"], hosted["distance"], hosted["datatype"]) == ("dense", 8, "Dot", "float16")
    assert hosted["embedder"] == {
        "provider": "openAI",
        "model": "small",
        "dimensions": 8,
        "baseURL": "https://models.example.org/v1",
        "queryPrompt": "query: ",
        "queryExtraBody": {"input_type": "query"},
        "identity": HOSTED.identity,
    }


def test_variables_for_the_environment_name_the_alias_and_the_physical_collection():
    content = reader_content(CONNECTION, serve())

    assert {name: value for name, value in content.items() if name != DOCUMENT} == {
        "QDRANT_URL": "https://qdrant.search.svc:6333",
        "QDRANT_GRPC_PORT": "7334",
        "QDRANT_COLLECTION": "zoo",
        "QDRANT_PHYSICAL_COLLECTION": "zoo-1a2b3c4d",
    }


def test_a_collection_of_its_user_has_no_incarnation():
    assert document(serve(collection=PhysicalCollection(name="zoo")))["incarnation"] is None


def test_no_secret_is_named():
    assert "the-secret" not in str(reader_content(CONNECTION, serve()))


def test_the_same_collection_gives_the_same_bytes():
    as_before, served = serve(), serve(aliases=["animals", "zoo-too"])
    turned = replace(served.observed, vectors=dict(reversed([*served.observed.vectors.items()])))

    assert reader_content(CONNECTION, replace(served, observed=turned)) == reader_content(CONNECTION, as_before)

"""What vectors a collection has, as Qdrant describes it."""

from vectorops.points.schema import VectorSchema, point_schema
from vectorops.qdrant.database import UNNAMED
from vectorops.qdrant.observe import observed


def schema_of(**params):
    return point_schema(observed("zoo", {"config": {"params": params}}, {}))


def test_the_unnamed_vector_goes_under_the_empty_name():
    assert schema_of(vectors={"size": 4, "distance": "Dot", "datatype": None}) == {
        UNNAMED: VectorSchema("dense", 4, "Dot", "float32")
    }


def test_a_vector_may_be_named_size():
    named = {"size": {"size": 4, "distance": "Euclid", "datatype": "uint8"}}

    assert schema_of(vectors=named) == {"size": VectorSchema("dense", 4, "Euclid", "uint8")}


def test_multivectors_and_sparse_vectors_are_told_apart():
    multi = {"size": 2, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}
    sparse = {"terms": {"index": {"datatype": "float16"}}, "plain": {}, "bare": None}

    assert schema_of(vectors={"rows": multi}, sparse_vectors=sparse) == {
        "rows": VectorSchema("multivector", 2, "Cosine"),
        "terms": VectorSchema("sparse", 0, "Dot"),
        "plain": VectorSchema("sparse", 0, "Dot"),
        "bare": VectorSchema("sparse", 0, "Dot"),
    }


def test_a_collection_may_have_no_vectors():
    assert schema_of(vectors={}) == schema_of() == {}

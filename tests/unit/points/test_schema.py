"""What vectors a collection has, as Qdrant describes it."""

import pytest

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


def dense(distance="Cosine", datatype="float32", size=4, kind="dense"):
    return VectorSchema(kind, size, distance, datatype)


@pytest.mark.parametrize(
    ("here", "there", "keeps"),
    [
        (dense(), dense(), True),
        (dense(), dense(datatype="float16"), True),
        (dense(), dense("Dot"), False),
        (dense("Dot"), dense(), True),
        (dense("Dot"), dense("Euclid"), True),
        (dense("Dot"), dense("Manhattan", "uint8"), True),
        (dense(datatype="float16"), dense(datatype="float16"), True),
        (dense(datatype="float16"), dense(), False),
        (dense("Dot", "float16"), dense("Euclid", "float16"), True),
        (dense("Dot", "float16"), dense("Cosine", "float16"), False),
        (dense("Dot", "uint8"), dense("Dot", "uint8"), True),
        (dense("Dot", "uint8"), dense("Dot", "float16"), False),
        # Qdrant does not normalize uint8.
        (dense(), dense(datatype="uint8"), False),
        (dense(datatype="uint8"), dense(datatype="uint8"), True),
        (dense(datatype="uint8"), dense("Dot", "uint8"), False),
        (dense("Dot", "uint8"), dense(datatype="uint8"), True),
        # Datatypes of newer servers.
        (dense(datatype="turbo4"), dense(datatype="turbo4"), False),
        (dense(datatype="bfloat16"), dense(datatype="bfloat16"), False),
        (dense(), dense(datatype="turbo4"), True),
        (dense(), dense(size=8), False),
        (dense(), dense(kind="multivector"), False),
        (dense(kind="multivector"), dense(kind="multivector"), True),
        (VectorSchema("sparse", distance="Dot"), VectorSchema("sparse", distance="Dot"), True),
        (VectorSchema("sparse", distance="Dot"), dense("Dot"), False),
    ],
)
def test_a_stored_vector_is_kept_for_another_collection_if_nothing_of_it_was_lost(here, there, keeps):
    assert here.keeps_for(there) is keeps

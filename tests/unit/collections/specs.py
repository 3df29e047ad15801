"""Specs, plans and hypothesis strategies that the tests of `collections` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from vectorops.api.collection import QdrantCollectionSpec
from vectorops.api.meta import ObjectMeta, Resource
from vectorops.collections.apply import Applied, apply_plan
from vectorops.collections.plan import Plan, make_plan
from vectorops.collections.resolve import Desired, resolve_collection
from vectorops.embedders.base import Resolved
from vectorops.qdrant.marks import Mark, new_incarnation
from vectorops.qdrant.observe import observe
from vectorops.reconcilers.spec import RawSpec

VERSION = "1.16.3"
TEXT = {"name": "text", "size": 4}


EMBEDDER = {"sentenceTransformers": {"model": "a/model"}}
"""What stands in a spec; what it was resolved to is for the test to say."""


def declare(name: str = "zoo", embedders: Mapping[str, Resolved] | None = None, **spec: Any) -> Desired:
    """A collection from the fields of a spec, camelCase as in YAML. Default: one vector "text"."""
    if not spec.keys() & {"vector", "vectors", "sparseVectors"}:
        spec["vectors"] = [TEXT]
    raw = {"connectionRef": {"name": "main"}, **spec}
    physical = RawSpec(Resource("QdrantCollection", ObjectMeta(name=name), raw, {})).collection_name
    return resolve_collection(QdrantCollectionSpec.model_validate(raw), physical, embedders or {})


def model(name: str = "a/model", **known: Any) -> Resolved:
    """A dense model of four components, unless `known` says otherwise."""
    plain: dict[str, Any] = {"kind": "dense", "size": 4, "revision": "1234", "sources": {"size": "config.json"}}
    declared = {"sentenceTransformers": {"model": name}}
    return Resolved(declared, "sentenceTransformers", name, **(plain | known))


def embedded(made_by: Resolved, **spec: Any) -> Desired:
    """A collection whose one vector "text" is made by a model. spec: other fields of it."""
    return declare(embedders={"text": made_by}, vectors=[{"name": "text", "embedder": EMBEDDER}], **spec)


async def look(database: Any, wanted: Desired, version: str = VERSION) -> Plan:
    """The plan as a reconciler makes it."""
    seen = await observe(database, wanted.name, wanted.aliases)
    return make_plan(wanted, seen, version=version, last_applied=seen.mark.last_applied if seen.mark else {})


async def bring(
    database: Any, wanted: Desired, version: str = VERSION, *, approved: bool = False, **mark: Any
) -> Applied:
    """One reconciliation: look, plan, apply. mark: fields that the mark gets."""
    todo = await look(database, wanted, version)
    mine = todo.observed.mark or Mark(
        installation="test",
        namespace="default",
        name=wanted.name,
        uid="1",
        collection=wanted.name,
        incarnation=new_incarnation(),
    )
    fields = {name: getattr(mine, name) for name in mine.__dataclass_fields__} | mark
    return await apply_plan(database, todo, Mark(**fields), approved=approved)


# Options of Qdrant 1.16.3 with values that it takes.
_sizes = st.integers(1, 64)
_fraction = st.floats(0.5, 1.0, allow_nan=False, width=64)
_hnsw = st.fixed_dictionaries(
    {},
    optional={
        "m": st.integers(4, 64),
        "ef_construct": st.integers(4, 200),
        "full_scan_threshold": st.integers(10, 20_000),
        "on_disk": st.booleans(),
        "payload_m": st.integers(4, 64),
    },
)
_quantization = st.one_of(
    st.fixed_dictionaries(
        {
            "scalar": st.fixed_dictionaries(
                {"type": st.just("int8")}, optional={"quantile": _fraction, "always_ram": st.booleans()}
            )
        }
    ),
    st.fixed_dictionaries({"product": st.fixed_dictionaries({"compression": st.sampled_from(["x4", "x16"])})}),
    st.fixed_dictionaries({"binary": st.fixed_dictionaries({}, optional={"always_ram": st.booleans()})}),
)
_vector = st.fixed_dictionaries(
    {"size": _sizes},
    optional={
        "distance": st.sampled_from(["Cosine", "Dot", "Euclid", "Manhattan"]),
        "datatype": st.sampled_from(["float32", "float16", "uint8"]),
        "multivector": st.just({"comparator": "max_sim"}),
        "params": st.fixed_dictionaries({}, optional={"on_disk": st.booleans()}),
        "hnswConfig": _hnsw,
        "quantizationConfig": _quantization,
    },
)
_sparse = st.fixed_dictionaries(
    {},
    optional={
        "modifier": st.sampled_from(["idf", "none"]),
        "index": st.fixed_dictionaries(
            {},
            optional={
                "on_disk": st.booleans(),
                "full_scan_threshold": st.integers(0, 10_000),
                "datatype": st.sampled_from(["float32", "float16", "uint8"]),
            },
        ),
    },
)
_index = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("keyword")}, optional={"is_tenant": st.booleans(), "on_disk": st.booleans()}
    ),
    st.fixed_dictionaries({"type": st.just("integer")}, optional={"range": st.booleans(), "lookup": st.just(True)}),
    st.fixed_dictionaries(
        {"type": st.just("text")},
        optional={
            "lowercase": st.booleans(),
            "phrase_matching": st.booleans(),
            "stopwords": st.sampled_from(["english", {"custom": ["b", "a"], "languages": ["german", "english"]}]),
        },
    ),
)


def _named(names: list[str], of: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    chosen = st.dictionaries(st.sampled_from(names), of, min_size=1)
    return chosen.map(lambda found: [{"name": name, **params} for name, params in found.items()])


_vectors = st.one_of(
    st.fixed_dictionaries({"vector": _vector}),
    st.fixed_dictionaries({"vectors": _named(["text", "image", "a.b"], _vector)}),
    st.fixed_dictionaries(
        {"vectors": _named(["text", "image"], _vector), "sparseVectors": _named(["terms", "size"], _sparse)}
    ),
)
_rest = st.fixed_dictionaries(
    {},
    optional={
        "params": st.fixed_dictionaries(
            {},
            optional={
                "shard_number": st.integers(1, 4),
                "on_disk_payload": st.booleans(),
                "replication_factor": st.integers(1, 3),
                "read_fan_out_factor": st.integers(0, 3),
                "unknown_option": st.just(1),
            },
        ),
        "hnswConfig": _hnsw,
        "optimizersConfig": st.fixed_dictionaries(
            {},
            optional={
                "deleted_threshold": st.floats(0, 1, allow_nan=False),
                "indexing_threshold": st.integers(0, 100_000),
                "max_optimization_threads": st.one_of(st.just("auto"), st.integers(0, 4)),
            },
        ),
        "quantizationConfig": _quantization,
        "walConfig": st.fixed_dictionaries({}, optional={"wal_capacity_mb": st.integers(1, 64)}),
        "strictModeConfig": st.fixed_dictionaries(
            {},
            optional={
                "enabled": st.booleans(),
                "max_query_limit": st.integers(1, 2**64 - 1),
                "sparse_config": st.dictionaries(st.sampled_from(["terms"]), st.just({"max_length": 3}), min_size=1),
            },
        ),
        "payloadIndexes": st.dictionaries(st.sampled_from(["a", "b.c", '"d"']), _index).map(
            lambda found: [{"field": path, "schema": schema} for path, schema in found.items()]
        ),
        "aliases": st.lists(st.sampled_from(["docs", "live"]), unique=True),
        "metadata": st.dictionaries(
            st.sampled_from(["team", "cost", "sla"]), st.sampled_from([None, "a", 0.5, 1, {"x": None}, [1.5], {}])
        ),
    },
)
specs = st.builds(lambda vectors, rest: vectors | rest, _vectors, _rest)
"""Any spec of a collection that Qdrant 1.16.3 takes, some with an option that it does not know."""

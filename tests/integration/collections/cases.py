"""Declarations that every kind of Qdrant must take: all options at once, what changes in place, and what does not."""

from typing import Any

from unit.collections.specs import TEXT

EVERYTHING: dict[str, Any] = {
    "vectors": [
        {
            "name": "text",
            "size": 8,
            "distance": "Dot",
            "datatype": "float16",
            "params": {"on_disk": True},
            "hnswConfig": {"m": 24, "ef_construct": 120, "full_scan_threshold": 5000, "on_disk": True, "payload_m": 8},
            "quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.987654321, "always_ram": False}},
        },
        {"name": "tokens", "size": 4, "distance": "Euclid", "multivector": {"comparator": "max_sim"}},
        {
            "name": "bytes",
            "size": 4,
            "distance": "Manhattan",
            "datatype": "uint8",
            "quantizationConfig": {"binary": {}},
        },
        {"name": "with.dot", "size": 4, "quantizationConfig": {"product": {"compression": "x4", "always_ram": True}}},
    ],
    "sparseVectors": [
        {
            "name": "terms",
            "modifier": "idf",
            "index": {"on_disk": True, "full_scan_threshold": 77, "datatype": "float16"},
        },
        {"name": "bare"},
    ],
    "params": {
        "shard_number": 2,
        "sharding_method": "auto",
        "replication_factor": 2,
        "write_consistency_factor": 2,
        "read_fan_out_factor": 3,
        "on_disk_payload": False,
    },
    "hnswConfig": {
        "m": 20,
        "ef_construct": 99,
        "full_scan_threshold": 9999,
        "max_indexing_threads": 1,
        "on_disk": True,
        "payload_m": 10,
        "inline_storage": False,
    },
    "optimizersConfig": {
        "deleted_threshold": 0.3,
        "vacuum_min_vector_number": 2000,
        "default_segment_number": 3,
        "max_segment_size": 50_000,
        "memmap_threshold": 40_000,
        "indexing_threshold": 30_000,
        "flush_interval_sec": 7,
        "max_optimization_threads": 1,
    },
    "walConfig": {"wal_capacity_mb": 8, "wal_segments_ahead": 1, "wal_retain_closed": 2},
    "quantizationConfig": {"binary": {"always_ram": True, "encoding": "two_bits", "query_encoding": "scalar4bits"}},
    "strictModeConfig": {
        "enabled": True,
        "max_query_limit": 2**64 - 1,
        "max_timeout": 60,
        "unindexed_filtering_retrieve": True,
        "unindexed_filtering_update": False,
        "search_max_hnsw_ef": 512,
        "search_allow_exact": True,
        "search_max_oversampling": 2.7,
        "upsert_max_batchsize": 1000,
        "max_collection_vector_size_bytes": 2**40,
        "max_collection_payload_size_bytes": 2**40,
        "read_rate_limit": 100_000,
        "write_rate_limit": 100_000,
        "filter_max_conditions": 50,
        "condition_max_size": 60,
        "max_points_count": 1_000_000_001,
        "max_payload_index_count": 40,
        "multivector_config": {"tokens": {"max_vectors": 64}},
        "sparse_config": {"terms": {"max_length": 256}},
    },
    "payloadIndexes": [
        {"field": "kind", "schema": {"type": "keyword", "is_tenant": True, "on_disk": True}},
        {"field": '"quoted"', "schema": {"type": "keyword"}},
        {"field": '"weird key".b', "schema": {"type": "uuid", "on_disk": False}},
        {"field": "list[].year", "schema": {"type": "integer", "lookup": True, "range": False}},
        {"field": "number", "schema": {"type": "integer"}},
        {"field": "price", "schema": {"type": "float", "is_principal": True}},
        {"field": "when", "schema": {"type": "datetime", "is_principal": False}},
        {"field": "where", "schema": {"type": "geo", "on_disk": True}},
        {"field": "sure", "schema": {"type": "bool"}},
        {
            "field": "body",
            "schema": {
                "type": "text",
                "tokenizer": "multilingual",
                "min_token_len": 2,
                "max_token_len": 20,
                "lowercase": False,
                "phrase_matching": True,
                "ascii_folding": True,
                "on_disk": True,
                "stemmer": {"type": "snowball", "language": "english"},
                "stopwords": {"custom": ["zebra", "ape", "ape"], "languages": ["german", "english"]},
            },
        },
        {"field": "title", "schema": {"type": "text", "stopwords": "english"}},
    ],
}

ONE_INDEX: dict[str, Any] = {"strictModeConfig": {"enabled": True, "max_payload_index_count": 1}}

IN_PLACE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vector on_disk": ({}, {"vectors": [{**TEXT, "params": {"on_disk": True}}]}),
    "unnamed vector on_disk": ({"vector": {"size": 4}}, {"vector": {"size": 4, "params": {"on_disk": True}}}),
    "vector hnsw": ({}, {"vectors": [{**TEXT, "hnswConfig": {"m": 8, "payload_m": 4}}]}),
    "vector quantization": ({}, {"vectors": [{**TEXT, "quantizationConfig": {"binary": {}}}]}),
    "vector quantization off": ({"vectors": [{**TEXT, "quantizationConfig": {"binary": {}}}]}, {}),
    "unnamed vector quantization off": (
        {"vector": {"size": 4, "quantizationConfig": {"scalar": {"type": "int8"}}}},
        {"vector": {"size": 4}},
    ),
    "sparse modifier": ({"sparseVectors": [{"name": "s"}]}, {"sparseVectors": [{"name": "s", "modifier": "idf"}]}),
    "sparse modifier off": ({"sparseVectors": [{"name": "s", "modifier": "idf"}]}, {"sparseVectors": [{"name": "s"}]}),
    "sparse index": (
        {"sparseVectors": [{"name": "s", "index": {"full_scan_threshold": 7}}]},
        {"sparseVectors": [{"name": "s", "index": {"full_scan_threshold": 7, "on_disk": True}}]},
    ),
    "sparse index datatype": (
        {"sparseVectors": [{"name": "s", "index": {"datatype": "uint8"}}]},
        {"sparseVectors": [{"name": "s", "index": {"datatype": "float32"}}]},
    ),
    "hnsw": ({"hnswConfig": {"m": 8}}, {"hnswConfig": {"m": 12, "on_disk": True, "inline_storage": True}}),
    "optimizers": ({}, {"optimizersConfig": {"indexing_threshold": 7, "max_optimization_threads": 1}}),
    "optimizer threads off": ({"optimizersConfig": {"max_optimization_threads": 1}}, {}),
    "quantization": ({}, {"quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.987654321}}}),
    "quantization of another kind": (
        {"quantizationConfig": {"scalar": {"type": "int8"}}},
        {"quantizationConfig": {"product": {"compression": "x8"}}},
    ),
    "quantization off": ({"quantizationConfig": {"scalar": {"type": "int8"}}}, {}),
    "an option of a quantization off": (
        {"quantizationConfig": {"scalar": {"type": "int8", "quantile": 0.9}}},
        {"quantizationConfig": {"scalar": {"type": "int8"}}},
    ),
    "params": ({}, {"params": {"on_disk_payload": False, "read_fan_out_factor": 2, "write_consistency_factor": 2}}),
    "strict mode": ({}, {"strictModeConfig": {"enabled": True, "max_query_limit": 7}}),
    "strict mode maps": (
        {
            "sparseVectors": [{"name": "s"}, {"name": "u"}],
            "strictModeConfig": {"sparse_config": {"s": {"max_length": 3}}},
        },
        {
            "sparseVectors": [{"name": "s"}, {"name": "u"}],
            "strictModeConfig": {"sparse_config": {"u": {"max_length": 3}}},
        },
    ),
    "index": ({}, {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]}),
    "index of another kind": (
        {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]},
        {"payloadIndexes": [{"field": "a", "schema": {"type": "text", "stopwords": {"custom": ["b", "a"]}}}]},
    ),
    "an option of an index off": (
        {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword", "is_tenant": True}}]},
        {"payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]},
    ),
    "index instead of another where no more are allowed": (
        {**ONE_INDEX, "payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]},
        {**ONE_INDEX, "payloadIndexes": [{"field": "b", "schema": {"type": "keyword"}}]},
    ),
    "index of another kind where no more are allowed": (
        {**ONE_INDEX, "payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]},
        {**ONE_INDEX, "payloadIndexes": [{"field": "a", "schema": {"type": "integer"}}]},
    ),
    "an option of an index where no more are allowed": (
        {**ONE_INDEX, "payloadIndexes": [{"field": "a", "schema": {"type": "keyword"}}]},
        {**ONE_INDEX, "payloadIndexes": [{"field": "a", "schema": {"type": "keyword", "on_disk": True}}]},
    ),
    "index off": ({"payloadIndexes": [{"field": '"a b".c', "schema": {"type": "keyword"}}]}, {}),
}

IMMUTABLE: dict[str, dict[str, Any]] = {
    "size": {"vectors": [{"name": "text", "size": 8}]},
    "distance": {"vectors": [{**TEXT, "distance": "Dot"}]},
    "datatype": {"vectors": [{**TEXT, "datatype": "uint8"}]},
    "multivector": {"vectors": [{**TEXT, "multivector": {"comparator": "max_sim"}}]},
    "a vector more": {"vectors": [TEXT, {"name": "image", "size": 2}]},
    "another vector": {"vectors": [{"name": "image", "size": 4}]},
    "unnamed": {"vector": {"size": 4}},
    "a sparse vector more": {"vectors": [TEXT], "sparseVectors": [{"name": "s"}]},
    "sparse instead": {"sparseVectors": [{"name": "text"}]},
    "shards": {"params": {"shard_number": 3}},
    "sharding": {"params": {"sharding_method": "custom"}},
    "wal": {"walConfig": {"wal_capacity_mb": 1}},
}

"""Records what programs that people already use send to a Qdrant: the recipes beside this file.

The programs are heavy, so tests/integration/test_export.py replays what was recorded here. To record again, with a
Qdrant that holds nothing:

    pip install langchain-qdrant llama-index-vector-stores-qdrant qdrant-haystack
    python tests/corpus/exported/record.py http://localhost:6333

Vectors come from a hash of the text: no model is needed, and the same text gives the same numbers.
"""

import hashlib
import json
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import httpx
from qdrant_client import QdrantClient, models

FOLDER: Final = Path(__file__).parent
TEXTS: Final = ("A finalizer holds an object back.", "An alias is another name.", "A shard is a part of a collection.")
METADATA: Final[list[dict[str, Any]]] = [
    {"source": "notes.md", "page": 1, "score": 0.1, "tags": ["a", "no"], "none": None},
    {"source": "notes.md", "page": 2, "score": 1.0, "deep": {"list": [1, None, {"x": "1e3"}]}},
    {"source": "other.md", "page": 3, "score": 1e-7, "published": "2026-11-27", "": "an empty key"},
]
UUIDS: Final = [f"0000000{n}-1111-4222-8333-44444444444{n}" for n in range(3)]

READING: Final = ("/points", "/scroll", "/query", "/count")
"""How the paths of requests end that only read: a write says `?wait=true`."""

Request = list[Any]
"""Method, path with its query, body."""
Recipe = Callable[[QdrantClient, str], object]
"""Makes one collection: given a client, and the URL for those that make their own."""


def numbers(text: str, size: int) -> list[float]:
    """A vector of a text: float32 between -1 and 1."""
    digest = hashlib.shake_128(text.encode()).digest(4 * size)
    whole = struct.unpack(f"<{size}i", digest)
    return [struct.unpack("<f", struct.pack("<f", one / 2**31))[0] for one in whole]


def sparse(text: str) -> tuple[list[int], list[float]]:
    """A sparse vector of a text: one weight for each word."""
    weights = {int(hashlib.sha256(word.encode()).hexdigest()[:8], 16): 1 + len(word) / 10 for word in text.split()}
    return list(weights), list(weights.values())


# ---- LangChain ----


def langchain() -> dict[str, Recipe]:
    """What `QdrantVectorStore` of langchain-qdrant makes."""
    from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseVector

    class Dense:
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [numbers(text, 24) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return numbers(text, 24)

    class Terms:
        def embed_documents(self, texts: list[str]) -> list[Any]:
            return [self.embed_query(text) for text in texts]

        def embed_query(self, text: str) -> Any:
            indices, values = sparse(text)
            return SparseVector(indices=indices, values=values)

    def store(name: str, **options: Any) -> Recipe:
        def make(_client: QdrantClient, url: str) -> None:
            given = {"embedding": Dense(), "metadatas": METADATA, "ids": UUIDS, "url": url, "collection_name": name}
            QdrantVectorStore.from_texts(list(TEXTS), **{**given, **options})

        return make

    both = {"sparse_embedding": Terms(), "retrieval_mode": RetrievalMode.HYBRID}
    return {
        "langchain": store("langchain"),
        "LangChain_Hybrid": store("LangChain_Hybrid", vector_name="dense", **both),
        "langchain-sparse": store(
            "langchain-sparse",
            retrieval_mode=RetrievalMode.SPARSE,
            sparse_embedding=Terms(),
            embedding=None,
            sparse_vector_params={"modifier": models.Modifier.IDF},
        ),
        "langchain-euclid": store(
            "langchain-euclid",
            distance=models.Distance.EUCLID,
            ids=[1, 2, 3],
            content_payload_key="text",
            metadata_payload_key="meta",
            vector_params={"on_disk": True, "datatype": models.Datatype.FLOAT16},
            collection_create_options={"on_disk_payload": False, "hnsw_config": models.HnswConfigDiff(m=8)},
        ),
    }


# ---- LlamaIndex ----


def llama_index() -> dict[str, Recipe]:
    """What `QdrantVectorStore` of llama-index-vector-stores-qdrant makes."""
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
    from llama_index.vector_stores.qdrant import QdrantVectorStore

    def nodes() -> list[Any]:
        about = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="notes.md", metadata={"size": 3})}
        return [
            TextNode(id_=id, text=text, embedding=numbers(text, 20), metadata=metadata, relationships=about)
            for id, text, metadata in zip(UUIDS, TEXTS, METADATA, strict=True)
        ]

    def terms(texts: list[str]) -> Any:
        found = [sparse(text) for text in texts]
        return [indices for indices, _ in found], [values for _, values in found]

    def store(name: str, **options: Any) -> Recipe:
        return lambda client, _url: QdrantVectorStore(collection_name=name, client=client, **options).add(nodes())

    return {
        "llama_index": store("llama_index"),
        "llama-index-hybrid": store(
            "llama-index-hybrid", enable_hybrid=True, sparse_doc_fn=terms, sparse_query_fn=terms
        ),
        "llama-index-quantized": store(
            "llama-index-quantized",
            quantization_config=models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.987654321)
            ),
            payload_indexes=[
                {"field_name": "source", "field_schema": models.PayloadSchemaType.KEYWORD},
                {"field_name": "page", "field_schema": models.PayloadSchemaType.INTEGER},
            ],
        ),
        "llama-index-named": store(
            "llama-index-named",
            dense_vector_name="dense",
            dense_config=models.VectorParams(size=20, distance=models.Distance.DOT),
            index_doc_id=False,
        ),
    }


# ---- Haystack ----


def haystack() -> dict[str, Recipe]:
    """What `QdrantDocumentStore` of qdrant-haystack makes."""
    from haystack import Document
    from haystack.dataclasses import SparseEmbedding
    from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

    def documents(with_terms: bool) -> list[Any]:
        found = []
        for number, (text, metadata) in enumerate(zip(TEXTS, METADATA, strict=True)):
            indices, values = sparse(text)
            terms = SparseEmbedding(indices=indices, values=values) if with_terms else None
            found.append(
                Document(
                    id=f"doc-{number}", content=text, meta=metadata, embedding=numbers(text, 12), sparse_embedding=terms
                )
            )
        return found

    def store(name: str, **options: Any) -> Recipe:
        def make(_client: QdrantClient, url: str) -> None:
            made = QdrantDocumentStore(url=url, index=name, embedding_dim=12, progress_bar=False, **options)
            made.write_documents(documents(bool(options.get("use_sparse_embeddings"))))

        return make

    return {
        "Document": store("Document"),
        "haystack sparse": store("haystack sparse", use_sparse_embeddings=True, sparse_idf=True),
        "haystack-indexed": store(
            "haystack-indexed",
            similarity="dot_product",
            on_disk=True,
            payload_fields_to_index=[
                {"field_name": "meta.source", "field_schema": "keyword"},
                {"field_name": "meta.page", "field_schema": {"type": "integer", "lookup": False, "range": True}},
            ],
        ),
        "haystack-tuned": store(
            "haystack-tuned",
            similarity="l2",
            hnsw_config={"m": 32, "payload_m": 16},
            optimizers_config={"indexing_threshold": 20000, "memmap_threshold": 50000},
            wal_config={"wal_capacity_mb": 8},
            quantization_config={"binary": {"always_ram": True}},
        ),
    }


# ---- the client itself ----


def client() -> dict[str, Recipe]:
    """What a program of one's own makes with qdrant-client."""

    def points(**vectors: Callable[[str], Any]) -> list[models.PointStruct]:
        return [
            models.PointStruct(id=id, vector={name: make(text) for name, make in vectors.items()}, payload=payload)
            for id, text, payload in zip([7, UUIDS[0], 2**63 - 1], TEXTS, METADATA, strict=True)
        ]

    def named(db: QdrantClient, _url: str) -> None:
        db.create_collection(
            "Named Vectors!",
            vectors_config={
                "image": models.VectorParams(
                    size=4, distance=models.Distance.MANHATTAN, datatype=models.Datatype.UINT8
                ),
                "text": models.VectorParams(
                    size=8,
                    distance=models.Distance.COSINE,
                    hnsw_config=models.HnswConfigDiff(m=4, on_disk=True),
                    quantization_config=models.ProductQuantization(
                        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X8)
                    ),
                ),
            },
            sparse_vectors_config={
                "terms": models.SparseVectorParams(
                    index=models.SparseIndexParams(on_disk=True, full_scan_threshold=100),
                    modifier=models.Modifier.IDF,
                )
            },
        )

        def terms(text: str) -> models.SparseVector:
            indices, values = sparse(text)
            return models.SparseVector(indices=indices, values=values)

        def pixels(text: str) -> list[float]:
            return [float(len(text) + at) for at in range(4)]

        db.upsert("Named Vectors!", points(image=pixels, text=lambda text: numbers(text, 8), terms=terms))

    def colbert(db: QdrantClient, _url: str) -> None:
        db.create_collection(
            "colbert",
            vectors_config={
                "colbert": models.VectorParams(
                    size=4,
                    distance=models.Distance.COSINE,
                    multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
                    hnsw_config=models.HnswConfigDiff(m=0),
                )
            },
        )
        db.upsert("colbert", points(colbert=lambda text: [numbers(word, 4) for word in text.split()]))

    def indexed(db: QdrantClient, _url: str) -> None:
        db.create_collection("indexed", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
        schemas: dict[str, Any] = {
            "text": models.TextIndexParams(
                type=models.TextIndexType.TEXT,
                tokenizer=models.TokenizerType.MULTILINGUAL,
                min_token_len=2,
                stopwords=models.StopwordsSet(languages=[models.Language.ENGLISH], custom=["the", "a"]),
                phrase_matching=True,
            ),
            "user": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True, on_disk=True),
            "at": models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME, is_principal=True),
            "where": models.PayloadSchemaType.GEO,
            "done": models.PayloadSchemaType.BOOL,
            "id": models.PayloadSchemaType.UUID,
            "price": models.PayloadSchemaType.FLOAT,
            "items[].size": models.PayloadSchemaType.INTEGER,
            '"a key"."b.c"': models.PayloadSchemaType.KEYWORD,
        }
        for path, schema in schemas.items():
            db.create_payload_index("indexed", path, field_schema=schema)
        for alias in ("live", "Live Index"):
            db.update_collection_aliases(
                [
                    models.CreateAliasOperation(
                        create_alias=models.CreateAlias(collection_name="indexed", alias_name=alias)
                    )
                ]
            )

    def strict(db: QdrantClient, _url: str) -> None:
        db.create_collection(
            "strict",
            vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE),
            strict_mode_config=models.StrictModeConfig(
                enabled=True, max_query_limit=5000, search_allow_exact=False, unindexed_filtering_retrieve=False
            ),
            metadata={"team": "search", "whole": 1.0, "none": None, "deep": {"list": [1, None]}},
            shard_number=2,
            write_consistency_factor=2,
        )
        db.upsert(
            "strict",
            [models.PointStruct(id=id, vector=numbers(str(id), 3), payload={}) for id in range(3)],
        )

    def large_ids(db: QdrantClient, _url: str) -> None:
        db.create_collection("large-ids", vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
        ids = [1, 2**63, 2**64 - 1]
        db.upsert(
            "large-ids", [models.PointStruct(id=id, vector=numbers(str(id), 3), payload={"at": id % 10}) for id in ids]
        )

    return {
        "Named Vectors!": named,
        "colbert": colbert,
        "indexed": indexed,
        "strict": strict,
        "large-ids": large_ids,
    }


# ---- plain REST ----


def rest() -> dict[str, Recipe]:
    """What a shell script with curl makes, strange content included."""

    def send(url: str, method: str, path: str, body: object) -> None:
        httpx.request(method, f"{url}{path}", json=body, timeout=30).raise_for_status()

    def make(name: str, body: object, points: list[Any], *more: tuple[str, str, object]) -> Recipe:
        def sent(_client: QdrantClient, url: str) -> None:
            send(url, "PUT", f"/collections/{name}", body)
            if points:
                send(url, "PUT", f"/collections/{name}/points?wait=true", {"points": points})
            for method, path, content in more:
                send(url, method, path, content)

        return sent

    def point(id: object, payload: object, vector: object = (0.25, -0.5)) -> dict[str, Any]:
        return {"id": id, "vector": vector, "payload": payload}

    texts = {
        "yaml": [
            "yes",
            "no",
            "null",
            "~",
            "1e3",
            "0x1f",
            "0o7",
            "1:30",
            "2026-11-27",
            "<<",
            "=",
            ".inf",
            "- a",
            "# b",
            "a: b",
        ],
        "spaces": ["", " ", "two  spaces", "line\nbreak", "tab\t", "trailing ", "\u00a0", "\u2028", "\u0085"],
        "controls": "\u0000\u0001\u001f\u007f\u0080\u009f\ufeff\ufffe",
        "letters": "Größe, 大きさ, \U0001f40e, e\u0301",
        "on": True,
        "y": {"no": "yes", "1": 1, "null": None, "<<": [], "a.b[]": {}, "long" * 60: 0},
    }
    figures = {
        "whole": 1.0,
        "zero": -0.0,
        "small": 5e-324,
        "large": 1.7976931348623157e308,
        "tenth": 0.1,
        "least": -(2**63),
        "most": 2**63 - 1,
        "beyond": 2**53 + 1,
        "float": 1e16,
        "float beyond": 1e19,
        "list": [1, 1.5, None, True, [[]], {}],
    }
    flat = {"size": 2, "distance": "Dot"}
    return {
        "my_notes": make("my_notes", {"vectors": flat}, [point(1, texts), point(2, figures), point(3, None)]),
        "my-notes": make("my-notes", {"vectors": {"": flat}}, [point(1, {"the": "name is taken"}, {"": [1, 2]})]),
        "Größe": make(
            "Größe",
            {
                "vectors": {"a.b": flat, "no": {**flat, "on_disk": False}},
                "sparse_vectors": {"s": {}, "t": {"modifier": "none"}},
            },
            [point(UUIDS[1], {}, {"a.b": [1e-30, 3.4e38], "s": {"indices": [4294967295, 0], "values": [-1, 0.1]}})],
        ),
        "empty": make("empty", {"vectors": flat, "optimizers_config": {"default_segment_number": 2}}, []),
        "changed": make(
            "changed",
            {"vectors": flat, "quantization_config": {"scalar": {"type": "int8"}}},
            [point(1, {"a": 1})],
            (
                "PATCH",
                "/collections/changed",
                {"quantization_config": "Disabled", "params": {"read_fan_out_factor": 2}},
            ),
            ("PATCH", "/collections/changed", {"strict_mode_config": {"enabled": False, "max_timeout": 60}}),
            ("PUT", "/collections/changed/index?wait=true", {"field_name": "a", "field_schema": "integer"}),
            ("POST", "/collections/changed/points/payload?wait=true", {"payload": {"b": {"c": [1]}}, "points": [1]}),
        ),
    }


# ---- recording ----


@contextmanager
def recorded() -> Iterator[list[Request]]:
    """What is sent meanwhile, without what only reads."""
    found: list[Request] = []
    send = httpx.HTTPTransport.handle_request

    def noted(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        answer = send(transport, request)
        if request.method != "GET" and not path.endswith(READING) and answer.is_success:
            found.append([request.method, path, json.loads(request.read() or b"null")])
        return answer

    with patch.object(httpx.HTTPTransport, "handle_request", noted):
        yield found


def main(url: str) -> None:
    """Writes one file for each program."""
    database = QdrantClient(url=url, check_compatibility=False)
    server = httpx.get(url, timeout=30).json()["version"]
    for program, package, recipes in (
        ("langchain", "langchain-qdrant", langchain()),
        ("llama-index", "llama-index-vector-stores-qdrant", llama_index()),
        ("haystack", "qdrant-haystack", haystack()),
        ("qdrant-client", "qdrant-client", client()),
        ("rest", "", rest()),
    ):
        made = {}
        for name, make in recipes.items():
            with recorded() as requests:
                make(database, url)
            made[name] = requests
        with_version = f"{package} {version(package)}" if package else "plain REST"
        about = {"program": with_version, "qdrant_client": version("qdrant-client"), "server": server}
        _write(FOLDER / f"{program}.json", about, made)


def _write(file: Path, about: dict[str, str], made: dict[str, list[Request]]) -> None:
    """One line for each request, so that a change of one shows."""
    collections = ",\n".join(
        f"  {json.dumps(name)}: [\n" + ",\n".join(f"   {json.dumps(request)}" for request in requests) + "\n  ]"
        for name, requests in made.items()
    )
    head = "".join(f' "{key}": {json.dumps(text)},\n' for key, text in about.items())
    file.write_text(f'{{\n{head} "collections": {{\n{collections}\n }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

"""What small files say of a model, and what is said when they do not."""

import json

import pytest

from unit.embedders.real_models import as_json, modules_json, pooling_json, resolve, safetensors, write
from vectorops.api.reasons import Reason
from vectorops.embedders.architecture import files_wanted, modules_wanted
from vectorops.errors import Terminal

MODEL = "owner/model"
TRANSFORMER = {"config.json": as_json({"hidden_size": 8}), "model.safetensors": safetensors()}


def pooled(*modes: str, size: int = 8, library: int = 2) -> dict[str, bytes]:
    """A transformer with a pooling behind it."""
    return TRANSFORMER | {
        "modules.json": modules_json([("Transformer", ""), ("Pooling", "1_Pooling")], library),
        "1_Pooling/config.json": pooling_json(size, modes, library),
    }


def chain(*modules: tuple[str, str], **files: bytes) -> dict[str, bytes]:
    """Modules behind a pooled transformer. files: the config.json of each folder."""
    configs = {f"{name}/config.json": content for name, content in files.items()}
    weights = {f"{name}/model.safetensors": safetensors() for name in files}
    listed = modules_json([("Transformer", ""), ("Pooling", "1_Pooling"), *modules])
    return pooled("mean") | {"modules.json": listed} | configs | weights


def saying(**settings) -> dict[str, bytes]:
    return {"config_sentence_transformers.json": as_json(settings)}


def of(type_: str) -> str:
    return f"sentence_transformers.models.{type_}"


@pytest.mark.parametrize("library", [2, 6])
@pytest.mark.parametrize(
    ("modes", "size"), [(["cls"], 8), (["mean", "max"], 16), (["cls", "mean", "mean_sqrt_len_tokens"], 24)]
)
async def test_each_mode_of_a_pooling_adds_its_components(tmp_path, modes, size, library):
    write(tmp_path / MODEL, pooled(*modes, library=library))
    assert (await resolve(tmp_path, MODEL)).size == size


@pytest.mark.parametrize(
    ("files", "size", "source"),
    [
        (chain((of("Dense"), "2"), **{"2": as_json({"out_features": 5})}), 5, "2/config.json"),
        (chain((of("LayerNorm"), "2"), **{"2": as_json({"dimension": 8})}), 8, "2/config.json"),
        (chain((of("Dropout"), "2"), (of("Normalize"), "3")), 8, "1_Pooling/config.json"),
        (
            chain(
                (of("Dense"), "2"),
                (of("Dense"), "3"),
                **{"2": as_json({"out_features": 5}), "3": as_json({"out_features": 4})},
            ),
            4,
            "3/config.json",
        ),
        (
            chain((of("LSTM"), "2")) | {"2/lstm_config.json": as_json({"hidden_dim": 3}), "2/model.safetensors": b""},
            6,
            "2/lstm_config.json",
        ),
        (
            chain((of("CNN"), "2"))
            | {"2/cnn_config.json": as_json({"out_channels": 4, "kernel_sizes": [1, 3]}), "2/model.safetensors": b""},
            8,
            "2/cnn_config.json",
        ),
    ],
)  # fmt: skip
async def test_the_last_module_that_has_a_size_decides(tmp_path, files, size, source):
    write(tmp_path / MODEL, files)
    found = await resolve(tmp_path, MODEL)
    assert (found.size, found.sources["size"]) == (size, source)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 8},
        {"d_model": 8},
        {"dim": 8, "hidden_dim": 32},
        {"n_embd": 8},
        {"hidden_sizes": [2, 4, 8]},
        {"hidden_dim": 8},
        {"text_config": {"hidden_size": 8}, "vision_config": {"hidden_size": 9}},
        {"vision_config": {"hidden_size": 8}},
        {"hidden_size": 8, "projection_dim": 5},
        {"architectures": ["CLIPModel"], "projection_dim": 8, "text_config": {"hidden_size": 5}},
    ],
)
async def test_without_modules_the_transformer_decides(tmp_path, config):
    write(tmp_path / MODEL, TRANSFORMER | {"config.json": as_json(config)})
    found = await resolve(tmp_path, MODEL)
    assert (found.kind, found.size, found.normalized) == ("dense", 8, False)
    assert found.sources == {"kind": "no modules.json", "size": "config.json", "revision": "the model folder"}


async def test_without_modules_the_library_reads_no_settings_either(tmp_path):
    write(tmp_path / MODEL, TRANSFORMER | saying(prompts={"document": "d: "}, similarity_fn_name="dot", truncate_dim=2))
    found = await resolve(tmp_path, MODEL)
    assert (found.document_prompt, found.distance, found.size) == ("", None, 8)


async def test_a_transformer_in_a_folder_of_its_own_is_read_there(tmp_path):
    files = {f"0_Transformer/{name}": content for name, content in TRANSFORMER.items()}
    write(tmp_path / MODEL, files | {"modules.json": modules_json([("Transformer", "0_Transformer")])})
    assert (await resolve(tmp_path, MODEL)).sources["size"] == "0_Transformer/config.json"


@pytest.mark.parametrize(
    ("said", "distance"),
    [
        ("cosine", "Cosine"),
        ("dot", "Dot"),
        ("euclidean", "Euclid"),
        ("manhattan", "Manhattan"),
        (None, None),
        ("maxsim", None),
    ],
)
async def test_the_similarity_function_is_the_distance(tmp_path, said, distance):
    write(tmp_path / MODEL, pooled("mean") | saying(similarity_fn_name=said))
    found = await resolve(tmp_path, MODEL)
    assert found.distance == distance
    assert ("distance" in found.sources) == (distance is not None)


async def test_truncation_that_was_saved_cuts_the_size_and_the_length(tmp_path):
    files = chain((of("Normalize"), "2")) | saying(truncate_dim=4)
    write(tmp_path / MODEL, files)
    found = await resolve(tmp_path, MODEL)
    whole = await resolve(tmp_path, MODEL, dimensions=8)
    assert (found.size, found.dimensions, found.normalized) == (4, None, False)
    assert found.sources["size"] == "config_sentence_transformers.json, truncate_dim"
    assert (whole.size, whole.dimensions) == (8, 8)


async def test_truncation_to_more_than_there_is_cuts_nothing(tmp_path):
    write(tmp_path / MODEL, pooled("mean") | saying(truncate_dim=100))
    assert (await resolve(tmp_path, MODEL)).size == 8


async def test_components_cut_off_by_declaration_leave_a_vector_that_is_not_normalized(tmp_path):
    write(tmp_path / MODEL, chain((of("Normalize"), "2")))
    assert (await resolve(tmp_path, MODEL)).normalized
    assert not (await resolve(tmp_path, MODEL, dimensions=4)).normalized


async def test_a_projection_behind_the_normalization_undoes_it(tmp_path):
    write(tmp_path / MODEL, chain((of("Normalize"), "2"), (of("Dense"), "3"), **{"3": as_json({"out_features": 8})}))
    assert not (await resolve(tmp_path, MODEL)).normalized


@pytest.mark.parametrize(
    ("prompts", "document", "query"),
    [
        ({"query": "q: ", "document": "d: "}, "d: ", "q: "),
        ({"query": "q: "}, "", "q: "),
        # The library looks for "passage" only where there is no "document", which it gives to every model.
        ({"query": "q: ", "passage": "p: "}, "", "q: "),
        ({"document": None}, "", ""),
        ({}, "", ""),
    ],
)
async def test_prompts_are_those_that_the_library_would_use(tmp_path, prompts, document, query):
    write(tmp_path / MODEL, pooled("mean") | saying(prompts=prompts, default_prompt_name=next(iter(prompts), None)))
    found = await resolve(tmp_path, MODEL)
    assert (found.document_prompt, found.query_prompt) == (document, query)


async def test_the_mark_of_a_multi_vector_model_goes_ahead_of_its_prompt_once(tmp_path):
    settings = saying(
        model_type="MultiVectorEncoder", prompts={"query": "[Q] ask: ", "document": "is: "},
        query_prefix="[Q] ", document_prefix="[D] ",
    )  # fmt: skip
    modules = modules_json([("Transformer", ""), (of("Dense"), "1"), (of("MultiVectorMask"), "2"), ("Normalize", "3")])
    dense = {"1/config.json": as_json({"out_features": 4}), "1/model.safetensors": safetensors()}
    write(tmp_path / MODEL, TRANSFORMER | settings | dense | {"modules.json": modules})
    found = await resolve(tmp_path, MODEL)
    assert (found.kind, found.size, found.normalized, found.distance) == ("multivector", 4, True, None)
    assert (found.document_prompt, found.query_prompt) == ("[D] is: ", "[Q] ask: ")


async def test_tokens_that_are_not_normalized_are_compared_by_dot_as_the_library_does(tmp_path):
    write(tmp_path / MODEL, pooled("mean") | saying(model_type="MultiVectorEncoder"))
    assert (await resolve(tmp_path, MODEL)).distance == "Dot"


async def test_the_first_route_of_a_router_decides(tmp_path):
    routes = {
        "types": {
            "query_0_StaticEmbedding": of("StaticEmbedding"),
            "document_0_StaticEmbedding": of("StaticEmbedding"),
        },
        "structure": {"query": ["query_0_StaticEmbedding"], "document": ["document_0_StaticEmbedding"]},
        "parameters": {},
    }
    files = {"modules.json": modules_json([(of("Asym"), "0_Asym")]), "0_Asym/config.json": as_json(routes)}
    for side in ("query", "document"):
        files[f"0_Asym/{side}_0_StaticEmbedding/model.safetensors"] = safetensors(embedding__weight=(100, 12))
    write(tmp_path / MODEL, files)
    found = await resolve(tmp_path, MODEL)
    assert found.size == 12
    assert found.sources["size"] == "0_Asym/query_0_StaticEmbedding/model.safetensors, embedding.weight"


async def test_a_router_in_the_root_has_its_routes_in_folders_that_only_it_names(tmp_path):
    routes = {
        "types": {"document_0_Transformer": of("Transformer"), "document_1_Pooling": of("Pooling")},
        "structure": {"document": ["document_0_Transformer", "document_1_Pooling"]},
    }
    files = {f"document_0_Transformer/{name}": content for name, content in TRANSFORMER.items()}
    files["document_1_Pooling/config.json"] = pooling_json(8, ["mean", "max"])
    write(tmp_path / MODEL, ROUTER | files | {"router_config.json": as_json(routes)})
    assert (await resolve(tmp_path, MODEL)).size == 16


async def test_files_of_what_is_no_module_are_not_asked_for():
    wanted = files_wanted(
        ["config.json", "1_Pooling/config.json", "onnx/config.json", "tokenizer.json", "a/b/c/config.json"]
    )
    modules = json.loads(pooled("mean")["modules.json"])
    assert wanted == ["1_Pooling/config.json", "config.json", "onnx/config.json"]
    assert modules_wanted(wanted, modules) == ["1_Pooling/config.json", "config.json"]


ROUTER = {"modules.json": modules_json([(of("Router"), "")])}
STATIC = {"modules.json": modules_json([(of("StaticEmbedding"), "")])}
COLBERT = TRANSFORMER | {"config.json": as_json({"architectures": ["HF_ColBERT"], "hidden_size": 8})}


@pytest.mark.parametrize(
    ("files", "reason", "words"),
    [
        (pooled("mean", size=0), Reason.MODEL_REFUSED, ["1_Pooling/config.json", "embedding_dimension", "`size`"]),
        (
            pooled("mean") | {"1_Pooling/config.json": b'{"embedding_dimension": true}'},
            Reason.MODEL_REFUSED,
            ["`size`"],
        ),
        (chain((of("Dense"), "2"), **{"2": b"{}"}), Reason.MODEL_REFUSED, ["2/config.json", "out_features"]),
        (chain((of("Dense"), "2")) | {"2/model.safetensors": b""}, Reason.MODEL_NOT_FOUND, ["'2/config.json'"]),
        (chain((of("Dense"), "2")) | {"2/pytorch_model.bin": b""}, Reason.MODEL_REFUSED, ["no safetensors", "convert"]),
        (chain((of("Novelty"), "2"), **{"2": b"{}"}), Reason.MODEL_REFUSED, ["Novelty", "`size`"]),
        (chain(("custom.Transformer", "2")), Reason.MODEL_REFUSED, ["custom.Transformer", "its own code"]),
        (chain(("os.system", "2")), Reason.MODEL_REFUSED, ["its own code"]),
        (chain((of("Dense"), "../../other")), Reason.MODEL_REFUSED, ["outside"]),
        (TRANSFORMER | {"config.json": b"{}"}, Reason.MODEL_REFUSED, ["config.json", "hidden_size", "`size`"]),
        (pooled("mean") | saying(model_type="CrossEncoder"), Reason.MODEL_REFUSED, ["CrossEncoder", "is unknown"]),
        (ROUTER, Reason.MODEL_NOT_FOUND, ["router_config.json"]),
        (ROUTER | {"router_config.json": b"{}"}, Reason.MODEL_REFUSED, ["router_config.json"]),
        (
            ROUTER | {"router_config.json": as_json({"types": {"a": "evil.A"}, "structure": {"query": ["a"]}})},
            Reason.MODEL_REFUSED,
            ["evil.A", "its own code"],
        ),
        (STATIC | {"model.safetensors": b"?"}, Reason.MODEL_REFUSED, ["model.safetensors", "header"]),
        (STATIC | {"model.safetensors": safetensors(other=(1, 2))}, Reason.MODEL_REFUSED, ["embeddings"]),
        (STATIC | {"pytorch_model.bin": b""}, Reason.MODEL_REFUSED, ["no safetensors"]),
        (COLBERT | {"model.safetensors": safetensors(other=(1, 2))}, Reason.MODEL_REFUSED, ["linear.weight"]),
        (TRANSFORMER | saying(model_type="MultiVectorEncoder"), Reason.MODEL_REFUSED, ["no modules.json"]),
        (TRANSFORMER | {"config.json": b"[" * 200_000}, Reason.MODEL_REFUSED, ["config.json", "not JSON"]),
        (TRANSFORMER | {"config.json": b" " * 4_000_001 + b"{}"}, Reason.MODEL_REFUSED, ["config.json", "4000000"]),
        (ROUTER | {f"{n}/config.json": b"{}" for n in range(200)}, Reason.MODEL_REFUSED, ["201 files", "`size`"]),
        (pooled("mean") | saying(prompts={"query": "q" * 2001}), Reason.MODEL_REFUSED, ["prompt", "2000"]),
    ],
)
async def test_what_cannot_be_known_or_run_is_refused_with_the_file(tmp_path, files, reason, words):
    write(tmp_path / MODEL, files)
    with pytest.raises(Terminal) as raised:
        await resolve(tmp_path, MODEL)
    assert raised.value.reason is reason
    assert MODEL in raised.value.message
    for word in words:
        assert word in raised.value.message


@pytest.mark.parametrize("kind", ["SparseEncoder", "MultiVectorEncoder"])
async def test_only_dense_vectors_can_be_cut(tmp_path, kind):
    write(tmp_path / MODEL, pooled("mean") | saying(model_type=kind))
    with pytest.raises(Terminal, match="cannot be cut") as raised:
        await resolve(tmp_path, MODEL, dimensions=4)
    assert raised.value.reason is Reason.INVALID_SPEC


async def test_a_model_in_several_weight_files_is_a_safe_one(tmp_path):
    files = pooled("mean") | {"model-00001-of-00002.safetensors": b"", "pytorch_model.bin": b""}
    files.pop("model.safetensors")
    write(tmp_path / MODEL, files)
    assert (await resolve(tmp_path, MODEL)).size == 8

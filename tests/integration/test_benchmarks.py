"""Each benchmark runs, with numbers so small that its figures say nothing, the way a person runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from servers.models import minilm
from servers.qdrant import QdrantServer

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = {file.name for file in (ROOT / "benchmarks").glob("*.py") if '"__main__"' in file.read_text()}
ON_A_CLUSTER: Final = {"start.py"}
"""Those that tests/e2e/test_benchmarks.py runs."""

TINY: Final[dict[str, tuple[str, ...]]] = {
    "churn.py": ("--minutes=0.01 --sets=1 --points=2",),
    "crashes.py": ("--count=200 --size=4 --kills=1 --files=1",),
    "fill.py": ("--count=600 --size=4 --rounds=1",),
    "handover.py": ("--rounds=1 --lease-seconds=2",),
    "holders.py": ("--counts=1,2 --points=2", "--counts=1,2 --points=2 --unhashed"),
    "idle.py": ("--minutes=0.01 --collections=1 --sets-each=1",),
    "large_sets.py": ("--count=2 --points=2 --size=4", "--count=2 --points=2 --size=4 --synced"),
    "ledger.py": ("--count=8 --bits=1",),
    # Of fewer, the resyncs are too soon done for a queue to be seen.
    "many_collections.py": ("--count=60 --rounds=1 --tries=1",),
    "many_sets.py": ("--sets=3 --points=2 --collections=2 --tries=2",),
    "mapping.py": ("--count=8 --size=4 --rounds=1",),
    "points.py": ("--url={url} --grpc-port={grpc_port} --count=8 --size=4 --rounds=1",),
    "pointset.py": ("--points=8 --size=4 --rounds=1",),
    "readers.py": ("measure --texts=8 --rate=20 --seconds=0.5 --lag=0.5",),
    "schemas.py": ("--count=2 --model-folder={models}",),
    "siblings.py": ("--counts=1",),
    "sources.py": ("--count=200 --size=4 --rounds=1 --only=VectorOps --only=wire",),
    "staging.py": ("--count=200 --size=4 --rounds=1",),
    "texts.py": (
        "speed --model-folder={models} --count=2 --rounds=1",
        "memory --model-folder={models} --counts 2 3 4",
    ),
}
"""How each is run, once or several times. `{url}` and `{grpc_port}` are a Qdrant, `{models}` is a folder of models."""


def test_each_benchmark_says_here_how_it_runs_with_tiny_numbers() -> None:
    assert TINY.keys() | ON_A_CLUSTER == SCRIPTS, "a script of benchmarks/ has no row in TINY, or a row has no script"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("script", "arguments"), [(script, arguments) for script, runs in TINY.items() for arguments in runs]
)
def test_it_runs(script: str, arguments: str, qdrant: QdrantServer, tmp_path: Path) -> None:
    minilm(tmp_path)
    given = arguments.format(url=qdrant.url, grpc_port=qdrant.grpc_port, models=tmp_path).split()

    # Its own session: what it has started must not outlast it, should it hang.
    running = subprocess.Popen(
        [sys.executable, f"benchmarks/{script}", *given],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = running.communicate(timeout=280)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)

    assert running.returncode == 0, said
    assert said.strip()

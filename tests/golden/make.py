"""Makes the golden files again: what writers of files really write.

    PYTHONPATH=tests .venv/bin/python tests/golden/make.py [WRITER ...]

Each writer runs by `uv run --script`, in an environment of its own with the versions that its script names. The files
are committed, so that tests need none of the writers. Not all writers write the same bytes twice: commit only files
whose content has changed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from servers.qdrant import QdrantServer

HERE = Path(__file__).parent
UV = Path(sys.executable).with_name("uv")
MAX_BYTES = 20_000


def main() -> None:
    """Runs the scripts whose names hold one of the words, or all."""
    words = sys.argv[1:] or [""]
    with tempfile.TemporaryDirectory() as folder:
        server = QdrantServer(Path(folder))
        server.start()
        try:
            for script in sorted((HERE / "writers").glob("with_*.py")):
                if any(word in script.stem for word in words):
                    print(script.stem)
                    command = [str(UV), "run", "--quiet", "--no-project", "--script", str(script), str(HERE / "files")]
                    subprocess.run(command, check=True, env={**os.environ, "QDRANT_URL": server.url})
        finally:
            server.kill()
    for file in (HERE / "files").iterdir():
        if file.stat().st_size > MAX_BYTES:
            raise SystemExit(f"{file} is larger than {MAX_BYTES} bytes")


if __name__ == "__main__":
    main()

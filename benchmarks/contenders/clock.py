"""What a contender measures of itself: from the first look at the file to the last acknowledgement.

Imports and connecting are left out, as they are of the others. Only the standard library: some contenders run in
environments of their own.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TASK: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
"""url, grpc_port, collection, file (of the rows), folder (for state), size (of the vectors), and what the contender
needs besides.
"""


@contextmanager
def clock() -> Iterator[None]:
    """Measures what is done inside; the figures are the last line that the process prints."""
    started, worked = time.perf_counter(), time.process_time()
    yield
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}), flush=True)

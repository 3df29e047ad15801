"""The benchmark that needs a cluster runs; tests/integration/test_benchmarks.py runs the others.

The first of all files, by its name: it takes away whatever tests have on the cluster, before and after.
"""

import sys

from e2e import cluster


def test_the_start_of_the_pod_is_measured() -> None:
    said = cluster.run("env", "PYTHONPATH=tests", sys.executable, "benchmarks/start.py", "--rounds=1", timeout=540)

    assert "leads: " in said
    assert "has looked at a connection: " in said

"""How long the operator's pod takes from the start of its process to its first reconciliation, on a real cluster.

PYTHONPATH=tests python benchmarks/start.py

For KUBECONFIG's cluster, with E2E_IMAGE on its node, as for `make e2e`. The operator is installed with the values that
ship, scaled to nothing and back; what is looked at is a connection that waits to be looked at. The cluster is cleaned
before and after.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

import typer

from e2e import cluster
from e2e.cluster import kubectl
from e2e.database import Qdrant

TEAM = "e2e-start"
OPERATOR = (f"deployment/{cluster.RELEASE}", "--namespace", cluster.OPERATOR_NAMESPACE)
BEGAN = (
    "import time; ticks = int(open('/proc/1/stat').read().rpartition(')')[2].split()[19]); "
    "print(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / 100)"
)


def main(rounds: int = 10) -> None:
    """Measure how long the pod takes to begin its work."""
    cluster.clean()
    try:
        cluster.make_namespace(cluster.OPERATOR_NAMESPACE)
        with tempfile.TemporaryDirectory() as folder:
            qdrant = Qdrant(Path(folder))
            qdrant.start()
            cluster.install()
            qdrant.connect(cluster.make_namespace(TEAM))
        cluster.wait_ready(TEAM, "qdrantconnection/main")
        figures = [started(f"round-{number}") for number in range(rounds)]
        for words, took in zip(("leads", "has looked at a connection"), zip(*figures, strict=True), strict=True):
            print(f"{words}: {min(took):.1f} to {max(took):.1f} s, median {statistics.median(took):.1f} s")
    finally:
        cluster.clean()


def started(token: str) -> tuple[float, float]:
    """Seconds from the start of the process until it led, and until it had looked at the connection."""
    kubectl("scale", *OPERATOR, "--replicas=0")
    cluster.until(lambda: not cluster.pods() and not cluster.leader(), what="it to be gone")
    kubectl("annotate", "qconn/main", "--namespace", TEAM, "--overwrite", f"vectorops.dev/reconcile={token}")
    watch = ("kubectl", "get", "qconn/main", f"--namespace={TEAM}", "--watch")
    answered = r'-o=jsonpath={.status.lastHandledReconcileAt}{"\n"}'
    with subprocess.Popen([*watch, answered], stdout=subprocess.PIPE, text=True) as watching:
        kubectl("scale", *OPERATOR, "--replicas=1")
        assert watching.stdout is not None
        looked = next(time.time() for line in watching.stdout if line.strip() == token)
        watching.terminate()
    began = float(kubectl("exec", *OPERATOR, "--", "python", "-c", BEGAN))
    log = [json.loads(line) for line in kubectl("logs", *OPERATOR).splitlines()]
    leading = next(line["time"] for line in log if line["message"] == "leading")
    return datetime.fromisoformat(leading).timestamp() - began, looked - began


if __name__ == "__main__":
    typer.run(main)

# /// script
# requires-python = ">=3.11"
# dependencies = ["daft-qdrant==0.2.0", "qdrant-client==1.20.0"]
# ///
"""Daft's sink for Qdrant: one request for each of its partitions.

It calls the client without gRPC unless told otherwise, and a request over REST may have 32 MiB: so gRPC, and partitions
of TASK's batch.
"""

import daft
import daft_qdrant  # noqa: F401 - brings write_qdrant
from clock import TASK, clock


def main() -> None:
    """Writes all rows."""
    client = {"prefer_grpc": True, "grpc_port": TASK["grpc_port"], "check_compatibility": False, "timeout": 600}
    with clock():
        rows = daft.read_parquet(TASK["file"]).into_batches(TASK["batch"])
        written = rows.write_qdrant(
            TASK["collection"], url=TASK["url"], client_kwargs=client, upsert_kwargs={"wait": True}
        )
        results = written.to_pydict()["write_responses"]
    failed = [result.result for result in results if result.result["status"] != "success"]
    if failed:
        raise SystemExit(f"{len(failed)} partitions were not written: {failed[0]}")


if __name__ == "__main__":
    main()

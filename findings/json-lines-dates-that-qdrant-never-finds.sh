#!/usr/bin/env bash
# Qdrant 1.16.3 with rows from datasets 5.2.0, polars 2.1.0, DuckDB 2.0.0 and chdb 4.4.0 as JSON Lines (seen 2026-11-28).
#
# One would guess: a timestamp is written as RFC 3339 by all, and what is not is refused, by the index of type datetime at the latest.
# What happens: four forms of one moment. Qdrant reads those that have a space or a short offset, which are no RFC 3339, and takes
# ClickHouse's and a naive one for UTC. datasets writes milliseconds since 1970 as a number (through pandas): Qdrant stores it, indexes it
# as datetime without an error, and no datetime filter ever finds it.
#
# Output:
#   datasets 1782961445678; polars 2026-07-02T03:04:05.678901+00:00; DuckDB 2026-07-02 05:04:05.678901+02; ClickHouse 2026-07-02 03:04:05.678901
#   a filter on the day, without and with an index, finds: polars, DuckDB, ClickHouse; the index holds 3 of 4 points
set -euo pipefail
folder=$(mktemp -d)
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3
"$python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pandas==3.1.1 polars==2.1.0 duckdb==2.0.0 chdb==4.4.0

cd "$folder"
HF_HUB_OFFLINE=1 HF_HOME="$folder/hub" "$python" - 2>"$folder/progress" <<'PYTHON'
import json
import os
from datetime import UTC, datetime

import chdb
import duckdb
import polars as pl
from datasets import Dataset, Features, Value
from qdrant_client import QdrantClient, models

MOMENT = datetime(2026, 7, 2, 3, 4, 5, 678901, tzinfo=UTC)
Dataset.from_dict({"seen": [MOMENT]}, features=Features({"seen": Value("timestamp[us, tz=UTC]")})).to_json("datasets")
pl.DataFrame({"seen": [MOMENT]}).write_ndjson("polars")
duckdb.sql("SET TimeZone = 'Europe/Berlin'")
duckdb.sql(f"COPY (SELECT '{MOMENT}'::TIMESTAMPTZ AS seen) TO 'DuckDB' (FORMAT json)")
chdb.query("SELECT toDateTime64('2026-07-02 03:04:05.678901', 6, 'UTC') AS seen INTO OUTFILE 'ClickHouse' FORMAT JSONEachRow")
WRITERS = ["datasets", "polars", "DuckDB", "ClickHouse"]
written = {}
for writer in WRITERS:
    with open(writer) as file:
        written[writer] = json.load(file)["seen"]
print("; ".join(f"{writer} {text}" for writer, text in written.items()))

client = QdrantClient(os.environ["QDRANT_URL"], check_compatibility=False)
client.create_collection("c", vectors_config={})
points = [models.PointStruct(id=n, vector={}, payload={"by": by, "seen": seen}) for n, (by, seen) in enumerate(written.items())]
client.upsert("c", points, wait=True)
day = models.DatetimeRange(gte="2026-07-02T00:00:00Z", lt="2026-07-03T00:00:00Z")
on_the_day = models.Filter(must=[models.FieldCondition(key="seen", range=day)])


def find():
    return [point.payload["by"] for point in client.scroll("c", on_the_day)[0]]


without = find()
client.create_payload_index("c", "seen", models.PayloadSchemaType.DATETIME, wait=True)
indexed = client.get_collection("c").payload_schema["seen"].points
print(f"a filter on the day, without and with an index, finds: {', '.join(find())}; the index holds {indexed} of {len(points)} points")
assert isinstance(written["datasets"], int)
assert without == find() == WRITERS[1:]
assert indexed == len(points) - 1
PYTHON

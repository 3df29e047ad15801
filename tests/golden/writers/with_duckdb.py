# /// script
# requires-python = ">=3.11"
# dependencies = ["duckdb==2.0.0"]
# ///
"""What DuckDB's COPY writes: FLOAT[n], JSON, MAP, UNION, VARIANT, HUGEINT, GEOMETRY, time zones; JSON Lines, CSV."""

import sys
from pathlib import Path

import duckdb

FOLDER = Path(sys.argv[1])
db = duckdb.connect()
db.execute("SET TimeZone = 'Europe/Berlin'")


def copy(name: str, query: str, options: str = "") -> None:
    """Writes the rows of a query in the format that the end of the name says."""
    db.execute(f"COPY ({query}) TO '{FOLDER / name}' {options}")


db.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
db.execute("""
    CREATE TABLE docs AS SELECT * FROM (VALUES
        (1, [0.1, 0.2, 0.3, 0.4]::FLOAT[4], 'one', '{"a": [1, 2.5, null], "b": {"c": 18446744073709551615}}'::JSON,
         'happy'::mood, 12.30::DECIMAL(10, 2), MAP {'x': 1, 'y': 2}, {'name': 'Ada', 'tags': ['m', 'n']},
         DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05.678901', TIMESTAMP_NS '2026-01-02 03:04:05.678901234',
         TIMESTAMPTZ '2026-01-02 03:04:05+01', TIME '03:04:05.678901', true, '00123', 255::UTINYINT),
        (2, [1, 2, 3, 4]::FLOAT[4], NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (3, [-1, 0, 1, 0]::FLOAT[4], 'Grüße, "世界"', '"text"'::JSON, 'sad'::mood, -0.01, MAP {},
         {'name': NULL, 'tags': []}, DATE '0001-01-01', TIMESTAMP '1900-01-01', NULL,
         TIMESTAMPTZ '1970-01-01 00:00:00+00', TIME '00:00', false,
         '+5', 0::UTINYINT)
    ) docs(id, vector, title, facts, mood, price, counts, author, day, seen, seen_ns, seen_tz, clock, flag, code, small)
""")
copy("duckdb-docs.parquet", "FROM docs")
copy("duckdb-docs.jsonl", "FROM docs", "(FORMAT json)")
copy("duckdb-docs.csv", "SELECT id, title, mood, price, day, seen, seen_tz, flag, code, small FROM docs")
copy("duckdb-docs.csv.zst", "SELECT id, title, price, code FROM docs", "(FORMAT csv, COMPRESSION zstd)")
copy("duckdb-docs.json.gz", "SELECT id, vector, title, facts FROM docs", "(FORMAT json, COMPRESSION gzip)")
copy(
    "duckdb-uuid.parquet",
    "SELECT '550e8400-e29b-41d4-a716-44665544000' || i AS id_text, id_text::UUID AS id, [i, 2, 3, 4]::FLOAT[] AS vector"
    " FROM range(3) numbers(i)",
)
# One NULL makes all rows of a FLOAT[n] unreadable for pyarrow; those of a list are read.
nulls = "FROM (VALUES (1, [1, 2, 3, 4]::FLOAT[4]), (2, NULL), (3, [5, 6, 7, 8]::FLOAT[4])) t(id, vector)"
copy("duckdb-null-array.parquet", nulls)
copy("duckdb-null-list.parquet", f"SELECT id, vector::FLOAT[] AS vector {nulls}")
# SUM gives HUGEINT, which Parquet gets as double.
copy(
    "duckdb-hugeint.parquet",
    "SELECT SUM(i) AS id, [1, 2, 3, 4]::FLOAT[] AS vector FROM range(3) t(i) GROUP BY i ORDER BY i",
)
plain = "SELECT i AS id, [i, 2, 3, 4]::FLOAT[] AS vector"
copy(
    "duckdb-union.parquet",
    f"{plain}, CASE WHEN i = 0 THEN 7::UNION(num INT, str VARCHAR) ELSE 'x'::UNION(num INT, str VARCHAR) END AS either"
    " FROM range(2) t(i)",
)
copy(
    "duckdb-variant.parquet",
    f"{plain}, (CASE WHEN i = 0 THEN 7::VARIANT ELSE {{'a': 'x'}}::VARIANT END) AS free FROM range(2) t(i)",
)
copy("duckdb-interval.parquet", f"{plain}, INTERVAL 1 MONTH AS gap FROM range(2) t(i)")
copy("duckdb-timetz.parquet", f"{plain}, TIMETZ '03:04:05+02' AS clock FROM range(2) t(i)")
copy(
    "duckdb-infinity.parquet",
    f"{plain}, (CASE i WHEN 0 THEN 'infinity' WHEN 1 THEN '2026-01-02' ELSE '4000-01-01 (BC)' END)::TIMESTAMP AS seen"
    " FROM range(3) t(i)",
)
copy("duckdb-blob.parquet", f"{plain}, 'ab'::BLOB AS raw FROM range(2) t(i)")
copy("duckdb-bit.parquet", f"{plain}, '0101'::BIT AS bits, 1::UHUGEINT AS large FROM range(2) t(i)")
try:
    copy("duckdb-geometry.parquet", f"{plain}, 'POINT (13.4 52.5)'::GEOMETRY AS place FROM range(2) t(i)")
except duckdb.Error as error:
    print("geometry:", error)

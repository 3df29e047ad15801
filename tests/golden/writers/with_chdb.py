# /// script
# requires-python = ">=3.11"
# dependencies = ["chdb==4.4.0"]
# ///
"""What ClickHouse writes (as a library): enums, IP addresses, fixed strings, maps, tuples, Int128."""

import sys
from pathlib import Path

import chdb

FOLDER = Path(sys.argv[1])


def write(name: str, columns: str, form: str = "Parquet") -> None:
    """Three rows, numbered 0 to 2."""
    Path(FOLDER / name).write_bytes(chdb.query(f"SELECT {columns} FROM numbers(3)", form).bytes())


VECTOR = "arrayMap(i -> toFloat32(number + i / 4), range(4)) AS vector"
columns = f"""
    toUInt64(18446744073709551615 - number) AS id, {VECTOR},
    if(number = 1, NULL, concat('text ', toString(number))) AS text,
    toLowCardinality(if(number = 1, 'b', 'a')) AS kind,
    toDecimal64('12.30', 2) AS price, toDate('2026-01-02') AS day, toDate32('1925-01-01') AS old_day,
    toDateTime('2026-01-02 03:04:05', 'UTC') AS seen,
    toDateTime64('2026-01-02 03:04:05.678901234', 9, 'Europe/Berlin') AS seen_ns,
    map('x', number) AS counts, tuple('Ada', 36)::Tuple(name String, age UInt8) AS author,
    ['a', 'b']::Array(LowCardinality(String)) AS tags, true AS flag
"""
write("chdb-plain.parquet", columns)
write("chdb-plain.jsonl", columns, "JSONEachRow")
write("chdb-plain.csv", "number AS id, 'a \"b\"' AS text, toDate('2026-01-02') AS day, '007' AS code", "CSVWithNames")
write("chdb-arrow.arrow", columns, "Arrow")
write("chdb-uuid.parquet", f"toUUID(concat('550e8400-e29b-41d4-a716-44665544000', toString(number))) AS id, {VECTOR}")
write("chdb-json.parquet", f'number AS id, {VECTOR}, \'{{"a": 1, "b": [2.5]}}\'::JSON AS facts')
write("chdb-enum.parquet", f"number AS id, {VECTOR}, CAST('ok' AS Enum8('sad' = 1, 'ok' = 2)) AS mood")
write("chdb-ip.parquet", f"number AS id, {VECTOR}, toIPv4('127.0.0.1') AS ip4")
write("chdb-ipv6.parquet", f"number AS id, {VECTOR}, toIPv6('::1') AS ip6")
write("chdb-fixed-string.parquet", f"number AS id, {VECTOR}, toFixedString('ab', 4) AS code")
write("chdb-int128.parquet", f"number AS id, {VECTOR}, toInt128(number) AS wide")
write("chdb-int128-id.parquet", f"toInt128(number) AS id, {VECTOR}")
write("chdb-not-utf8.parquet", f"number AS id, {VECTOR}, if(number = 1, unhex('ff'), 'fine') AS text")
write("chdb-point.parquet", f"number AS id, {VECTOR}, (13.4, 52.5)::Point AS place")

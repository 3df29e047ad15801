from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.formats.base import ArrowRows, BadRow, FileFormat, JsonRows, Rows
from vectorops.formats.json_text import BadJson, load_exact_json
from vectorops.formats.read import format_of, read_rows

TABLE = pa.table({"id": range(10_000), "v": [[1.0, 2.0]] * 10_000, "t": ["a"] * 10_000})


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def write_file(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "a.parquet": pq.write_table,
    "a.feather": pyarrow.feather.write_feather,
    "a.arrow": write_file,
    "a.arrows": write_stream,
}


def rows_of(found: list[Rows]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for one in found:
        if isinstance(one, ArrowRows):
            rows += one.batch.to_pylist()
        elif isinstance(one, JsonRows):
            rows += one.rows
    return rows


def numbers_of(found: list[Rows]) -> list[int]:
    return [number for one in found if not isinstance(one, BadRow) for number in one.numbers]


def bad_rows(found: list[Rows]) -> dict[int, str]:
    return {one.number: one.reason for one in found if isinstance(one, BadRow)}


def read(path: Path, **options: Any) -> list[Rows]:
    return list(read_rows(path, format_of(path.name), **options))


def error_of(path: Path, format: FileFormat | None = None, **options: Any) -> str:  # noqa: A002
    with pytest.raises(Terminal) as caught:
        list(read_rows(path, format or format_of(path.name), name=f"s3://b/{path.name}", **options))
    assert caught.value.reason == Reason.SOURCE_INVALID
    assert caught.value.message.startswith(f"s3://b/{path.name}: ")
    return caught.value.message


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3://bucket/a.b/docs.PARQUET", "Parquet"),
        ("configmap/handbook:a.jsonl", "JSONLines"),
        ("a.ndjson.gz", "JSONLines"),
        ("a.csv.zst", "CSV"),
        ("https://host/a.csv?version=1.parquet", "CSV"),
        ("a.feather", "ArrowIPC"),
        ("a.arrow", "ArrowIPC"),
    ],
)
def test_the_end_of_a_name_says_the_format(name, expected):
    assert format_of(name) == expected


@pytest.mark.parametrize("name", ["a", "a.txt", "a.gz", "a.parquet.gz", "a.json"])
def test_a_name_that_says_no_format_is_refused(name):
    with pytest.raises(Terminal, match=name):
        format_of(name)


# Parquet and Arrow IPC


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("is_private", [True, False])
def test_all_rows_come_in_batches_with_their_numbers(tmp_path, name, is_private):
    WRITERS[name](TABLE, tmp_path / name)

    found = read(tmp_path / name, is_private=is_private)

    assert all(len(one.numbers) <= 4096 for one in found if isinstance(one, ArrowRows))
    assert numbers_of(found) == list(range(1, 10_001))
    assert rows_of(found) == TABLE.to_pylist()


@pytest.mark.parametrize("name", WRITERS)
def test_columns_that_are_not_asked_for_are_not_read(tmp_path, name):
    WRITERS[name](TABLE, tmp_path / name)

    found = read(tmp_path / name, columns=lambda names: [one for one in names if one != "v"])

    assert rows_of(found)[:1] == [{"id": 0, "t": "a"}]


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_without_rows_gives_none(tmp_path, name):
    WRITERS[name](TABLE.slice(0, 0), tmp_path / name)

    assert rows_of(read(tmp_path / name)) == []


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("is_private", [True, False])
def test_a_file_that_is_cut_short_or_is_something_else_is_refused(tmp_path, name, is_private):
    WRITERS[name](TABLE, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:20], b"", b"id,title\n1,a\n"):
        (tmp_path / name).write_bytes(content)
        error_of(tmp_path / name, is_private=is_private)


def test_a_batch_is_small_where_rows_are_large(tmp_path):
    rows = 2000
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 4096, np.float32)), 4096)
    pq.write_table(pa.table({"v": vectors}), tmp_path / "a.parquet", use_dictionary=False)

    found = read(tmp_path / "a.parquet")

    assert max(one.batch.nbytes for one in found if isinstance(one, ArrowRows)) < 10 * 2**20
    assert numbers_of(found) == list(range(1, rows + 1))


def test_a_batch_is_small_where_many_rows_share_a_large_text(tmp_path):
    """Parquet keeps it once."""
    pq.write_table(pa.table({"t": ["x" * 1_000_000] * 200}), tmp_path / "a.parquet")

    found = read(tmp_path / "a.parquet")

    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    assert max(one.batch.nbytes for one in found if isinstance(one, ArrowRows)) < 10 * 2**20
    assert numbers_of(found) == list(range(1, 201))


def test_a_buffer_of_arrow_that_leads_outside_of_itself_is_refused(tmp_path):
    write_file(pa.table({"t": ["abc", "defgh"]}), tmp_path / "a.arrow")
    content = (tmp_path / "a.arrow").read_bytes()
    right, wrong = (np.array(ends, np.int32).tobytes() for ends in ([0, 3, 8], [0, 9, 8]))
    assert content.count(right) == 1
    (tmp_path / "a.arrow").write_bytes(content.replace(right, wrong))

    error_of(tmp_path / "a.arrow")


def test_feather_of_version_1_is_refused(write):
    assert "version 1 of Feather" in error_of(write("a.feather", b"FEA1" + bytes(100) + b"FEA1"))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    """90 MB of rows; arrow_ipc: in batches of 20,000 rows."""
    rows, size = 60_000, 384
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.random.default_rng(1).random(rows * size, np.float32)), size
    )
    table = pa.table({"id": range(rows), "v": vectors})
    if name == "a.parquet":
        pq.write_table(table, tmp_path / name, row_group_size=20_000)
    else:
        with pa.ipc.new_file(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table, max_chunksize=5_000)
    script = (
        "import sys, resource, pathlib, pyarrow, pyarrow.parquet\n"
        "from vectorops.formats.read import read_rows, format_of\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = sum(len(one.numbers) for one in read_rows(path, format_of(path.name)))\n"
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / name], capture_output=True, text=True, check=True,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )  # fmt: skip
    count, grown_kib = map(int, run.stdout.split())

    assert count == rows
    assert grown_kib < 60_000


# JSON Lines


def test_json_lines_keep_each_value_as_it_is(write):
    rows = [
        {"id": 2**64 - 1, "d": "2026-11-28", "z": "2026-11-28T01:02:03+02:00", "n": "00123", "f": 1.5, "i": -(2**63)}
    ]
    rows += [{"id": 1, "other": {"a": [None, True]}}]
    content = "\ufeff" + "\r\n\n  \n".join(json.dumps(row) for row in rows)

    found = read(write("a.jsonl", content.encode()))

    assert rows_of(found) == rows
    assert numbers_of(found) == [1, 4]


def test_a_line_that_is_no_row_is_bad_and_the_others_are_read(write):
    lines = [
        b'{"id": 1}', b'{"id": NaN}', b'{"id": 18446744073709551616}', b'{"a": [-9223372036854775809]}', b"[1]", b"{",
        b'{"a": "\xff"}', b'{"a": "\\ud800"}', b'{"id": 2, "id": 3}',
    ]  # fmt: skip

    found = read(write("a.jsonl", b"\n".join(lines) + b"\n"))

    assert rows_of(found) == [{"id": 1}, {"id": 3}]
    assert sorted(bad_rows(found)) == [2, 3, 4, 5, 6, 7, 8]
    assert bad_rows(found)[3] == "the line is an integer beyond 64 bits: write it as text"


def test_a_json_list_is_refused_with_what_helps(write):
    assert "jq" in error_of(write("a.jsonl", b'[{"id": 1}]'))


def test_json_lines_that_end_within_a_row_are_cut_short(write):
    assert "cut short" in error_of(write("a.jsonl", b'{"id": 1}\n{"id": 2, "ti'))


def test_a_line_without_end_is_bad_and_not_held(write, monkeypatch):
    monkeypatch.setattr("vectorops.formats.json_lines.MAX_ROW_BYTES", 100)

    found = read(write("a.jsonl", b'{"id": 1}\n{"id": "' + b"x" * 1000 + b'"}\n{"id": 2}\n'))

    assert rows_of(found) == [{"id": 1}, {"id": 2}]
    assert list(bad_rows(found)) == [2]


json_rows = st.lists(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
    ),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(rows=json_rows, escaped=st.booleans())
def test_what_is_written_as_json_lines_is_read_back(tmp_path_factory, rows, escaped):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows), "utf-8")

    assert rows_of(read(path)) == rows


@given(
    number=st.integers(-(10**25), 10**25),
    around=st.sampled_from(['{"a":%s}', "[0.1, %s]", "[%s,1]", "%s", '{"a": {"b":[%s ]}}']),
)
def test_an_integer_is_kept_or_refused_never_rounded(number, around):
    text = (around % number).encode()
    if -(2**63) <= number < 2**64:
        assert load_exact_json(text) == json.loads(text)
        assert isinstance(number, int)
    else:
        with pytest.raises(BadJson):
            load_exact_json(text)


@pytest.mark.parametrize(
    "text", ["12345678901234567890.5", "0.00012345678901234567", '"123456789012345678901234"', "1e300"]
)
def test_digits_that_are_no_integer_are_no_reason_to_refuse(text):
    assert load_exact_json(text.encode()) == json.loads(text)


# CSV


def test_csv_is_text_and_nothing_else(write):
    content = '\ufeffid,n,"a ""b""",x\r\n1,00123,"line\r\nbreak",0x1F\r\n+5,,"é, ü",2026-11-28\r\n'

    found = read(write("a.csv", content.encode()))

    assert rows_of(found) == [
        {"id": "1", "n": "00123", 'a "b"': "line\r\nbreak", "x": "0x1F"},
        {"id": "+5", "n": "", 'a "b"': "é, ü", "x": "2026-11-28"},
    ]
    assert numbers_of(found) == [2, 3]


def test_a_row_of_csv_that_does_not_fit_is_bad_and_the_others_are_read(write):
    content = b'id,t\n1,"a\n\nb"\n2\n3,x,y\n\n4,\xff\n5,"a"b\n6,f\n'

    found = read(write("a.csv", content))

    assert rows_of(found) == [{"id": "1", "t": "a\n\nb"}, {"id": "6", "t": "f"}]
    assert bad_rows(found) == {
        3: "1 cell, but the header has 2",
        4: "3 cells, but the header has 2",
        6: "the row is no UTF-8",
        7: "the row's quotes are wrong",
    }
    assert numbers_of(found) == [2, 8]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no CSV file with a header"),
        (b"\xff\n", "no CSV file with a header"),
        (b"a,b,a\n", "two columns have the same name: a"),
        (b'a,b\n1,"open\n', "cut short: the quotes of row 2 are not closed"),
    ],
)
def test_what_is_no_csv_is_refused(write, content, expected):
    assert expected in error_of(write("a.csv", content))


def test_only_the_columns_of_csv_that_are_asked_for_are_kept(write):
    found = read(write("a.csv", b"id,x,y\n1,2,3\n"), columns=lambda names: [one for one in names if one != "x"])

    assert rows_of(found) == [{"id": "1", "y": "3"}]


cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(cells.filter(bool), cells), max_size=5))
def test_what_is_written_as_csv_is_read_back(tmp_path_factory, rows):
    text = io.StringIO()
    csv.writer(text).writerows([("a", "b"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(text.getvalue().encode())

    assert [tuple(row.values()) for row in rows_of(read(path))] == rows


# Compressed


def compress_zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": compress_zstd}
LINES = b"".join(b'{"id": %d}\n' % number for number in range(50_000))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_file_is_read_by_its_bytes_whatever_its_name(write, packer):
    packed = PACKERS[packer](LINES)
    for name in (f"a.jsonl.{packer}", "a.jsonl"):
        assert len(rows_of(read(write(name, packed)))) == 50_000
    # Several files in one, as `cat` makes them.
    assert len(rows_of(read(write(f"a.jsonl.{packer}", packed + packed)))) == 100_000
    # Some servers unpack on the way.
    assert len(rows_of(read(write(f"a.jsonl.{packer}", LINES)))) == 50_000
    assert rows_of(read(write(f"a.csv.{packer}", PACKERS[packer](b"id\n1\n")))) == [{"id": "1"}]


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_file_that_is_cut_short_is_refused(write, packer):
    packed = PACKERS[packer](LINES)
    for end in (-1, len(packed) // 2, 5, 0):
        error_of(write(f"a.jsonl.{packer}", packed[:end]))
    error_of(write(f"a.jsonl.{packer}", packed + b"garbage"))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_file_may_unpack_to_so_many_bytes(write, packer):
    path = write(f"a.jsonl.{packer}", PACKERS[packer](LINES))

    assert len(rows_of(read(path, max_unpacked_bytes=len(LINES)))) == 50_000
    assert "more than 100,000 bytes" in error_of(path, max_unpacked_bytes=100_000)

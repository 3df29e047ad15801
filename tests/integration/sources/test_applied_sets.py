"""Sets from sources at the command line: what is as declared is not written again, and deletions may need a word."""

import gzip

import pyarrow.parquet as pq
from pyarrow import json as arrow_json

from integration.conftest import StartQdrant
from integration.sources.sourced import SourcedSet, bucket_secret, lines, row
from servers.s3 import S3Server


def test_rows_that_are_as_declared_are_not_written_whatever_they_come_in(
    rows: SourcedSet, start_qdrant: StartQdrant, moto: S3Server
) -> None:
    rows.qdrant = start_qdrant()
    content = [row(id, kind=f"kind {id}") for id in range(20)]
    rows.load(*content)
    before = rows.qdrant.telemetry_writes()

    assert rows.apply().ready
    assert rows.qdrant.telemetry_writes() == before

    # The ledger keeps the name of the new revision; nothing else is written.
    (rows.folder / "b.jsonl.gz").write_bytes(gzip.compress(lines(*reversed(content))))
    table = arrow_json.read_json(rows.folder / "a.jsonl")
    pq.write_table(table, rows.folder / "c.parquet")
    moto.put("applied", {"d/1.jsonl": lines(*content[:7]).decode(), "d/2.jsonl": lines(*content[5:]).decode()})
    rows.secrets = [bucket_secret()]
    bucket = {"url": "s3://applied/d/", "endpoint": moto.url, "credentialsSecretRef": {"name": "bucket"}}
    for times, source in enumerate((
        {"files": {"path": "b.jsonl.gz"}},
        {"files": {"path": "c.parquet"}},
        {"s3": bucket},
    ), start=1):  # fmt: skip
        rows.spec["source"] = source
        look = rows.apply()
        assert look.counts == (20, 0), look.message
        assert rows.qdrant.telemetry_writes() <= before + 2 * times


def test_too_many_deletions_are_carried_out_by_the_run_that_approves_them(rows: SourcedSet) -> None:
    rows.load(*(row(id, kind="old") for id in range(10)))
    rows.spec["maxDeletePercent"] = 20
    rows.put("a.jsonl", *(row(id, kind="new") for id in range(2, 7)), row(11))

    held = rows.apply()
    assert (held.reason, rows.ids()) == ("DeletionsHeldBack", [*range(10), 11])
    assert "5 points of 10" in held.message
    assert rows.payloads()[2]["kind"] == "new"
    wrong = rows.apply("--approve", "0123456789ab")
    assert (wrong.reason, len(rows.ids())) == ("DeletionsHeldBack", 11)

    done = rows.apply("--approve", held.status["plan"]["hash"])

    assert (done.ready, rows.ids()) == (True, [*range(2, 7), 11])


def test_what_is_inserted_meanwhile_does_not_let_held_deletions_go(rows: SourcedSet) -> None:
    """As after a change of the column that holds the id: each run would find the set larger."""
    rows.spec["maxDeletePercent"] = 50
    rows.load(*(row(id) for id in range(10)))
    rows.put("a.jsonl", *(row(id) for id in range(100, 130)))

    for _ in range(2):
        held = rows.apply()
        assert held.reason == "DeletionsHeldBack", held.message
        assert "10 points of 10" in held.message
    rows.put("a.jsonl", *(row(id) for id in range(100, 131)))
    assert rows.apply().reason == "DeletionsHeldBack"
    assert len(rows.ids()) == 41

    # The rows of most are back.
    rows.put("a.jsonl", *(row(id) for id in (*range(6), *range(100, 130))))
    assert rows.apply().ready
    assert rows.ids() == [*range(6), *range(100, 130)]
    rows.put("a.jsonl", *(row(id) for id in range(100, 130)))
    assert rows.apply().ready, "6 of 36"


def test_as_many_deletions_as_are_allowed_need_no_word(rows: SourcedSet) -> None:
    rows.load(*(row(id) for id in range(10)))
    rows.spec["maxDeletePercent"] = 20
    rows.put("a.jsonl", *(row(id) for id in range(8)))

    assert rows.apply().ready
    assert rows.ids() == list(range(8))

"""What becomes of a set whose source cannot be read whole: nothing is written or deleted, and the reason says why."""

import gzip
from collections.abc import Callable

import pytest

from integration.sources.sourced import CONTENT, SourcedSet, bucket_secret, lines, row
from servers.files import FileServer, Served
from servers.s3 import S3Server
from vectorops.api.meta import JsonObject


def test_a_file_that_is_gone_deletes_nothing(rows: SourcedSet, files: FileServer, moto: S3Server) -> None:
    rows.load(row(1), row(2))
    (rows.folder / "a.jsonl").unlink()
    moto.put("missing", {"other.jsonl": "{}"})
    rows.secrets = [bucket_secret()]
    bucket = {"endpoint": moto.url, "credentialsSecretRef": {"name": "bucket"}}
    for source, named in (
        ({"files": {"path": "a.jsonl"}}, "a.jsonl"),
        ({"files": {"path": "folder/*.jsonl"}}, "folder"),
        ({"http": {"urls": [f"{files.url}/a.jsonl"]}}, f"{files.url}/a.jsonl"),
        ({"s3": {"url": "s3://missing/a.jsonl", **bucket}}, "s3://missing/a.jsonl"),
        ({"s3": {"url": "s3://no-such-bucket/*.jsonl", **bucket}}, "s3://no-such-bucket"),
    ):
        rows.spec["source"] = source
        look = rows.apply()
        assert (look.reason, named in look.message) == ("SourceMissing", True), look.message
    assert rows.ids() == [1, 2]


def test_a_source_without_rows_deletes_only_if_that_is_allowed(rows: SourcedSet) -> None:
    rows.load(row(1), row(2))
    path = rows.folder / "a.jsonl"
    for empty in (lambda: path.write_bytes(b""), lambda: path.write_bytes(b"\n\n"), path.unlink):
        empty()
        look = rows.apply()
        assert (look.reason, rows.ids()) == ("SourceEmpty", [1, 2])
        assert "allowEmptySource: true" in look.message
    assert "no file matches source.files.path, *.jsonl" in look.message

    rows.spec["allowEmptySource"] = True
    look = rows.apply()

    assert (look.ready, look.counts, rows.ids()) == (True, (0, 0), [])


def test_a_redirect_into_a_metadata_server_is_refused(rows: SourcedSet, files: FileServer) -> None:
    rows.load(row(1), row(2))
    target = {"Location": "http://169.254.169.254/latest/meta-data/a.jsonl"}
    files.files["/a.jsonl"] = Served(status=302, headers=target)
    rows.spec["source"] = {"http": {"urls": [f"{files.url}/a.jsonl"]}}

    look = rows.apply()

    assert (look.reason, rows.ids()) == ("SourceRefused", [1, 2])
    assert "169.254.169.254" in look.message


@pytest.mark.parametrize("sends_length", [True, False])
def test_rows_that_do_not_fit_into_the_staging_folder_are_refused(
    rows: SourcedSet, files: FileServer, sends_length: bool
) -> None:
    rows.load(row(1), row(2))
    many = lines(*(row(id, pad="x" * 1000) for id in range(30)))
    files.files["/a.jsonl"] = Served(many, sends_length=sends_length)
    rows.spec["source"] = {"http": {"urls": [f"{files.url}/a.jsonl"]}}

    look = rows.apply("--staging-bytes", "10Ki")
    assert look.reason == ("StagingFull" if sends_length else "SourceInvalid"), look.message
    assert [str(request) for request in files.requests].count("GET /a.jsonl") == (0 if sends_length else 1)
    # There is room for the file, but not for its rows.
    files.files["/a.jsonl"] = Served(gzip.compress(many), sends_length=sends_length)
    look = rows.apply("--staging-bytes", "10Ki")
    assert look.reason == "StagingFull", look.message
    assert "--staging-bytes" in look.message
    assert rows.ids() == [1, 2]

    assert rows.apply("--staging-bytes", "10Mi").ready
    assert rows.ids() == list(range(30))


@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changes_while_it_is_read_is_read_again(rows: SourcedSet, files: FileServer, etag: bool) -> None:
    rows.load(row(1), row(2))
    path = "/a.jsonl"

    def served(*ids: int, during: Callable[[], object] = lambda: None) -> Served:
        return Served(lines(*map(row, ids)), etag=f'"{ids}"'.replace(" ", "") if etag else None, during=during)

    files.files[path] = served(1, during=lambda: files.files.update({path: served(2, 3)}))
    files.files[path].modified = None if etag else 1e9
    rows.spec["source"] = {"http": {"urls": [f"{files.url}{path}"]}}

    look = rows.apply()

    assert (look.ready, rows.ids()) == (True, [2, 3]), look.message


def test_wrong_credentials_are_told_at_once_and_not_shown(rows: SourcedSet, gateway: S3Server) -> None:
    gateway.put("credentials", {"a.jsonl": lines(row(1), row(3)).decode()})
    rows.load(row(1), row(2))
    wrong = "wr0ng-secret-key"
    rows.secrets = [bucket_secret("bad", secret_key=wrong), bucket_secret("good")]

    def source(secret: str | None) -> JsonObject:
        named = {"credentialsSecretRef": {"name": secret}} if secret else {}
        return {"s3": {"url": "s3://credentials/*.jsonl", "endpoint": gateway.url, **named}}

    for secret, reason in (("bad", "SourceInvalid"), (None, "SourceInvalid"), ("none", "SecretNotFound")):
        rows.spec["source"] = source(secret)
        look = rows.apply()
        assert (look.reason, rows.ids()) == (reason, [1, 2])
        assert wrong not in str(look)

    rows.spec["source"] = source("good")
    assert rows.apply().ready
    assert rows.ids() == [1, 3]


def test_a_format_that_no_name_tells_and_a_wrong_one_are_refused(rows: SourcedSet) -> None:
    rows.load(row(1), row(2))
    (rows.folder / "b.txt").write_bytes(lines(row(1)))
    rows.spec["source"]["files"]["path"] = "b.txt"
    look = rows.apply()
    assert (look.reason, "mapping.format" in look.message) == ("SourceInvalid", True)

    for name in ("Parquet", "ArrowIPC"):
        rows.spec["mapping"] = {"format": name}
        look = rows.apply()
        assert (look.reason, look.message.startswith("b.txt: ")) == ("SourceInvalid", True), look.message
    assert rows.ids() == [1, 2]

    rows.spec["mapping"] = {"format": "JSONLines"}
    assert rows.apply().ready
    assert rows.payloads() == {1: {"title": CONTENT}}

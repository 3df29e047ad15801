"""Objects of buckets, fetched from two real servers that speak S3's protocol."""

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import xxhash

from servers.files import Served
from servers.proxy import Call, Cut, Proxy
from servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from vectorops.api.reasons import Reason
from vectorops.api.source import S3Source
from vectorops.errors import Terminal, Transient, VectorOpsError
from vectorops.outbound import AllowedHosts
from vectorops.sources.base import FetchLimits
from vectorops.sources.bucket import BucketFiles
from vectorops.sources.signing import S3Credentials

CREDENTIALS = S3Credentials(ACCESS_KEY, SECRET_KEY)
KEYS = (
    "docs/b.csv",
    "docs/a.csv",
    "docs/2026/c.csv",
    "docs/a b+c&ä=~(1)'%41.csv",
    "docs/_SUCCESS",
    "docs/_tmp/d.csv",
    "docs/.hidden.csv",
    "docs/folder/",
    "docs2/e.csv",
)


@pytest.fixture(scope="module", params=["moto", "gateway"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the two, with a bucket of objects whose content is their key."""
    server: S3Server = request.getfixturevalue(request.param)
    server.put("points", {key: "" if key.endswith("/") else key for key in KEYS})
    return server


def source(
    url: str,
    endpoint: str,
    *,
    credentials: S3Credentials | None = CREDENTIALS,
    hosts: tuple[str, ...] = (),
    limits: FetchLimits | None = None,
    **more,
) -> BucketFiles:
    declared = S3Source.model_validate({"url": url, "endpoint": endpoint, **more})
    allowed = AllowedHosts(hosts, Reason.SOURCE_REFUSED, "--allowed-source-host")
    return BucketFiles(declared, allowed, credentials=credentials, limits=limits or FetchLimits(pauses=()))


async def names(source: BucketFiles) -> list[str]:
    try:
        return [file.name.removeprefix("s3://points/") for file in await source.list()]
    finally:
        await source.close()


async def failure(source: BucketFiles, staging: Path) -> VectorOpsError:
    """The error of listing and fetching all files, after which nothing is left in the folder."""

    async def fetch_all() -> None:
        for file in await source.list():
            await source.fetch(file, staging)

    with pytest.raises(VectorOpsError) as failed:
        await fetch_all()
    await source.close()
    assert list(staging.iterdir()) == []
    for secret in (ACCESS_KEY, SECRET_KEY, "5ecret"):
        assert secret not in failed.value.message
    return failed.value


async def test_wildcards_choose_objects(server):
    odd = "docs/a b+c&ä=~(1)'%41.csv"

    assert await names(source("s3://points/docs/*.csv", server.url)) == [odd, "docs/a.csv", "docs/b.csv"]
    assert await names(source("s3://points/docs/[ab].csv", server.url)) == ["docs/a.csv", "docs/b.csv"]
    assert await names(source("s3://points/**/c.csv", server.url)) == ["docs/2026/c.csv"]
    assert await names(source("s3://points/docs/none-*", server.url)) == []


async def test_a_key_that_ends_in_a_slash_means_all_below_it_but_marks_of_writers(server):
    assert await names(source("s3://points/docs/", server.url)) == [
        "docs/2026/c.csv",
        "docs/a b+c&ä=~(1)'%41.csv",
        "docs/a.csv",
        "docs/b.csv",
    ]


async def test_every_object_is_fetched_with_its_digest(server, staging):
    bucket = source("s3://points/docs/**", server.url)

    files = await bucket.list()
    fetched = [await bucket.fetch(file, staging) for file in files]

    assert len(files) == 6
    for file, got in zip(files, fetched, strict=True):
        content = file.name.removeprefix("s3://points/").encode()
        assert got.path.read_bytes() == content
        assert got.digest == xxhash.xxh3_128_hexdigest(content)
        assert file.size == len(content)
    await bucket.close()


async def test_keys_that_are_no_paths_of_files_are_objects_like_others(moto, staging):
    """A client of HTTP would resolve the dots; obstore lists nothing below a prefix with an empty segment."""
    keys = ["odd//x.csv", "odd/./y.csv", "odd/a/../z.csv"]
    moto.put("odd", {key: key for key in keys})
    bucket = source("s3://odd/odd/", moto.url)

    files = await bucket.list()

    assert [file.name for file in files] == ["s3://odd/odd//x.csv"]
    assert (await bucket.fetch(files[0], staging)).path.read_text() == "odd//x.csv"
    for key in keys:
        named = source(f"s3://odd/{key}", moto.url)
        (file,) = await named.list()
        assert (await named.fetch(file, staging)).path.read_text() == key
        await named.close()
    await bucket.close()


async def test_a_named_object_needs_no_listing(server, staging):
    with Proxy(server.url) as proxy:
        bucket = source("s3://points/docs/a.csv", proxy.url)

        (file,) = await bucket.list()
        await bucket.fetch(file, staging)

        assert [call.method for call in proxy.calls] == ["HEAD", "GET", "HEAD"]
        assert file.size == len("docs/a.csv")
        assert await names(source("s3://points/docs/a.csv", server.url)) == ["docs/a.csv"]
        await bucket.close()


async def test_a_named_object_that_is_missing_is_an_error(server, staging):
    failed = await failure(source("s3://points/docs/x.csv", server.url), staging)

    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_MISSING)
    assert "s3://points/docs/x.csv" in failed.message


async def test_a_bucket_that_is_missing_is_an_error(server, staging):
    failed = await failure(source("s3://no-such-bucket/docs/*", server.url), staging)

    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_MISSING)
    assert "NoSuchBucket" in failed.message


async def test_a_long_listing_is_read_page_by_page(server):
    server.put("pages", {f"many/{i:03}": "x" for i in range(5)})

    with Proxy(server.url) as proxy:
        bucket = _paged(source("s3://pages/many/*", proxy.url))

        assert [file.name[-3:] for file in await bucket.list()] == ["000", "001", "002", "003", "004"]
        assert len(proxy.calls) == 3
        await bucket.close()


async def test_a_listing_that_fails_on_page_two_gives_nothing(server, staging):
    """Files that are missing from a listing would be deleted from the collection."""
    server.put("pages", {f"many/{i:03}": "x" for i in range(5)})

    with Proxy(server.url) as proxy:
        proxy.before = _cut_page_two
        failed = await failure(_paged(source("s3://pages/many/*", proxy.url)), staging)

        assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_UNAVAILABLE)
        assert "s3://pages/many/" in failed.message


async def test_an_object_whose_connection_broke_goes_on_where_it_broke(server, staging):
    content = "".join(f"{number:07},words\n" for number in range(300_000))
    server.put("points", {"large/a.csv": content})
    with Proxy(server.url) as proxy:
        bucket = source("s3://points/large/*", proxy.url, limits=FetchLimits(pauses=(0.01,)))
        (file,) = await bucket.list()
        passed = 0

        def cut_in_the_middle(data: bytes) -> bytes:
            nonlocal passed
            passed += len(data)
            if passed > len(content) // 2:
                proxy.alter = bytes
                raise Cut
            return data

        proxy.alter = cut_in_the_middle
        fetched = await bucket.fetch(file, staging)
        await bucket.close()

        ranges = [call.headers.get("range", "") for call in proxy.calls if call.method == "GET"][1:]
    assert fetched.path.read_text() == content
    assert fetched.digest == xxhash.xxh3_128_hexdigest(content.encode())
    begun, rest = ranges
    assert begun == ""
    assert 0 < int(rest.removeprefix("bytes=").removesuffix("-")) < len(content)


async def test_an_object_that_changed_since_the_listing_is_not_taken(server, staging):
    server.put("points", {"changing/a.csv": "before"})
    bucket = source("s3://points/changing/*", server.url)
    (file,) = await bucket.list()
    server.put("points", {"changing/a.csv": "after!"})

    with pytest.raises(Transient) as failed:
        await bucket.fetch(file, staging)
    (changed,) = await bucket.list()

    assert failed.value.reason is Reason.SOURCE_CHANGED
    assert list(staging.iterdir()) == []
    assert changed.version != file.version
    await bucket.close()


async def test_an_object_is_unchanged_until_it_is_written(server):
    bucket = source("s3://points/docs/*", server.url)

    assert await bucket.list() == await bucket.list()
    await bucket.close()


@pytest.mark.parametrize("key", ["docs/*", "docs/a.csv"])
async def test_wrong_credentials_are_refused_without_being_shown(gateway, staging, key):
    gateway.put("points", {"docs/a.csv": "docs/a.csv"})
    wrong = S3Credentials(ACCESS_KEY, "5ecret")

    failed = await failure(source(f"s3://points/{key}", gateway.url, credentials=wrong), staging)

    assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_INVALID)
    assert "SignatureDoesNotMatch" in failed.message


async def test_without_a_secret_nothing_is_signed_and_no_credentials_are_looked_for(
    moto, files, staging, monkeypatch, tmp_path
):
    """files: stands for the metadata server of a cloud, and for the endpoint that gives credentials for a token."""
    moto.put("public", {"a.csv": "public"}, ACL="public-read")
    moto.put("private", {"a.csv": "private"})
    (tmp_path / "token").write_text("token")
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = x\naws_secret_access_key = y\n")
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": files.url,
        "AWS_METADATA_ENDPOINT": files.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{files.url}/credentials",
        "AWS_ENDPOINT_URL": files.url,
        "AWS_ENDPOINT_URL_S3": files.url,
        "AWS_ENDPOINT_URL_STS": files.url,
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/operator",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "HTTP_PROXY": files.url,
        "ALL_PROXY": files.url,
    }.items():
        monkeypatch.setenv(name, value)

    with Proxy(moto.url) as proxy:
        bucket = source("s3://public/a.csv", proxy.url, credentials=None)
        (file,) = await bucket.list()
        fetched = await bucket.fetch(file, staging)
        assert fetched.path.read_bytes() == b"public"
        fetched.path.unlink()
        failed = await failure(source("s3://private/a.csv", proxy.url, credentials=None), staging)

        assert not any("authorization" in call.headers or "x-amz-date" in call.headers for call in proxy.calls)
    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_INVALID)
    assert "names no Secret" in failed.message
    assert files.requests == []
    await bucket.close()


@pytest.mark.parametrize("endpoint", ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://0.0.0.0:9000"])
async def test_an_endpoint_of_a_metadata_server_is_refused(staging, endpoint):
    failed = await failure(source("s3://points/docs/*", endpoint), staging)

    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_REFUSED)


async def test_an_endpoint_that_is_not_allowed_is_refused(moto, staging):
    failed = await failure(source("s3://points/docs/*", moto.url, hosts=("*.amazonaws.com",)), staging)

    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_REFUSED)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"<html></html>",
        b"<ListBucketResult></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents></ListBucketResult>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>',
    ],
)
async def test_an_answer_that_is_no_whole_listing_is_none(files, staging, body):
    files.files["/points/?encoding-type=url&list-type=2&max-keys=1000&prefix=docs%2F"] = Served(body)

    failed = await failure(source("s3://points/docs/*", files.url), staging)

    assert len(files.requests) == 1
    assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_UNAVAILABLE)


async def test_the_region_of_the_bucket_is_said_if_it_is_another(files, staging):
    files.files["/points/a.csv"] = Served(status=301, headers={"x-amz-bucket-region": "eu-west-1"})

    failed = await failure(source("s3://points/a.csv", files.url), staging)

    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_INVALID)
    assert "eu-west-1" in failed.message


async def test_a_file_that_is_written_below_the_gateway_has_another_version(gateway, gateway_folder, staging):
    """versitygw keeps the ETag beside the file, and does not notice."""
    gateway.put("points", {"below/a.csv": "before"})
    bucket = source("s3://points/below/*", gateway.url)
    (file,) = await bucket.list()
    path = gateway_folder / "buckets" / "points" / "below" / "a.csv"
    path.write_text("after, longer")

    (changed,) = await bucket.list()
    with pytest.raises(Transient) as failed:
        await bucket.fetch(file, staging)

    assert changed.version != file.version
    assert failed.value.reason is Reason.SOURCE_CHANGED
    assert (await bucket.fetch(changed, staging)).path.read_text() == "after, longer"
    await bucket.close()


async def test_a_file_that_was_moved_below_the_gateway_has_a_version_without_an_etag(gateway, gateway_folder, staging):
    gateway.put("points", {"moved/b.csv": "b"})
    folder = gateway_folder / "buckets" / "points" / "moved"
    (folder / "new").write_text("moved")
    os.utime(folder / "new", (1e9, 1e9))
    (folder / "new").rename(folder / "a.csv")
    bucket = source("s3://points/moved/a*", gateway.url)

    (file,) = await bucket.list()

    assert file.version == '"" 1000000000 5'
    assert (await bucket.fetch(file, staging)).path.read_text() == "moved"
    await bucket.close()


def _paged(bucket: BucketFiles) -> BucketFiles:
    """The same with two objects on each page: a real page has a thousand."""
    bucket._page_objects = 2
    return bucket


def _cut_page_two(call: Call) -> None:
    if "continuation-token" in parse_qs(urlsplit(call.path).query):
        raise Cut

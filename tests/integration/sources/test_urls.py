"""Files behind URLs, fetched from a real HTTP server."""

import ssl
import threading
from pathlib import Path

import pytest
import xxhash

from servers.certificates import CertificateAuthority
from servers.files import FileServer, Served
from vectorops.api.reasons import Reason
from vectorops.errors import RateLimited, Terminal, Transient, VectorOpsError
from vectorops.outbound import AllowedHosts
from vectorops.sources.base import Fetched, FetchLimits
from vectorops.sources.urls import UrlFiles

CONTENT = b"id,title\n1,Zoo\n" * 1000
LARGE = CONTENT * 200
"""So much that it is read in several blocks, of 2**20 bytes each."""
TOKEN = {"Authorization": b"Bearer 5ecret\n"}


def source(*urls: str, hosts: tuple[str, ...] = (), limits: FetchLimits | None = None, **more) -> UrlFiles:
    allowed = AllowedHosts(hosts, Reason.SOURCE_REFUSED, "--allowed-source-host")
    return UrlFiles(urls, allowed, limits=limits or FetchLimits(pauses=()), **more)


async def fetch(source: UrlFiles, staging: Path) -> Fetched:
    """List the only file, and fetch it."""
    (file,) = await source.list()
    try:
        return await source.fetch(file, staging)
    finally:
        await source.close()


async def failure(source: UrlFiles, staging: Path) -> VectorOpsError:
    """The error of a fetch, after which nothing is left in the folder."""
    with pytest.raises(VectorOpsError) as failed:
        await fetch(source, staging)
    assert list(staging.iterdir()) == []
    assert "5ecret" not in failed.value.message
    return failed.value


async def test_a_file_is_fetched_with_its_digest_and_its_version(files, staging):
    files.files["/docs/a.csv?key=5ecret"] = Served(CONTENT, etag='"1"')
    urls = source(f"{files.url}/docs/a.csv?key=5ecret")

    (file,) = await urls.list()
    fetched = await fetch(urls, staging)

    assert (file.name, file.version, file.size) == (f"{files.url}/docs/a.csv", '"1"', len(CONTENT))
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.path.parent == staging
    assert fetched.digest == xxhash.xxh3_128_hexdigest(CONTENT)
    assert fetched.is_temporary


async def test_an_unchanged_file_costs_one_request_and_no_content(files):
    files.files["/a.csv"] = Served(CONTENT, etag='"1"')
    urls = source(f"{files.url}/a.csv")

    assert await urls.list() == await urls.list()

    assert [str(request) for request in files.requests] == ["HEAD /a.csv"] * 2
    assert files.requests[0].headers["accept-encoding"] == "identity"
    await urls.close()


async def test_files_are_listed_by_name_and_each_once(files):
    for path in ("/b.csv", "/a.csv", "/c.csv"):
        files.files[path] = Served(CONTENT, etag='"1"')
    urls = source(*(f"{files.url}{path}" for path in ("/c.csv", "/b.csv", "/a.csv", "/c.csv")))

    assert [file.name for file in await urls.list()] == [f"{files.url}/{name}.csv" for name in "abc"]
    await urls.close()


@pytest.mark.parametrize(
    "served",
    [Served(CONTENT, modified=1e9), Served(CONTENT, modified=1e9, sends_length=False), Served(CONTENT, 'W/"1"')],
)
async def test_a_file_without_a_strong_etag_has_a_version_all_the_same(files, staging, served):
    files.files["/a.csv"] = served
    urls = source(f"{files.url}/a.csv")

    (file,) = await urls.list()
    fetched = await urls.fetch(file, staging)

    assert file.version
    assert fetched.path.read_bytes() == CONTENT
    assert not any("if-match" in request.headers for request in files.requests)
    served.modified, served.etag = 1e9 + 60, served.etag and 'W/"2"'
    (changed,) = await urls.list()
    assert changed.version != file.version
    with pytest.raises(Transient) as failed:
        await urls.fetch(file, staging)
    assert failed.value.reason is Reason.SOURCE_CHANGED
    await urls.close()


async def test_a_file_of_which_nothing_tells_the_version_has_none(files, staging):
    files.files["/a.csv"] = Served(CONTENT, sends_length=False)
    urls = source(f"{files.url}/a.csv")

    (file,) = await urls.list()

    assert (file.version, file.size) == ("", None)
    assert (await fetch(urls, staging)).path.read_bytes() == CONTENT


async def test_a_server_that_refuses_head_is_asked_without_reading_its_answer(files, staging):
    """So do signed URLs of S3, which are signed for GET."""
    files.files["/a.csv"] = Served(CONTENT, etag='"1"', heads=False)
    urls = source(f"{files.url}/a.csv")

    (file,) = await urls.list()

    assert file.version == '"1"'
    assert [request.method for request in files.requests] == ["HEAD", "GET"]
    assert (await fetch(urls, staging)).path.read_bytes() == CONTENT


async def test_a_file_that_changed_since_the_listing_is_not_taken(files, staging):
    files.files["/a.csv"] = Served(CONTENT, etag='"1"')
    urls = source(f"{files.url}/a.csv")
    (file,) = await urls.list()
    files.files["/a.csv"] = Served(CONTENT[:-1], etag='"2"')

    with pytest.raises(Transient, match="changed") as failed:
        await urls.fetch(file, staging)

    assert failed.value.reason is Reason.SOURCE_CHANGED
    assert list(staging.iterdir()) == []
    await urls.close()


async def test_a_file_that_changes_while_it_is_read_is_not_taken(files, staging):
    served = files.files["/a.csv"] = Served(CONTENT, etag='"1"')
    served.during = lambda: setattr(served, "etag", '"2"')

    failed = await failure(source(f"{files.url}/a.csv"), staging)

    assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_CHANGED)


async def test_a_file_that_is_cut_short_is_not_taken(files, staging):
    files.files["/a.csv"] = Served(CONTENT, etag='"1"', cut_after=100)

    failed = await failure(source(f"{files.url}/a.csv"), staging)

    assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_UNAVAILABLE)
    assert f"{files.url}/a.csv" in failed.message


@pytest.mark.parametrize(
    ("then", "ranges"),
    [
        ({"etag": '"1"'}, [None, "bytes=2097152-"]),
        ({"etag": '"1"', "ranges": False}, [None, "bytes=2097152-"]),
        ({"etag": '"1"', "sends_length": False}, [None, "bytes=2097152-"]),
        ({"etag": None, "modified": 1e9}, [None, None]),
    ],
    ids=["goes on", "has no ranges", "of no length", "has no ETag"],
)
async def test_a_file_that_was_cut_short_once_goes_on_where_it_broke(files, staging, then, ranges):
    """Without an ETag, nobody can tell that the rest is of the same file."""
    served = files.files["/a.csv"] = Served(
        LARGE, etag=then["etag"], modified=then.get("modified"), cut_after=2_500_000
    )
    served.during = lambda: setattr(files, "files", {"/a.csv": Served(LARGE, **then)})

    fetched = await fetch(source(f"{files.url}/a.csv", limits=FetchLimits(pauses=(0.01,))), staging)

    assert fetched.path.read_bytes() == LARGE
    assert fetched.digest == xxhash.xxh3_128_hexdigest(LARGE)
    assert list(staging.iterdir()) == [fetched.path]
    gets = [request.headers for request in files.requests if request.method == "GET"]
    assert [headers.get("range") for headers in gets] == ranges
    assert [headers.get("if-range") for headers in gets] == [None, '"1"' if ranges[1] else None]


async def test_a_file_that_is_another_one_after_it_broke_is_not_taken(files, staging):
    served = files.files["/a.csv"] = Served(LARGE, etag='"1"', cut_after=2_500_000)
    served.during = lambda: setattr(files, "files", {"/a.csv": Served(LARGE.lower(), etag='"2"')})

    failed = await failure(source(f"{files.url}/a.csv", limits=FetchLimits(pauses=(0.01,))), staging)

    assert failed.reason is Reason.SOURCE_CHANGED


async def test_another_part_than_was_asked_for_is_not_taken(files, staging):
    """The third try begins at the start."""
    served = files.files["/a.csv"] = Served(LARGE, etag='"1"', cut_after=2_500_000)
    served.during = lambda: files.files.update({"/a.csv": Served(LARGE, etag='"1"', shift=1)})

    fetched = await fetch(source(f"{files.url}/a.csv", limits=FetchLimits(pauses=(0.01, 0.01))), staging)

    assert fetched.path.read_bytes() == LARGE
    gets = [request.headers.get("range") for request in files.requests if request.method == "GET"]
    assert gets == [None, "bytes=2097152-", None]


async def test_a_file_of_the_secret_s_headers_is_fetched(files, staging):
    files.files["/a.csv"] = Served(CONTENT, etag='"1"')

    await fetch(source(f"{files.url}/a.csv", headers=TOKEN), staging)

    assert [request.headers["authorization"] for request in files.requests] == ["Bearer 5ecret"] * 3


async def test_redirects_are_followed_without_the_secret_s_headers(files, staging):
    with FileServer() as other:
        there = {"Location": f"{other.url}/a.csv"}
        files.files["/a"] = Served(status=307, headers={"Location": "/b"})
        files.files["/b"] = Served(status=302, headers=there)
        other.files["/a.csv"] = Served(CONTENT, etag='"1"')

        fetched = await fetch(source(f"{files.url}/a", headers=TOKEN), staging)

        assert fetched.path.read_bytes() == CONTENT
        assert all("authorization" in request.headers for request in files.requests)
        assert not any("authorization" in request.headers for request in other.requests)
        assert [str(request) for request in other.requests] == ["HEAD /a.csv", "GET /a.csv", "HEAD /a.csv"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data", Reason.SOURCE_REFUSED),
        ("http://[fe80::1]/a.csv", Reason.SOURCE_REFUSED),
        ("file:///etc/passwd", Reason.SOURCE_INVALID),
        ("https:///a.csv", Reason.SOURCE_INVALID),
        ("/a.csv", Reason.SOURCE_INVALID),
    ],
)
async def test_a_redirect_to_a_forbidden_place_is_refused(files, staging, location, reason):
    """The last one leads to itself."""
    files.files["/a.csv"] = Served(status=302, headers={"Location": location})

    failed = await failure(source(f"{files.url}/a.csv"), staging)

    assert (type(failed), failed.reason) == (Terminal, reason)
    assert len(files.requests) <= 6


async def test_a_redirect_to_a_host_that_is_not_allowed_is_refused(files, staging):
    files.files["/a.csv"] = Served(status=302, headers={"Location": f"http://127.0.0.1:{files.port}/b.csv"})

    failed = await failure(source(f"{files.url}/a.csv", hosts=("localhost",)), staging)

    assert failed.reason is Reason.SOURCE_REFUSED
    assert "--allowed-source-host 127.0.0.1" in failed.message


async def test_a_host_that_is_not_allowed_is_refused(files, staging):
    failed = await failure(source(f"{files.url}/a.csv", hosts=("*.example",)), staging)

    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_REFUSED)
    assert files.requests == []


@pytest.mark.parametrize(
    ("status", "headers", "kind", "reason"),
    [
        (404, None, Terminal, Reason.SOURCE_MISSING),
        (410, None, Terminal, Reason.SOURCE_MISSING),
        (401, None, Terminal, Reason.SOURCE_INVALID),
        (403, TOKEN, Transient, Reason.SOURCE_INVALID),
        (400, None, Terminal, Reason.SOURCE_INVALID),
        (304, None, Terminal, Reason.SOURCE_INVALID),
        (429, None, RateLimited, Reason.SOURCE_UNAVAILABLE),
        (503, None, Transient, Reason.SOURCE_UNAVAILABLE),
    ],
)
async def test_what_a_server_refuses_is_an_error_that_says_what_to_do_next(
    files, staging, status, headers, kind, reason
):
    files.files["/a.csv"] = Served(b"5ecret", status=status, headers={"Retry-After": "7"})

    failed = await failure(source(f"{files.url}/a.csv", headers=headers), staging)

    assert (type(failed), failed.reason) == (kind, reason)
    assert f"HTTP {status}" in failed.message
    if kind is RateLimited:
        assert isinstance(failed, RateLimited)
        assert failed.retry_after == 7


async def test_a_server_that_is_away_is_an_error_that_passes(files, staging):
    with FileServer() as gone:
        url = f"{gone.url}/a.csv"

    failed = await failure(source(url), staging)

    assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_UNAVAILABLE)
    assert "accepts no connection" in failed.message


async def test_a_name_that_does_not_resolve_is_an_error_that_passes(staging):
    failed = await failure(source("https://nowhere.invalid/a.csv"), staging)

    assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_UNAVAILABLE)
    assert "nowhere.invalid does not resolve" in failed.message


@pytest.mark.parametrize("sends_length", [True, False])
async def test_a_file_that_is_too_large_is_refused(files, staging, sends_length):
    files.files["/a.csv"] = Served(CONTENT, sends_length=sends_length)

    failed = await failure(source(f"{files.url}/a.csv", limits=FetchLimits(file_bytes=1000)), staging)

    assert (type(failed), failed.reason) == (Terminal, Reason.SOURCE_INVALID)
    assert "1,000" in failed.message


async def test_a_file_that_takes_too_long_is_given_up(files, staging):
    gone = threading.Event()
    files.files["/a.csv"] = Served(CONTENT, during=gone.wait)

    failed = await failure(source(f"{files.url}/a.csv", limits=FetchLimits(file_seconds=0.05, pauses=())), staging)
    gone.set()

    assert (type(failed), failed.reason) == (Transient, Reason.SOURCE_UNAVAILABLE)


async def test_a_file_that_the_server_packs_is_refused(files, staging):
    files.files["/a.csv"] = Served(CONTENT, headers={"Content-Encoding": "gzip"})

    failed = await failure(source(f"{files.url}/a.csv"), staging)

    assert failed.reason is Reason.SOURCE_INVALID


async def test_a_packed_file_with_a_header_that_says_so_is_fetched_as_it_is(files, staging):
    files.files["/a.csv.gz"] = Served(CONTENT, headers={"Content-Encoding": "gzip"})

    assert (await fetch(source(f"{files.url}/a.csv.gz"), staging)).path.read_bytes() == CONTENT


async def test_only_the_named_authority_is_trusted(tmp_path, staging):
    authority = CertificateAuthority(tmp_path)
    issued = authority.issue("server", dns_names=("localhost",))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(issued.certificate, issued.key)
    with FileServer(tls=serving) as server:
        server.files["/a.csv"] = Served(CONTENT)
        server.files["/plain"] = Served(status=302, headers={"Location": "http://localhost/a.csv"})
        trusted = authority.certificate.read_bytes()

        refused = await failure(source(f"{server.url}/a.csv"), staging)
        downgraded = await failure(source(f"{server.url}/plain", trusted=trusted), staging)
        fetched = await fetch(source(f"{server.url}/a.csv", trusted=trusted), staging)

    assert (type(refused), refused.reason) == (Transient, Reason.SOURCE_UNAVAILABLE)
    assert "certificate" in refused.message
    assert (type(downgraded), downgraded.reason) == (Terminal, Reason.SOURCE_REFUSED)
    assert fetched.path.read_bytes() == CONTENT

"""URLs of files: how they are shown, and what no Secret may say."""

import pytest

from vectorops.api.reasons import Reason
from vectorops.errors import Terminal
from vectorops.outbound import AllowedHosts
from vectorops.sources.urls import UrlFiles

ALL_HOSTS = AllowedHosts((), Reason.SOURCE_REFUSED, "--allowed-source-host")


def shown(*urls: str) -> list[str]:
    return list(UrlFiles(urls, ALL_HOSTS)._urls)


def test_a_url_is_shown_without_its_query():
    """The query of a signed URL is a credential."""
    assert shown("https://files.example:8443/docs/a.csv?X-Amz-Signature=5ecret#part") == [
        "https://files.example:8443/docs/a.csv"
    ]


def test_urls_that_differ_in_their_query_are_shown_with_their_places():
    assert shown("https://a.example/export?page=1", "https://a.example/b.csv", "https://a.example/export?page=2") == [
        "urls[0] https://a.example/export",
        "https://a.example/b.csv",
        "urls[2] https://a.example/export",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/a.csv",
        "file:///etc/passwd",
        "/a.csv",
        "https:///a.csv",
        "http://a.example:99999/a.csv",
        "http://[::1/a.csv",
        "https://user:pa55word@a.example/a.csv",
    ],
)
def test_a_url_that_cannot_be_called_is_refused_with_its_place(url):
    with pytest.raises(Terminal, match=r"source\.http\.urls\[1\]") as failed:
        UrlFiles(["https://a.example/a.csv", url], ALL_HOSTS)

    assert failed.value.reason is Reason.SOURCE_INVALID
    assert "pa55word" not in failed.value.message


@pytest.mark.parametrize(
    "name", ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "If-Match", "Range"]
)
def test_a_secret_sets_no_header_that_says_where_a_request_goes_or_what_it_asks_for(name):
    with pytest.raises(Terminal, match=name) as failed:
        UrlFiles(["https://a.example/a.csv"], ALL_HOSTS, headers={name: b"x"})

    assert failed.value.reason is Reason.SECRET_INVALID


@pytest.mark.parametrize("value", [b"", b"a\r\nHost: b", b"a\x00b", "schlüssel".encode()])
def test_a_value_that_no_header_can_hold_is_refused_and_not_shown(value):
    with pytest.raises(Terminal, match="Authorization") as failed:
        UrlFiles(["https://a.example/a.csv"], ALL_HOSTS, headers={"Authorization": value})

    assert failed.value.reason is Reason.SECRET_INVALID
    assert "schl" not in failed.value.message


def test_a_certificate_that_is_none_is_refused():
    for trusted in (b"", b"no certificate", b"\xff"):
        with pytest.raises(Terminal) as failed:
            UrlFiles(["https://a.example/a.csv"], ALL_HOSTS, trusted=trusted)

        assert failed.value.reason is Reason.SECRET_INVALID

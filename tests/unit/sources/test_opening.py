"""From what is declared to a source, and the Secrets that this takes."""

from pathlib import Path

import pytest

from vectorops.api.reasons import Reason
from vectorops.api.source import Source
from vectorops.errors import Terminal, Transient
from vectorops.sources.bucket import BucketFiles
from vectorops.sources.config_maps import ConfigMapFiles
from vectorops.sources.folder import FolderFiles
from vectorops.sources.opening import open_source, secret_names
from vectorops.sources.urls import UrlFiles

HTTP = {"http": {"urls": ["https://a.example/a.csv"]}}
S3 = {"s3": {"url": "s3://bucket/a.csv"}}
SIGNED = {"s3": {"url": "s3://bucket/a.csv", "credentialsSecretRef": {"name": "keys"}}}
PLACE = "source.s3.credentialsSecretRef"


def open_declared(raw, secrets=None, *, config_maps=None):
    return open_source(
        Source.model_validate(raw),
        secrets=secrets or {},
        allowed_hosts=(),
        folder=lambda: Path("/files/team"),
        confined=True,
        config_maps=config_maps,
    )


async def read_config_maps(labels):
    return []


def test_the_secrets_of_a_source_are_known_by_the_fields_that_name_them():
    ca = {"name": "ca", "key": "ca.crt"}
    http = {"http": HTTP["http"] | {"headersSecretRef": {"name": "token"}, "caSecretRef": ca}}
    s3 = {"s3": SIGNED["s3"] | {"caSecretRef": ca}}

    assert secret_names(Source.model_validate(http)) == {
        "source.http.headersSecretRef": "token",
        "source.http.caSecretRef": "ca",
    }
    assert secret_names(Source.model_validate(s3)) == {PLACE: "keys", "source.s3.caSecretRef": "ca"}
    for plain in (HTTP, S3, {"files": {"path": "a.csv"}}):
        assert secret_names(Source.model_validate(plain)) == {}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (HTTP, UrlFiles),
        (S3, BucketFiles),
        ({"files": {"path": "a.csv"}}, FolderFiles),
        ({"configMaps": {"selector": {"matchLabels": {"a": "b"}}}}, ConfigMapFiles),
    ],
)
async def test_each_member_is_a_source_of_its_own(raw, kind):
    source = open_declared(raw, config_maps=read_config_maps)

    assert isinstance(source, kind)
    await source.close()


def test_an_operator_without_the_right_to_read_config_maps_says_so():
    with pytest.raises(Terminal, match="no right to read ConfigMaps") as refused:
        open_declared({"configMaps": {"selector": {"matchLabels": {"a": "b"}}}})

    assert refused.value.reason is Reason.SOURCE_REFUSED


def test_a_key_that_the_secret_lacks_is_named():
    with pytest.raises(Transient, match=f"{PLACE}.*'AWS_SECRET_ACCESS_KEY'") as failed:
        open_declared(SIGNED, {PLACE: {"AWS_ACCESS_KEY_ID": b"id"}})

    assert failed.value.reason is Reason.SECRET_NOT_FOUND


@pytest.mark.parametrize("value", [b" \n", b"a\nb", b"\xff"])
def test_a_key_that_is_no_text_is_refused(value):
    with pytest.raises(Terminal, match="AWS_SECRET_ACCESS_KEY") as failed:
        open_declared(SIGNED, {PLACE: {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": value}})

    assert failed.value.reason is Reason.SECRET_INVALID


@pytest.mark.parametrize(
    "declared",
    [
        {"url": "s3://user@evil.example/a.csv"},
        {"url": "s3://bucket/a.csv", "region": "evil.example/"},
        {"url": "s3://bucket/a.csv", "endpoint": "ftp://a.example"},
        {"url": "s3://bucket/a.csv", "endpoint": "https://id:5ecret@a.example"},
        {"url": "s3://bucket/a.csv", "endpoint": "https://a.example?x=1"},
    ],
)
def test_an_address_that_is_none_is_refused(declared):
    with pytest.raises(Terminal) as failed:
        open_declared({"s3": declared})

    assert failed.value.reason is Reason.SOURCE_INVALID
    assert "5ecret" not in failed.value.message

"""Where requests for objects go, as the refusal of the host tells."""

import pytest

from vectorops.api.reasons import Reason
from vectorops.api.source import S3Source
from vectorops.errors import Terminal
from vectorops.outbound import AllowedHosts
from vectorops.sources.base import SourceFile
from vectorops.sources.bucket import BucketFiles

NO_HOST = AllowedHosts(("no.example",), Reason.SOURCE_REFUSED, "--allowed-source-host")


@pytest.mark.parametrize(
    ("declared", "host"),
    [
        ({}, "points.s3.us-east-1.amazonaws.com"),
        ({"region": "eu-west-1"}, "points.s3.eu-west-1.amazonaws.com"),
        ({"region": "cn-north-1"}, "points.s3.cn-north-1.amazonaws.com.cn"),
        ({"virtualHostedStyle": False}, "s3.us-east-1.amazonaws.com"),
        ({"url": "s3://my.points/a.csv"}, "s3.us-east-1.amazonaws.com"),
        ({"endpoint": "https://minio.example:9000/base/"}, "minio.example"),
        ({"endpoint": "https://minio.example", "virtualHostedStyle": True}, "points.minio.example"),
    ],
)
async def test_the_host_of_a_bucket(tmp_path, declared, host):
    source = BucketFiles(S3Source.model_validate({"url": "s3://points/docs/*", **declared}), NO_HOST)

    for refused in (source.list(), source.fetch(SourceFile("s3://points/docs/a", ""), tmp_path)):
        with pytest.raises(Terminal) as failed:
            await refused

        assert failed.value.reason is Reason.SOURCE_REFUSED
        assert f"--allowed-source-host {host}" in failed.value.message

"""Signatures as AWS documents them."""

from datetime import UTC, datetime

import pytest

from vectorops.sources.signing import S3Credentials, quote_key, quote_query, sign

# The key and the date of all examples in "Examples: Signature calculations" of the reference of Amazon S3.
EXAMPLE = S3Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DATE = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        (
            "/test.txt",
            {},
            {"Range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        ("/", {"lifecycle": ""}, {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "/",
            {"prefix": "J", "max-keys": "2"},
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_examples_of_aws_are_signed_as_there(path, query, headers, signature):
    signed = sign(
        EXAMPLE,
        "us-east-1",
        DATE,
        method="GET",
        host=HOST,
        path=path,
        query=quote_query(query),
        headers=headers,
    )

    assert signed["Authorization"].endswith(f"Signature={signature}")
    assert signed["X-Amz-Date"] == "20130524T000000Z"


def test_a_session_token_is_sent_and_signed():
    token = S3Credentials("id", "key", "token")

    signed = sign(token, "eu-west-1", DATE, method="GET", host=HOST, path="/")

    assert signed["X-Amz-Security-Token"] == "token"
    assert "x-amz-security-token" in signed["Authorization"]


def test_keys_are_encoded_as_s3_does():
    assert quote_key("a b+c/ä~(1)*.csv") == "a%20b%2Bc/%C3%A4~%281%29%2A.csv"
    assert quote_query({"prefix": "a/b", "list-type": "2"}) == "list-type=2&prefix=a%2Fb"


def test_credentials_do_not_show_their_secrets():
    assert "wJalr" not in repr(EXAMPLE)
    assert "t0ken" not in repr(S3Credentials("id", "key", "t0ken"))

"""Signatures of requests to S3 (AWS Signature Version 4), for requests without a body.

Only given credentials are used: nothing here reads an environment, a file or a metadata server.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import quote

EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """Those of one Secret."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def quote_key(key: str) -> str:
    """A key as the path of a URL, as S3 encodes it before it signs."""
    return quote(key, safe="/~")


def quote_query(query: Mapping[str, str]) -> str:
    """A query in the order and the encoding that is signed."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))


def sign(
    credentials: S3Credentials,
    region: str,
    now: datetime,
    *,
    method: str,
    host: str,
    path: str,
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers that a request needs besides `headers`: its host, its date and its signature.

    now: with the zone UTC. host: as the header `Host` says it. path: of `quote_key`. query: of `quote_query`. headers:
    others that are signed as well.
    """
    date = now.strftime("%Y%m%dT%H%M%SZ")
    added = {"Host": host, "X-Amz-Content-SHA256": EMPTY_SHA256, "X-Amz-Date": date}
    if credentials.session_token is not None:
        added["X-Amz-Security-Token"] = credentials.session_token
    signed = {name.lower(): value for name, value in {**(headers or {}), **added}.items()}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in sorted(signed))
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{EMPTY_SHA256}"
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    words = f"Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return {**added, "Authorization": f"AWS4-HMAC-SHA256 {words}"}

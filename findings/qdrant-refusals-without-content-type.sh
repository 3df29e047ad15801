#!/usr/bin/env bash
# Qdrant 1.16.3 with httpx of qdrant-client 1.20.0 (seen 2026-11-27).
#
# One would guess: a refused key is told like every other error, as JSON, and an expired token is 401.
# What happens: what the layer of authentication refuses is bare text without any content type; an expired token is 403. A token that is
# valid and has too few rights is 403 as well, in JSON. A program that looks at the content type before it shows the words shows none
# for the very error that a person must read: "ExpiredSignature".
#
# Output:
#   a wrong key: 401, content type None, 'Invalid API key or JWT'
#   a token that is over: 403, content type None, 'ExpiredSignature'
#   a token that may only read: 403, content type 'application/json'
set -euo pipefail
folder=$(mktemp -d)
export QDRANT__SERVICE__API_KEY=only-for-this-finding QDRANT__SERVICE__JWT_RBAC=true
. "$(dirname "$0")/start-qdrant" "$folder" @1.16.3

"$python" - <<'PYTHON'
import base64
import hashlib
import hmac
import json
import os

import httpx


def encoded(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def token(**claims):
    signed = b".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    key = os.environ["QDRANT__SERVICE__API_KEY"].encode()
    return b".".join((signed, encoded(hmac.digest(key, signed, hashlib.sha256)))).decode()


def ask(method, path, key, body=None):
    answer = httpx.request(method, f"{os.environ['QDRANT_URL']}{path}", headers={"api-key": key}, json=body)
    return answer.status_code, answer.headers.get("content-type"), answer.text


wrong = ask("GET", "/collections", "wrong")
expired = ask("GET", "/collections", token(exp=1))
reading = ask("PUT", "/collections/c", token(access="r"), {"vectors": {}})
print("a wrong key: {}, content type {}, {!r}".format(*wrong))
print("a token that is over: {}, content type {}, {!r}".format(*expired))
print("a token that may only read: {}, content type {!r}".format(*reading))
assert wrong == (401, None, "Invalid API key or JWT")
assert expired == (403, None, "ExpiredSignature")
assert reading[:2] == (403, "application/json")
PYTHON

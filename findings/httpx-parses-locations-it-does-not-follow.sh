#!/usr/bin/env bash
# httpx 0.28.1 (seen 2026-11-28).
#
# One would guess: with `follow_redirects=False` a redirect is an answer like any other, and what its `Location` says is the caller's affair.
# What happens: httpx builds the next request all the same, for `response.next_request`. Where the `Location` is no URL to it, `get` raises
# RemoteProtocolError, though nothing is wrong with the protocol: the caller sees neither the status nor the header that it wanted to look at,
# and takes a server with a wrong redirect for one that does not answer. The standard library's client gives both.
#
# Output (a server answers 302 with the Location `http://files.example:port/rows`):
#   http.client: 302 http://files.example:port/rows; httpx: RemoteProtocolError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check httpx==0.28.1

"$folder/python/bin/python" - <<'PYTHON'
import http.client
import http.server
import threading

import httpx

LOCATION = "http://files.example:port/rows"


class Redirects(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", LOCATION)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirects)
threading.Thread(target=server.serve_forever, daemon=True).start()

connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
connection.request("GET", "/rows")
answer = connection.getresponse()
try:
    found = httpx.get(f"http://127.0.0.1:{server.server_port}/rows", follow_redirects=False).status_code
except httpx.RemoteProtocolError as error:
    found = type(error).__name__
print(f"http.client: {answer.status} {answer.headers['Location']}; httpx: {found}")
assert (answer.status, answer.headers["Location"]) == (302, LOCATION)
assert found == "RemoteProtocolError"
PYTHON

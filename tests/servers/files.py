"""A server of files: a real HTTP server with ETags, conditions and redirects, that misbehaves as a test wants it.

with FileServer() as server:
    server.files["/docs/a.csv"] = Served(b"id", etag='"1"')
    url = f"{server.url}/docs/a.csv"
    server.files["/docs/a.csv"].cut_after = 3  # hangs up after as many bytes
    assert [str(request) for request in server.requests] == ["HEAD /docs/a.csv", "GET /docs/a.csv"]
"""

import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass
class Served:
    """A file. What is not given is not sent."""

    content: bytes = b""
    etag: str | None = None
    modified: float | None = None
    """Seconds since 1970."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    heads: bool = True
    """Are HEAD requests answered?"""
    sends_length: bool = True
    ranges: bool = True
    """Is the rest of the file sent to whoever asks for it, if `If-Range` names its ETag?"""
    shift: int = 0
    """Bytes before the rest that was asked for that are sent as well, wrongly."""
    cut_after: int | None = None
    """Bytes of the body after which the connection is closed."""
    during: Callable[[], object] = lambda: None
    """Called when half of the body was sent."""


@dataclass(frozen=True, slots=True)
class FileRequest:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Their names in lower case."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class FileServer:
    """See the module. files: by path, with the query if there is one. requests: all that came, in order."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[FileRequest] = []
        self._server = _Quiet(("127.0.0.1", 0), _answering(self))
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'http' if tls is None else 'https'}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients may hang up, as those that want the head of an answer only."""


def _answering(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append(FileRequest(self.command, self.path, headers))
            file = server.files.get(self.path, Served(status=404))
            wanted = headers.get("if-match")
            if self.command == "HEAD" and not file.heads:
                file = Served(status=405)
            elif wanted is not None and wanted != file.etag and file.status == 200:
                file = Served(status=412)
            body, asked = file.content, re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
            is_rest = file.ranges and asked is not None and headers.get("if-range", file.etag) == file.etag
            if is_rest and file.status == 200 and asked is not None:
                begin = int(asked[1]) - file.shift
                body = body[begin:]
                self.send_response(206 if body else 416)
                self.send_header("Content-Range", f"bytes {begin}-{len(file.content) - 1}/{len(file.content)}")
            else:
                self.send_response(file.status)
            if file.etag is not None:
                self.send_header("ETag", file.etag)
            if file.modified is not None:
                self.send_header("Last-Modified", formatdate(file.modified, usegmt=True))
            for name, value in file.headers.items():
                self.send_header(name, value)
            if file.sends_length:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "GET":
                half = len(body) // 2
                self.wfile.write(body[:half] if file.cut_after is None else body[: file.cut_after])
                file.during()
                if file.cut_after is None:
                    self.wfile.write(body[half:])
                self.close_connection = file.cut_after is not None or not file.sends_length

        def log_message(self, *args: Any) -> None:
            """Nothing: the requests are kept."""

    return Handler

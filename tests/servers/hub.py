"""A model hub: a real HTTP server that answers as huggingface.co does, with models that a test has put there.

    with ModelHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        commit = hub.put("owner/model", {"config.json": b"{}"})
        hub.answer_with(503)          # to everything; hub.hang() gives no answer at all; hub.restore()
        assert hub.requests == ["GET /api/models/owner/model", ...]

Small files are redirected to another path, large ones (`.safetensors`, `.onnx`) to another host, as the real hub does.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

LARGE: Final = (".safetensors", ".onnx", ".bin")


@dataclass(slots=True)
class Repository:
    """One model. commits: files by path, by commit. branches: and tags: the commit that each leads to."""

    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False


class ModelHub:
    """See the module. requests: method and path of each, in order. credentials: what came with them, if anything."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.credentials: list[str] = []
        self._status: int | None = None
        self._headers: Mapping[str, str] = {}
        self._body = b""
        self._released = threading.Event()
        self._released.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def put(self, model: str, files: Mapping[str, bytes], *, branch: str = "main", gated: bool = False) -> str:
        """A new commit at the end of a branch; gives its hash."""
        repository = self.repositories.setdefault(model, Repository())
        seed = json.dumps([model, branch, len(repository.commits)]).encode()
        commit = hashlib.sha1(seed).hexdigest()
        repository.commits[commit] = dict(files)
        repository.branches[branch] = commit
        repository.gated = gated
        return commit

    def answer_with(self, status: int, body: bytes = b"", **headers: str) -> None:
        """The same answer to every request, from now on. headers: with _ in place of -."""
        self._status, self._body = status, body
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def hang(self) -> None:
        """No answer to any request, until `restore`."""
        self._released.clear()

    def restore(self) -> None:
        """Answers again."""
        self._status = None
        self._released.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(hub: ModelHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            hub.credentials += self.headers.get_all("Authorization", [])
            if not hub._released.is_set():
                hub._released.wait(60)
                self.close_connection = True
                return
            if hub._status is not None:
                status, headers, body = hub._status, dict(hub._headers), hub._body
            else:
                status, headers, body = self._found(path)
            length = self.headers.get("Range", "").removeprefix("bytes=0-")
            if status == 200 and length.isdecimal():
                status, body = 206, body[: int(length) + 1]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def _found(self, path: str) -> tuple[int, dict[str, str], bytes]:
            if path.startswith("/cdn/"):
                return self._file(*path.removeprefix("/cdn/").split("/-/"))
            if path.startswith("/api/resolve-cache/"):
                return self._file(*path.removeprefix("/api/resolve-cache/").split("/-/"))
            if path.startswith("/api/models/"):
                return self._api(path.removeprefix("/api/models/"))
            model, _, rest = path.removeprefix("/").partition("/resolve/")
            return self._resolve(model, *rest.split("/", 1)) if rest else (404, {}, b"")

        def _api(self, path: str) -> tuple[int, dict[str, str], bytes]:
            listing = "/tree/" in path
            model, _, revision = path.partition("/tree/" if listing else "/revision/")
            repository, commit = self._commit(model, revision or "main")
            if repository is None or commit is None:
                return self._unknown(repository)
            files = repository.commits[commit]
            if listing:
                entries = [
                    {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
                    for name, content in files.items()
                ]
                return 200, {"Content-Type": "application/json"}, json.dumps(entries).encode()
            info = {
                "id": model,
                "modelId": model,
                "sha": commit,
                "private": False,
                "gated": "manual" if repository.gated else False,
                "tags": [],
                "siblings": [{"rfilename": name} for name in files],
            }
            return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()

        def _resolve(self, model: str, revision: str, name: str) -> tuple[int, dict[str, str], bytes]:
            repository, commit = self._commit(model, revision)
            if repository is None or commit is None:
                return self._unknown(repository)
            if repository.gated:
                return 401, {"X-Error-Code": "GatedRepo"}, b""
            content = repository.commits[commit].get(name)
            if content is None:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
            headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(content)}"'}
            where = f"{model}/-/{commit}/-/{name}"
            if name.endswith(LARGE):
                linked = {"X-Linked-Etag": f'"{_etag(content)}"', "X-Linked-Size": str(len(content))}
                return 302, headers | linked | {"Location": f"http://localhost:{hub.port}/cdn/{where}"}, b""
            return 307, headers | {"Location": f"/api/resolve-cache/{where}"}, b""

        def _file(self, model: str, commit: str, name: str) -> tuple[int, dict[str, str], bytes]:
            content = hub.repositories[model].commits[commit][name]
            return 200, {"X-Repo-Commit": commit, "ETag": f'"{_etag(content)}"', "Accept-Ranges": "bytes"}, content

        def _commit(self, model: str, revision: str) -> tuple[Repository | None, str | None]:
            repository = hub.repositories.get(model)
            if repository is None:
                return None, None
            commit = repository.branches.get(revision, revision)
            return repository, commit if commit in repository.commits else None

        def _unknown(self, repository: Repository | None) -> tuple[int, dict[str, str], bytes]:
            # To those without an account, the real hub does not tell a missing model from a private one.
            if repository is None:
                return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""

    return Handler


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()

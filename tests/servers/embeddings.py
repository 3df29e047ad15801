"""An embedding server: a real HTTP server that speaks OpenAI's embeddings API, and misbehaves as it is told.

    with EmbeddingServer() as server:                      # or EmbeddingServer(model.encode)
        embedder = {"openAI": {"model": "any", "baseURL": server.base_url}}
        server.answer_next(Answer(429, headers={"Retry-After": "3"}))  # once; then as it should
        server.answer_always(Answer(500))
        server.answer = lambda request: Answer(413) if len(request.texts) > 32 else None       # None: as it should
        assert [len(request.texts) for request in server.requests] == [64, 36]

As it should: `vectors` makes the vectors; `encoding_format: base64` and `dimensions` are obeyed.
"""

import base64
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np

Vectors = Callable[[list[str]], Any]
"""Texts to vectors: an array of shape (texts, size), or lists."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def texts(self) -> list[str]:
        """What is to be embedded."""
        texts: list[str] = self.body["input"]
        return texts


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. content: bytes as they are, anything else as JSON.

    hangs: no answer before the server ends. hangs_up: none at all.
    """

    status: int = 200
    content: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    hangs_up: bool = False


def numbers_of(texts: list[str], size: int = 4) -> list[list[float]]:
    """A vector for each text that is its own, the same in each process."""
    return [[float(len(text)), *(float(sum(text.encode()[start::3])) for start in range(size - 1))] for text in texts]


def listed(vectors: Sequence[Any]) -> dict[str, Any]:
    """The JSON of an answer with these vectors."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "any", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


class EmbeddingServer:
    """See the module. requests: all that came, in order."""

    def __init__(self, vectors: Vectors = numbers_of) -> None:
        self.vectors = vectors
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Answer | None] = lambda _: None
        self.most_in_flight = 0
        self._next: deque[Answer] = deque()
        self._in_flight = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.port = self._server.server_port
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def answer_always(self, answer: Answer) -> None:
        """The same to every request."""
        self.answer = lambda _: answer

    @property
    def texts(self) -> list[str]:
        """All texts that came, as often as they came."""
        return [text for request in self.requests for text in request.texts]

    def answer_next(self, *answers: Answer) -> None:
        """To the next requests, one each."""
        self._next.extend(answers)

    def as_it_should(self, request: Request) -> Answer:
        """The answer of a server that has nothing to hide."""
        vectors = np.asarray(self.vectors(request.texts), dtype="<f4")
        if "dimensions" in request.body:
            vectors = vectors[:, : request.body["dimensions"]]
        if request.body.get("encoding_format") == "base64":
            return Answer(content=listed([base64.b64encode(vector.tobytes()).decode() for vector in vectors]))
        return Answer(content=listed(vectors.tolist()))

    def handle(self, request: Request) -> Answer:
        """What becomes of a request."""
        with self._lock:
            self.requests.append(request)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            answer = self._next.popleft() if self._next else None
        try:
            answer = answer or self.answer(request) or self.as_it_should(request)
            if answer.hangs:
                self._ended.wait()
            return answer
        finally:
            with self._lock:
                self._in_flight -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(server: EmbeddingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            answer = server.handle(Request(self.path, dict(self.headers), json.loads(content)))
            if answer.hangs or answer.hangs_up:
                self.close_connection = True
                return
            body = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing: the requests are kept."""

    return Handler

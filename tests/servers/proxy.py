"""A proxy between the operator and a server: it shows each request and breaks the connection at a chosen moment.

It understands HTTP/1.1 (Qdrant's REST API, the API server, its watches included) and HTTP/2 without TLS (gRPC), and
passes everything on as it came; whatever else it carries as bytes. Its own side is never encrypted; the server's may
be. It runs in a thread of its own, so it goes on while the test's event loop is busy.

    with Proxy(qdrant.url) as rest:
        rest.after = lambda call: operator.kill()  # the server did it, and nobody heard so
        rest.lose_answer(lambda call: call.method == "PUT")  # the same, with the operator alive
        rest.refuse()  # also: rest.blackhole(), rest.cut(); then rest.restore()
        assert [str(call) for call in rest.calls] == ["GET /collections", ...]
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from hpack import Decoder

from servers.process import free_port

T = TypeVar("T")

HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP2_HEADERS: Final = 0x1
HTTP2_CONTINUATION: Final = 0x9
HTTP2_END_HEADERS: Final = 0x4
HTTP2_PADDED: Final = 0x8
HTTP2_PRIORITY: Final = 0x20
# The longest head and the largest piece of a body that are held in memory.
BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `PUT /collections/zoo/points?wait=true`; for gRPC `POST /qdrant.Points/Upsert`. Numbered from 0.

    headers: their names in lower case.
    """

    number: int
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Cut(Exception):
    """Raised by a hook: break this connection now.

    From `before` the server never sees the request; from `after` the client never sees the answer.
    """


Hook = Callable[[Call], object]


class Proxy:
    """Listens on 127.0.0.1 and connects to `upstream`: `http://host:port`, `https://...` or `host:port`.

    calls: all requests seen, in the order of their beginning.
    before: called when the head of a request has come, before anything of it is sent on.
    after: called when the head of the answer has come, before anything of it is sent back: the server has done its
    work. A hook runs in a thread and holds up this request only (with HTTP/2, its connection); it may block, kill a
    process, or raise `Cut`. Replace hooks at any time.
    alter: makes other bytes of those that are sent back, of the same number; it sees them piece by piece.
    """

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None) -> None:
        address = urlsplit(upstream if "//" in upstream else f"//{upstream}")
        if address.hostname is None or address.port is None:
            raise ValueError(f"no host and port in {upstream}")
        self._upstream = (address.hostname, address.port)
        self._tls = tls if address.scheme == "https" else None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.calls: list[Call] = []
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.alter: Callable[[bytes], bytes] = bytes
        self._lost: list[Callable[[Call], bool]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """Break all connections and refuse new ones, as a server that is not there."""
        self._do(self._refuse())

    def blackhole(self) -> None:
        """Take connections and requests and pass nothing on, in either direction, as a network that drops packets."""
        self._do(self._blackhole())

    def restore(self) -> None:
        """Work again; what a black hole held is passed on."""
        self._do(self._restore())

    def cut(self) -> None:
        """Break all connections once; new ones are served."""
        self._do(self._cut())

    def lose_answer(self, matching: Callable[[Call], bool] = lambda _: True) -> None:
        """Once: let the next matching request be carried out, and break its connection instead of answering."""
        self._lost.append(matching)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(timeout=10)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _end(self) -> None:
        await self._refuse()
        # A connection that was being accepted, or a name being looked up, is not among ours yet.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        # Aborted transports close their sockets in the loop's next turn.
        await asyncio.sleep(0)

    async def _blackhole(self) -> None:
        self._flowing.clear()

    async def _restore(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=BUFFER_BYTES)

    async def _cut(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._loop.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client, from its first byte to its end, and with it the one to the server."""
        server_writer: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            server_reader, server_writer = await asyncio.open_connection(
                *self._upstream, ssl=self._tls, limit=BUFFER_BYTES
            )
            client = _Peer(reader, writer, self._flowing, self._sent_back)
            server = _Peer(server_reader, server_writer, self._flowing)
            await self._relay(client, server)
        except (OSError, EOFError, Cut, asyncio.LimitOverrunError, asyncio.CancelledError):
            # Whatever broke it, the other side learns of it by its own connection breaking. A cancellation is `cut`'s.
            pass
        finally:
            for broken in (writer, server_writer):
                if broken is not None:
                    broken.transport.abort()

    async def _relay(self, client: "_Peer", server: "_Peer") -> None:
        start = await client.exactly(4)
        if start == HTTP2_PREFACE[:4]:
            server.send(start + await client.exactly(len(HTTP2_PREFACE) - 4))
            await _first_of(self._http2_requests(client, server), self._http2_answers(client, server))
        elif start.isalpha() or start in {b"GET ", b"PUT "}:
            await self._http1(start, client, server)
        else:
            server.send(start)
            await _first_of(client.copy_all(server), server.copy_all(client))

    # ---- HTTP/1.1: one request after another ----

    async def _http1(self, start: bytes, client: "_Peer", server: "_Peer") -> None:
        while True:
            head = start + await client.until(b"\r\n\r\n")
            start = b""
            request = _Http1Head(head)
            method, path, _ = request.start_line.split(" ", 2)
            call = await self._seen(method, path, request.headers)
            server.send(head)
            # The server may answer and close before it has read a long body: both ways at once.
            sending = asyncio.ensure_future(request.copy_body(client, server))
            try:
                answer = await self._http1_answer(call, client, server)
                await sending
            finally:
                sending.cancel()
            if "close" in (request.headers.get("connection", "").lower(), answer.headers.get("connection", "").lower()):
                return

    async def _http1_answer(self, call: Call, client: "_Peer", server: "_Peer") -> "_Http1Head":
        head = await server.until(b"\r\n\r\n")
        answer = _Http1Head(head)
        status = int(answer.start_line.split(" ")[1])
        if status == 100:
            client.send(head)
            return await self._http1_answer(call, client, server)
        await self._answered(call)
        client.send(head)
        if status == 101:
            await _first_of(client.copy_all(server), server.copy_all(client))
        elif call.method != "HEAD" and status not in {204, 304}:
            await answer.copy_body(server, client, until_end=True)
        await client.drain()
        return answer

    # ---- HTTP/2: frames of many requests, interleaved ----

    async def _http2_requests(self, client: "_Peer", server: "_Peer") -> None:
        heads = Decoder()
        while True:
            frame = await _Http2Frame.read(client)
            if frame.kind == HTTP2_HEADERS:
                headers = {_text(name): _text(value) for name, value in heads.decode(await frame.whole_block(client))}
                # Trailers of a request, which gRPC does not send, have no path.
                if ":path" in headers:
                    client.streams[frame.stream] = await self._seen(headers[":method"], headers[":path"], headers)
            server.send(frame.raw)
            await server.drain()

    async def _http2_answers(self, client: "_Peer", server: "_Peer") -> None:
        while True:
            frame = await _Http2Frame.read(server)
            # The first block of headers is the answer's; a second one, the trailers, finds its stream gone.
            if frame.kind == HTTP2_HEADERS and (call := client.streams.pop(frame.stream, None)) is not None:
                await self._answered(call)
            client.send(frame.raw)
            await client.drain()

    # ---- hooks ----

    def _sent_back(self, data: bytes) -> bytes:
        return self.alter(data)

    async def _seen(self, method: str, path: str, headers: Mapping[str, str]) -> Call:
        call = Call(len(self.calls), method, path, headers)
        self.calls.append(call)
        if self.before is not None:
            await asyncio.to_thread(self.before, call)
        return call

    async def _answered(self, call: Call) -> None:
        for matching in self._lost:
            if matching(call):
                self._lost.remove(matching)
                raise Cut
        if self.after is not None:
            await asyncio.to_thread(self.after, call)


class _Peer:
    """One end of a connection. Nothing is read from it or sent to it while the proxy is a black hole."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flowing: asyncio.Event,
        altered: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._flowing = flowing
        self._altered = altered
        self.streams: dict[int, Call] = {}

    async def exactly(self, count: int) -> bytes:
        return await self._held(self._reader.readexactly(count))

    async def until(self, separator: bytes) -> bytes:
        return await self._held(self._reader.readuntil(separator))

    async def some(self) -> bytes:
        return await self._held(self._reader.read(BUFFER_BYTES))

    async def _held(self, reading: Awaitable[T]) -> T:
        data = await reading
        await self._flowing.wait()
        return data

    def send(self, data: bytes) -> None:
        self._writer.write(self._altered(data))

    async def drain(self) -> None:
        await self._writer.drain()

    async def copy_all(self, other: "_Peer") -> None:
        """Until this end says no more."""
        while data := await self.some():
            other.send(data)
            await other.drain()


class _Http1Head:
    """The head of a request or an answer, and from it where its body ends."""

    def __init__(self, head: bytes) -> None:
        self.start_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def copy_body(self, source: _Peer, target: _Peer, *, until_end: bool = False) -> None:
        """Pass the body on as it comes. until_end: an answer without a length lasts until the connection ends."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            await _copy_chunks(source, target)
        elif (length := self.headers.get("content-length")) is not None:
            left = int(length)
            while left:
                data = await source.exactly(min(left, 1 << 16))
                left -= len(data)
                target.send(data)
                await target.drain()
        elif until_end:
            await source.copy_all(target)
            raise EOFError


async def _copy_chunks(source: _Peer, target: _Peer) -> None:
    while True:
        line = await source.until(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            # Trailers, if any, end with an empty line.
            while line != b"\r\n":
                target.send(line)
                line = await source.until(b"\r\n")
            target.send(line)
            await target.drain()
            return
        target.send(line + await source.exactly(size + 2))
        await target.drain()


class _Http2Frame:
    """One frame, as it came (`raw`), and what must be known of it."""

    def __init__(self, header: bytes, payload: bytes) -> None:
        self.raw = header + payload
        self.kind = header[3]
        self.flags = header[4]
        self.stream = int.from_bytes(header[5:9], "big") & 0x7FFF_FFFF
        self._payload = payload

    @classmethod
    async def read(cls, peer: _Peer) -> Self:
        header = await peer.exactly(9)
        return cls(header, await peer.exactly(int.from_bytes(header[:3], "big")))

    async def whole_block(self, peer: _Peer) -> bytes:
        """The compressed headers of this frame and of those that continue it, which are then part of `raw`."""
        block = self._payload
        if self.flags & HTTP2_PADDED:
            block = block[1 : len(block) - block[0]]
        if self.flags & HTTP2_PRIORITY:
            block = block[5:]
        flags = self.flags
        while not flags & HTTP2_END_HEADERS:
            following = await _Http2Frame.read(peer)
            if following.kind != HTTP2_CONTINUATION:
                raise EOFError
            flags = following.flags
            block += following._payload
            self.raw += following.raw
        return block


async def _first_of(*ways: Coroutine[Any, Any, None]) -> None:
    """Run both ways of a connection until one ends, whichever; its exception is raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

"""Requests to a hosted embedding server: rate, limits, retries, and messages that quote no text.

`open_ai` makes the bodies and reads the answers. All models behind one base URL with one key share a `HostedServer`:
when the server asks one of them to pause, all of them pause.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, TypeVar

import httpx
import orjson

from vectorops.api.nesting import READ_LEVELS, is_deeper
from vectorops.api.reasons import Reason
from vectorops.errors import RateLimited, Terminal, Transient, VectorOpsError

T = TypeVar("T")

Failing = Literal["failed", "limited", "nonsense"]
TRIES: Final[Mapping[Failing, int]] = {"failed": 4, "limited": 8, "nonsense": 2}
"""How often a request is tried. failed: no answer, or a failure of the server. limited: 429. nonsense: an answer that
cannot be parsed; tried twice, because a proxy may send one during a restart.
"""
BACKOFF_SECONDS: Final = 0.5
"""Before the second try; doubled before each later one."""
MAX_BACKOFF_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 120.0
"""Most seconds of pauses for one request. A longer pause ends the reconciliation: others need the worker."""
MAX_PAUSE_SECONDS: Final = 3600.0
"""Longest pause that is accepted. A later request does no harm, and no earlier one finds out that the pause is over."""
CONNECT_SECONDS: Final = 10.0

QUOTED_CHARACTERS: Final = 12
"""Equal characters in a row that count as a quotation of a text."""
SAID_CHARACTERS: Final = 2000
"""Characters of a server's message that are read."""
WORDS_CHARACTERS: Final = 200
"""Characters of it that are shown."""
CODE: Final = re.compile(r"[A-Za-z][-_.A-Za-z0-9]{1,63}")

UNAUTHORIZED: Final = frozenset({401, 402, 403})
REFUSED: Final = frozenset({400, 413, 422})
NOT_FOUND: Final = frozenset({404, 405, 410})
PASSING: Final = frozenset({408, 409, 425})
"""Client errors that may not come again, like all from 500 on."""

USED_UP: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes of a 429 that no pause can resolve."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, so that tests can replace them."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    """Unix time."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    """From 0 to 1."""


@dataclass(slots=True)
class HostedServer:
    """One server with one key, shared by all models that this process uses there."""

    place: str
    """Names it in messages."""
    concurrency: int
    """Simultaneous requests."""
    clock: Clock
    most_texts: int
    """Of one request, as documented or as learned from refusals."""
    most_tokens: int
    """Likewise."""
    takes_base64: bool = True
    """Until it refuses. Vectors in base64 have a third of the size, and need no parsing."""
    _slots: asyncio.Semaphore = field(init=False, repr=False)
    _closed_until: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a free slot and for the end of a pause. Raises RateLimited if the pause is too long."""
        async with self._slots:
            while (left := self.pause_left) > 0:
                if left > PATIENCE_SECONDS:
                    raise _limited(self.place, left)
                await self.clock.sleep(left)
            yield

    @property
    def pause_left(self) -> float:
        """Seconds until the next request may begin."""
        return self._closed_until - self.clock.now()

    def pause(self, seconds: float) -> None:
        """No request begins for so many seconds."""
        self._closed_until = max(self._closed_until, self.clock.now() + seconds)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server refused the content of a request (400, 413, 422)."""

    status: int
    said: str
    """Its message. It may quote a text, so only `words` may be shown."""
    code: str = ""
    """Its code for programs."""

    def words(self, *secrets: str) -> str:
        """For people: with the message if that quotes none of the secrets."""
        shown = [f"HTTP {self.status}"]
        if self.code and not quotes(self.code, secrets):
            shown.append(self.code)
        if self.said and not quotes(self.said, secrets):
            shown.append(" ".join(self.said.split())[:WORDS_CHARACTERS])
        return ": ".join(shown)


@dataclass(frozen=True, slots=True)
class TooSlow:
    """No complete answer came in time."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A request that may be tried again."""

    failing: Failing
    error: VectorOpsError
    """Raised after the last try."""
    pause: float | None = None
    """Seconds that the server asked for."""


class NonsenseError(Exception):
    """An answer cannot be parsed; the message says why, without its content."""


@dataclass(frozen=True, slots=True)
class HostedClient:
    """Sends requests to one URL with one key."""

    url: str
    model: str
    http: httpx.AsyncClient = field(repr=False)
    server: HostedServer
    timeout_seconds: float
    """For one complete answer."""

    async def post(
        self, body: Mapping[str, Any], read: Callable[[bytes], T], *, most_bytes: int, may_split: bool
    ) -> T | Refusal | TooSlow:
        """Sends a request, several times if necessary, and returns what `read` makes of the answer.

        read: raises NonsenseError. may_split: return TooSlow at once, because fewer texts may be answered in time.
        Raises Transient (EmbedderUnreachable, EmbedderUnauthorized), RateLimited, Terminal (EmbedderRejected), and what
        `outbound` raises.
        """
        content = orjson.dumps(body)
        tries: Counter[Failing] = Counter()
        waited = 0.0
        while True:
            outcome = await self._try(content, read, most_bytes)
            if isinstance(outcome, TooSlow) and not may_split:
                outcome = self._unanswered(f"gives no answer within {self.timeout_seconds:g} s")
            if not isinstance(outcome, _Failed):
                return outcome
            tries[outcome.failing] += 1
            if tries[outcome.failing] == TRIES[outcome.failing]:
                raise outcome.error
            pause = outcome.pause
            if pause is None:
                pause = min(BACKOFF_SECONDS * 2.0 ** (tries.total() - 1), MAX_BACKOFF_SECONDS)
                pause *= 0.5 + self.server.clock.chance()
            waited += pause
            if outcome.pause is not None or outcome.failing == "limited":
                self.server.pause(pause)
                if waited > PATIENCE_SECONDS:
                    raise outcome.error
            else:
                await self.server.clock.sleep(pause)

    async def _try(
        self, content: bytes, read: Callable[[bytes], T], most_bytes: int
    ) -> T | Refusal | TooSlow | _Failed:
        """One try. What it raises ends all tries."""
        try:
            async with self.server.slot():
                status, headers, answer = await self._send(content, most_bytes)
        except (httpx.ReadTimeout, httpx.WriteTimeout, TimeoutError):
            return TooSlow()
        except httpx.DecodingError:
            return _Failed("nonsense", self._rejected("gives an answer in another encoding than it states"))
        except httpx.TransportError as error:
            return self._unanswered(f"does not answer ({_cause(error)})")
        return self._judge(status, headers, answer, read)

    def _judge(
        self, status: int, headers: httpx.Headers, answer: bytes, read: Callable[[bytes], T]
    ) -> T | Refusal | _Failed:
        if 200 <= status < 300:
            try:
                return read(answer)
            except NonsenseError as error:
                return _Failed("nonsense", self._rejected(f"gives an answer that is not a list of vectors: {error}"))
        refusal = said_in(status, answer)
        if status in REFUSED:
            return refusal
        pause = pause_asked(headers, self.server.clock.wall())
        if pause is not None:
            pause = min(pause, MAX_PAUSE_SECONDS)
        if status == 429:
            if refusal.code in USED_UP:
                words = f"{self.server.place} reports that the quota of the account is used up ({refusal.code})"
                raise RateLimited(Reason.RATE_LIMITED, words, retry_after=max(pause or 0.0, PATIENCE_SECONDS))
            return _Failed("limited", _limited(self.server.place, pause), pause)
        if status >= 500 or status in PASSING:
            return self._unanswered(f"fails (HTTP {status})", pause)
        raise self._unusable(status, headers)

    async def _send(self, content: bytes, most_bytes: int) -> tuple[int, httpx.Headers, bytes]:
        async with (
            asyncio.timeout(self.timeout_seconds),
            self.http.stream("POST", self.url, content=content, follow_redirects=False) as response,
        ):
            answer = bytearray()
            async for piece in response.aiter_bytes():
                answer += piece
                if len(answer) > most_bytes:
                    raise self._rejected(f"gives an answer of more than {most_bytes} bytes")
            return response.status_code, response.headers, bytes(answer)

    def _unusable(self, status: int, headers: httpx.Headers) -> Terminal | Transient:
        # The server's message is not shown: it may quote a part of the key, or of a text.
        if status in UNAUTHORIZED:
            key = "the API key" if "Authorization" in self.http.headers else "requests without an API key"
            return Transient(Reason.EMBEDDER_UNAUTHORIZED, f"{self.server.place} refuses {key} (HTTP {status})")
        if status in NOT_FOUND:
            return self._rejected(
                f"has no model {self.model}, or no such path (HTTP {status}); check `model` and `baseURL`, the URL "
                "before /embeddings"
            )
        if 300 <= status < 400:
            to = re.match(r"https?://[-.:\[\]A-Za-z0-9]{1,260}(?=[/?#]|$)", headers.get("Location", ""))
            where = f" to {to.group()}" if to else ""
            return self._rejected(
                f"answers with a redirect{where} (HTTP {status}), which is not followed; set `baseURL` to the final "
                "address"
            )
        return self._rejected(f"refuses the request (HTTP {status})")

    def _unanswered(self, words: str, pause: float | None = None) -> _Failed:
        words = f"{self.server.place} {words}; retrying"
        return _Failed("failed", Transient(Reason.EMBEDDER_UNREACHABLE, words, retry_after=pause), pause)

    def _rejected(self, words: str) -> Terminal:
        return Terminal(Reason.EMBEDDER_REJECTED, f"{self.server.place} {words}")


def batches(texts: Sequence[str], most_texts: int, most_tokens: int) -> Iterator[list[str]]:
    """The texts in order, cut into lists that one request may hold. A text that is too long by itself is alone."""
    batch: list[str] = []
    room = most_tokens
    for text in texts:
        tokens = estimated_tokens(text)
        if batch and (len(batch) == most_texts or tokens > room):
            yield batch
            batch, room = [], most_tokens
        batch.append(text)
        room -= tokens
    if batch:
        yield batch


def estimated_tokens(text: str) -> int:
    """An upper estimate for most tokenizers: a third of the bytes, so that a Chinese character is one token."""
    return len(text.encode(errors="replace")) // 3 + 1


def pause_asked(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds that the server asks to wait: `Retry-After`, or OpenAI's time of reset of the limit that is used up."""
    asked = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", asked):
        return float(asked)
    if asked:
        try:
            return max(parsedate_to_datetime(asked).timestamp() - wall, 0.0)
        except (ValueError, OverflowError):
            pass
    resets = {}
    for limit in ("requests", "tokens"):
        seconds = _parse_duration(headers.get(f"x-ratelimit-reset-{limit}", ""))
        if seconds is not None:
            resets[limit] = seconds
    used_up = [resets[limit] for limit in resets if headers.get(f"x-ratelimit-remaining-{limit}", "").strip() == "0"]
    # At its reset a limit is full again. If neither is used up, some requests succeed after the earlier reset.
    return max(used_up) if used_up else min(resets.values(), default=None)


def said_in(status: int, answer: bytes) -> Refusal:
    """The message and the code of an error, in the shapes that servers use."""
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError:
        content = None
    if content is None or is_deeper(content, READ_LEVELS):
        return Refusal(status, answer[:SAID_CHARACTERS].decode(errors="replace"))
    error = content.get("error", content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return Refusal(status, str(error)[:SAID_CHARACTERS])
    said = next((error[key] for key in ("message", "detail", "msg", "error") if error.get(key)), error)
    code = next(
        (
            place[key]
            for place in (error, content)
            for key in ("code", "type", "error_type")
            if isinstance(place.get(key), str) and CODE.fullmatch(place[key])
        ),
        "",
    )
    param = error.get("param")
    words = f"{said} ({param})" if isinstance(param, str) and param else str(said)
    return Refusal(status, words[:SAID_CHARACTERS], code)


def quotes(words: str, secrets: Sequence[str]) -> bool:
    """Does a message quote a part of a secret: QUOTED_CHARACTERS in a row, or all of a shorter one?"""
    # Escaped text is not decoded; it is rare in honest messages.
    if "\\" in words:
        return True
    said = _fold(words)
    for secret in map(_fold, secrets):
        length = min(QUOTED_CHARACTERS, len(secret))
        runs = (said[start : start + length] for start in range(len(said) - length + 1))
        if length and any(run in secret for run in runs):
            return True
    return False


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _parse_duration(text: str) -> float | None:
    """Seconds of 6m0s, 1.5s, 20ms, or a plain number; None if it is none of these."""
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d{1,9}(\.\d+)?(ms|h|m|s|d))+", text):
        return None
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    seconds: float = sum(
        float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)", text)
    )
    return seconds


def _limited(place: str, pause: float | None) -> RateLimited:
    return RateLimited(Reason.RATE_LIMITED, f"{place} limits the rate of requests", retry_after=pause)


def _cause(error: httpx.TransportError) -> str:
    """Why a connection failed. Only errors from before the request was sent are quoted."""
    if isinstance(error, httpx.ConnectError) and str(error):
        return " ".join(str(error).split())[:WORDS_CHARACTERS]
    return type(error).__name__

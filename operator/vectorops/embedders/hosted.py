"""What it takes to talk to a hosted embedding server: its pace, its limits, its failures, and never a text in words.

`open_ai` says what is asked and reads what is answered; here is how a request is made and when it is made again. All
models behind one base URL, with one key, share a `Server`: one that asks for a pause asks for it for all of them.
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
"""How often a request is made. failed: no answer, or a failure of the server. limited: not now (429). nonsense: an
answer that cannot be read; once more, for what a proxy says during a restart.
"""
BACKOFF_SECONDS: Final = 0.5
"""Before the second try; doubled before each further one."""
MAX_BACKOFF_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 120.0
"""Pauses that are sat out for one request, together. Longer ones end the reconciliation: others need the worker."""
MAX_PAUSE_SECONDS: Final = 3600.0
"""Longest pause that is believed. After that it does no harm to ask; until then nobody asks whether it is over."""
CONNECT_SECONDS: Final = 10.0

QUOTED_CHARACTERS: Final = 12
"""So many characters in a row are taken for a quotation of a text."""
SAID_CHARACTERS: Final = 2000
"""Of a server's words that are looked at; of these, so many may be shown."""
WORDS_CHARACTERS: Final = 200
CODE: Final = re.compile(r"[A-Za-z][-_.A-Za-z0-9]{1,63}")

UNAUTHORIZED: Final = frozenset({401, 402, 403})
REFUSED: Final = frozenset({400, 413, 422})
NOT_FOUND: Final = frozenset({404, 405, 410})
PASSING: Final = frozenset({408, 409, 425})
"""Client errors that another try may not meet; so are all of 500 and above."""

USED_UP: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes of a 429 that no pause of ours ends."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, as tests replace them. now: monotonic; wall: Unix time; chance: from 0 to 1."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random


@dataclass(slots=True)
class Server:
    """One server, for all models of this process that it runs with one key.

    place: names it in messages. concurrency: requests in flight. most_texts, most_tokens: of one request, as documented
    or as learned from refusals. takes_base64: until it has refused. Vectors as base64 are a third of the size, and need
    no parsing.
    """

    place: str
    concurrency: int
    clock: Clock
    most_texts: int
    most_tokens: int
    takes_base64: bool = True
    _slots: asyncio.Semaphore = field(init=False, repr=False)
    _closed_until: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A request in flight, begun when no pause is asked for. Raises RateLimited if the pause is a long one."""
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
        """No request of anyone begins for so long."""
        self._closed_until = max(self._closed_until, self.clock.now() + seconds)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server refused the content of a request (400, 413, 422).

    said: its words as they came, for rules to look at; they may quote a text, so they are never shown.
    code: a word for programs, "" if there is none.
    """

    status: int
    said: str
    code: str = ""

    def words(self, *secrets: str) -> str:
        """For people: the words too, if they quote none of the secrets."""
        shown = [f"HTTP {self.status}"]
        if self.code and not quotes(self.code, secrets):
            shown.append(self.code)
        if self.said and not quotes(self.said, secrets):
            shown.append(" ".join(self.said.split())[:WORDS_CHARACTERS])
        return ": ".join(shown)


@dataclass(frozen=True, slots=True)
class TooSlow:
    """No whole answer came in the time that one may take."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A request that may be made again. error: to be raised if it is not. pause: seconds that the server asked for."""

    failing: Failing
    error: VectorOpsError
    pause: float | None = None


class NonsenseError(Exception):
    """An answer cannot be read; the message says why, without content."""


@dataclass(frozen=True, slots=True)
class Client:
    """Makes requests to one URL with one key.

    timeout_seconds: for one whole answer.
    """

    url: str
    model: str
    http: httpx.AsyncClient = field(repr=False)
    server: Server
    timeout_seconds: float

    async def post(
        self, body: Mapping[str, Any], read: Callable[[bytes], T], *, most_bytes: int, may_split: bool
    ) -> T | Refusal | TooSlow:
        """What `read` makes of the answer. may_split: TooSlow is given rather than tried again with as many texts.

        read: raises NonsenseError. Raises Transient (EmbedderUnreachable, EmbedderUnauthorized), RateLimited, Terminal
        (EmbedderRejected), and what `outbound` raises.
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
            pause = outcome.pause if outcome.pause is not None else self._backoff(tries.total())
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
        """One request. What is raised here ends all tries."""
        try:
            async with self.server.slot():
                status, headers, answer = await self._once(content, most_bytes)
        except (httpx.ReadTimeout, httpx.WriteTimeout, TimeoutError):
            return TooSlow()
        except httpx.DecodingError:
            return _Failed("nonsense", self._rejected("gives an answer that is not encoded as it says"))
        except httpx.TransportError as error:
            return self._unanswered(f"does not answer ({_cause(error)})")
        return self._judged(status, headers, answer, read)

    def _judged(
        self, status: int, headers: httpx.Headers, answer: bytes, read: Callable[[bytes], T]
    ) -> T | Refusal | _Failed:
        if 200 <= status < 300:
            try:
                return read(answer)
            except NonsenseError as error:
                return _Failed("nonsense", self._rejected(f"gives an answer that is no list of vectors: {error}"))
        refusal = said_in(status, answer)
        if status in REFUSED:
            return refusal
        pause = pause_asked(headers, self.server.clock.wall())
        if pause is not None:
            pause = min(pause, MAX_PAUSE_SECONDS)
        if status == 429:
            if refusal.code in USED_UP:
                words = f"{self.server.place} says that the account's quota is used up ({refusal.code})"
                raise RateLimited(Reason.RATE_LIMITED, words, retry_after=max(pause or 0.0, PATIENCE_SECONDS))
            return _Failed("limited", _limited(self.server.place, pause), pause)
        if status >= 500 or status in PASSING:
            return self._unanswered(f"fails (HTTP {status})", pause)
        raise self._unusable(status, headers)

    async def _once(self, content: bytes, most_bytes: int) -> tuple[int, httpx.Headers, bytes]:
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
        # None of the server's words: they may quote a part of the key, or of any text of the request.
        if status in UNAUTHORIZED:
            key = "the API key" if "Authorization" in self.http.headers else "requests without an API key"
            return Transient(Reason.EMBEDDER_UNAUTHORIZED, f"{self.server.place} refuses {key} (HTTP {status})")
        if status in NOT_FOUND:
            return self._rejected(
                f"knows no model {self.model}, or has nothing at that path (HTTP {status}); check `model`, and "
                "`baseURL`: what stands before /embeddings"
            )
        if 300 <= status < 400:
            to = re.match(r"https?://[-.:\[\]A-Za-z0-9]{1,260}(?=[/?#]|$)", headers.get("Location", ""))
            where = f" to {to.group()}" if to else ""
            return self._rejected(
                f"answers with a redirect{where} (HTTP {status}), which is not followed; name the final address as "
                "`baseURL`"
            )
        return self._rejected(f"refuses the request (HTTP {status})")

    def _unanswered(self, words: str, pause: float | None = None) -> _Failed:
        words = f"{self.server.place} {words}; it is asked again"
        return _Failed("failed", Transient(Reason.EMBEDDER_UNREACHABLE, words, retry_after=pause), pause)

    def _rejected(self, words: str) -> Terminal:
        return Terminal(Reason.EMBEDDER_REJECTED, f"{self.server.place} {words}")

    def _backoff(self, tries: int) -> float:
        seconds = min(BACKOFF_SECONDS * 2.0 ** (tries - 1), MAX_BACKOFF_SECONDS)
        return seconds * (0.5 + self.server.clock.chance())


def batches(texts: Sequence[str], most_texts: int, most_tokens: int) -> Iterator[list[str]]:
    """The texts in order, as many together as one request may hold; a text that is too long by itself is alone."""
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
    """More than most tokenizers make of it: a third of the bytes, so that Chinese is a token for each character."""
    return len(text.encode(errors="replace")) // 3 + 1


def pause_asked(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds that the server asks to wait: `Retry-After`, else OpenAI's reset of the limit that is used up."""
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
        seconds = _duration(headers.get(f"x-ratelimit-reset-{limit}", ""))
        if seconds is not None:
            resets[limit] = seconds
    used_up = [resets[limit] for limit in resets if headers.get(f"x-ratelimit-remaining-{limit}", "").strip() == "0"]
    # A reset is when the whole allowance is back; of two that are not used up, the nearer one lets some through.
    return max(used_up) if used_up else min(resets.values(), default=None)


def said_in(status: int, answer: bytes) -> Refusal:
    """The words and the code in the answer of an error, in the shapes that servers give them."""
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
    """Do words hold a part of a secret: so many characters in a row, or all of it if it is shorter?"""
    # What is escaped is not seen through; it is rare in honest words.
    if "\\" in words:
        return True
    said = _plain(words)
    for secret in map(_plain, secrets):
        length = min(QUOTED_CHARACTERS, len(secret))
        runs = (said[start : start + length] for start in range(len(said) - length + 1))
        if length and any(run in secret for run in runs):
            return True
    return False


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _duration(text: str) -> float | None:
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
    return RateLimited(Reason.RATE_LIMITED, f"{place} asks to be called less often", retry_after=pause)


def _cause(error: httpx.TransportError) -> str:
    """Why a connection failed. Words only of those errors that know nothing of what was to be sent."""
    if isinstance(error, httpx.ConnectError) and str(error):
        return " ".join(str(error).split())[:WORDS_CHARACTERS]
    return type(error).__name__

"""One window of requests in the air: who is sent when, and when each piece of an answer came."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from types import SimpleNamespace

from distill_eval.bench.answer import MAX_MESSAGE, message_of
from distill_eval.bench.target import Rules
from distill_eval.errors import UsageError
from distill_eval.record import record
from distill_eval.schema.timing import Status

try:
    import aiohttp
except ModuleNotFoundError as error:
    raise UsageError("a server is measured with aiohttp. Type: pip install 'distill-eval[bench]'") from error

_TICK_S = 0.005
"""Of the task that watches how late the loop runs."""
_TIMER_S = 0.001
"""Resolution of the loop's timers; what is nearer is waited for turn by turn."""
_KEEP_ALIVE_S = 4.0
"""Below the 5 s after which uvicorn closes an idle connection: a request must not meet one that is being closed."""
_HEALTH_S = 5.0
_MOST_IN_A_ROW = 16
"""Connection errors in a row after which a server that still answers /health counts as gone."""
_BUSY = (429, 503)
_FIRST_WAIT_S = 1.0
"""Before the second try of a request that was refused as busy without a Retry-After; doubled from try to try."""

clock = time.perf_counter


@record
class Plan:
    """What is sent, to where and when; all of it is ready before the window opens."""

    root: str
    """The server's address without a path."""
    url: str
    headers: dict[str, str]
    bodies: tuple[bytes, ...]
    offsets: tuple[float, ...] | None
    """Seconds from the window's begin; `None`: a closed loop of `concurrency` streams."""
    concurrency: int | None
    rules: Rules


class Exchange:
    """A request and what came back, in the clock's own seconds."""

    __slots__ = ("ended", "index", "num_tries", "on_open", "outcome", "reads", "scheduled", "sent", "stamps")

    def __init__(self, index: int, scheduled: float | None) -> None:
        self.index, self.scheduled = index, scheduled
        self.num_tries = 1
        self.stamps: list[float] = []
        self.reads: list[bytes] = []
        self.ended: float | None = None
        """`None`: it is in flight."""
        self.outcome: tuple[Status, str] | None = None
        """What went wrong on the way; `None`: the stream was read to its end."""
        self.sent = clock()
        """When its connection was begun, or, on one that was open, when its bytes were written."""
        self.on_open = False


class _GoneError(Exception):
    """Raised when the server does not answer any more."""


class Flight:
    """The window. Everything that is seen is kept in attributes, so that it is there however the window ends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.exchanges: list[Exchange] = []
        self.lateness: list[float] = []
        """Of the loop's ticks, in seconds."""
        self.began = clock()
        self.closed: float | None = None
        self.cpu_share: float | None = None
        self.lost = False
        self._num_in_a_row = 0
        self._one_by_one, self._begun = asyncio.Lock(), False

    async def fly(self) -> None:
        """Send everything and wait for all answers, unless the server is gone."""
        # No limit: an open loop must not wait for a connection. No proxy: `trust_env` would send even loopback to one.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
        async with aiohttp.ClientSession(
            connector=connector,
            headers=self._plan.headers,
            timeout=aiohttp.ClientTimeout(),  # each request has one limit for everything, `Rules.timeout_s`
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            trace_configs=[_sending()],
        ) as session:
            await self._connect(session)
            self.began, cpu = clock(), time.process_time()
            try:
                await self._watched(session)
            finally:
                self.closed = clock()
                if self.closed > self.began:
                    self.cpu_share = (time.process_time() - cpu) / (self.closed - self.began)

    async def _watched(self, session: aiohttp.ClientSession) -> None:
        lag = asyncio.create_task(self._tick())
        try:
            async with asyncio.TaskGroup() as group:
                if self._plan.offsets is None:
                    waiting = iter(range(len(self._plan.bodies)))
                    for _ in range(self._plan.concurrency or 1):
                        group.create_task(self._stream(session, waiting))
                else:
                    await self._on_schedule(session, self._plan.offsets, group)
        except* _GoneError:
            self.lost = True
        finally:
            lag.cancel()

    async def _connect(self, session: aiohttp.ClientSession) -> None:
        """Open a closed loop's connections, so that its first requests are answered as the later ones are."""
        if self._plan.offsets is None:
            num = min(self._plan.concurrency or 1, len(self._plan.bodies))
            await asyncio.gather(*(self._answers(session) for _ in range(num)))

    async def _stream(self, session: aiohttp.ClientSession, waiting: Iterator[int]) -> None:
        for index in waiting:
            await self._exchange(session, index, None)

    async def _on_schedule(
        self, session: aiohttp.ClientSession, offsets: tuple[float, ...], group: asyncio.TaskGroup
    ) -> None:
        for offset, index in sorted(zip(offsets, range(len(offsets)), strict=True)):
            due = self.began + offset
            while (left := due - clock()) > 0:
                await asyncio.sleep(max(0.0, left - _TIMER_S))
            group.create_task(self._exchange(session, index, due))

    async def _exchange(self, session: aiohttp.ClientSession, index: int, scheduled: float | None) -> None:
        exchange = Exchange(index, scheduled)
        self.exchanges.append(exchange)
        limit = self._plan.rules.timeout_s
        try:
            async with asyncio.timeout(limit):
                await self._try(session, exchange)
            self._num_in_a_row = 0
        except aiohttp.ClientError as error:
            exchange.ended, exchange.outcome = clock(), ("errored", _named(error))
            await self._doubt(session)
        except TimeoutError:
            exchange.ended, exchange.outcome = clock(), ("cancelled", f"time limit of {limit:g} s")

    async def _try(self, session: aiohttp.ClientSession, exchange: Exchange) -> None:
        body, most = self._plan.bodies[exchange.index], self._plan.rules.max_tries
        await self._turn()
        exchange.sent = clock()
        while True:
            async with session.post(self._plan.url, data=body, trace_request_ctx=exchange) as response:
                if response.status == 200:
                    await _receive(response.content, exchange)
                    return
                said = f"HTTP {response.status}: {message_of(await response.read())}".removesuffix(": ")
                wait = _wait_s(response.headers.get("Retry-After"), exchange.num_tries)
                busy = response.status in _BUSY
            if not busy or exchange.num_tries >= most:
                exchange.ended, exchange.outcome = clock(), ("errored", said)
                return
            await asyncio.sleep(wait)
            exchange.num_tries += 1

    async def _turn(self) -> None:
        """Begin one request in each turn of the loop.

        What is written leaves at the end of a turn. Were 64 requests begun in one, the first would leave milliseconds
        after its time was taken. Nobody waits for the network here.
        """
        async with self._one_by_one:
            while self._begun:
                await asyncio.sleep(0)
            self._begun = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._begun = False

    async def _doubt(self, session: aiohttp.ClientSession) -> None:
        """After a connection error: one request may have been dropped, or the server is no more."""
        self._num_in_a_row += 1
        if self._num_in_a_row >= _MOST_IN_A_ROW or not await self._answers(session):
            raise _GoneError

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        """Whether anything answers; a server without /health says 404, which is an answer."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(_HEALTH_S), session.get(f"{self._plan.root}/health") as response:
                await response.read()
                return True
        return False

    async def _tick(self) -> None:
        while True:
            due = clock() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.lateness.append(max(0.0, clock() - due))


def _sending() -> aiohttp.TraceConfig:
    """Take the time of sending where it happens: building 64 requests takes milliseconds, in turn with each other."""

    async def reused(_session: object, context: SimpleNamespace, _params: object) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.on_open = True

    async def written(_session: object, context: SimpleNamespace, _params: object) -> None:
        exchange = context.trace_request_ctx
        if exchange is not None and exchange.on_open and exchange.num_tries == 1:
            exchange.sent = clock()

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    config.on_request_chunk_sent.append(written)
    return config


async def _receive(content: aiohttp.StreamReader, exchange: Exchange) -> None:
    """The hot path: one time and one reference for each read, and nothing else until the window is closed."""
    read, stamp, keep = content.readany, exchange.stamps.append, exchange.reads.append
    while data := await read():
        stamp(clock())
        keep(data)
    exchange.ended = clock()


def _wait_s(retry_after: str | None, num_tries: int) -> float:
    """As the server asked, in seconds; a date, which the header may hold too, counts as nothing said."""
    if retry_after is not None and retry_after.strip().isdigit():
        return float(retry_after)
    return _FIRST_WAIT_S * 2.0 ** (num_tries - 1)


def _named(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"no connection: {error.certificate_error}".splitlines()[0][:MAX_MESSAGE]
    if isinstance(error, aiohttp.ClientConnectorError):
        code = error.os_error.errno
        return f"no connection: {os.strerror(code) if code else error.os_error}"
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return "connection closed"
    return f"{type(error).__name__}: {error}".splitlines()[0][:MAX_MESSAGE]

"""Several workers at one piece of work: a common start, reports while they work, and an end for all."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import msgspec

from eventmark.errors import CannotRunError
from eventmark.instruments.clock import now_ns
from eventmark.workers.handing import hand_over
from eventmark.workers.link import Hello, Note, Ping, Pong, Ready, Start, WorkerLink, note, received, send

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 300.0
START_AHEAD_S = 0.1
"""From telling the workers to the common start: long enough for the slowest message."""

T = TypeVar("T")
R = TypeVar("R")
M = TypeVar("M")

CLOCK_ROUNDS = 20
CLOCK_TIMEOUT_S = 2.0

LinkedWork = Callable[[T, WorkerLink], Coroutine[Any, Any, R]]
"""What each worker of a crew does. It is cancelled when the parent hangs up."""


class Crew(Generic[R]):
    """One worker for each of ``tasks``, taken from ``executor``, which must run as many at once.

    An async context manager: leaving it hangs up, which stops workers that still run. Where the executor runs them on
    other machines, its ``parent_host`` is the address of this one for them.
    """

    def __init__(self, executor: Executor, work: LinkedWork[T, R], tasks: Sequence[T]) -> None:
        self._executor = executor
        self._work: LinkedWork[Any, R] = work
        self._tasks: Sequence[Any] = tasks
        self._host: str = getattr(executor, "parent_host", LOOPBACK)
        self._token = secrets.token_hex(16)
        self._links: dict[int, asyncio.StreamWriter] = {}
        self._ready: set[int] = set()
        self._all_ready = asyncio.Event()
        self._answers, self._answered = 0, asyncio.Event()
        self._notes: list[tuple[int, msgspec.Raw]] = []
        self._clocks: dict[int, Clock] = {}
        self._machines: dict[int, str] = {}
        self._open: set[asyncio.StreamWriter] = set()
        self._futures: list[asyncio.Future[R]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        address = self._server.sockets[0].getsockname()[:2]
        for number, task in enumerate(self._tasks):
            linked = _Linked(self._work, address, self._token, number)
            future = asyncio.wrap_future(hand_over(self._executor, linked, task))
            # The first error is raised; those of the others, who are stopped, say no more.
            future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            self._futures.append(future)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)  # the sockets are closed by the loop, which may be blocked by what comes next

    async def ready(self) -> None:
        """Return when all workers wait for the start; raise what kept one from it."""
        if not self._tasks:
            return
        ready = asyncio.create_task(self._all_ready.wait())
        either: list[asyncio.Future[Any]] = [ready, *self._futures]
        try:
            await asyncio.wait(either, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._all_ready.is_set():
            await self._look_at_clocks()
            return
        self.check()  # no worker ends before the start
        missing, count = len(self._tasks) - len(self._ready), len(self._tasks)
        raise CannotRunError(
            f"{missing} of {count} workers were not ready within {READY_TIMEOUT_S:g} s",
            remedy="name fewer workers, or an executor that runs as many at once",
        )

    def start(self) -> float:
        """Tell every worker the common start, and return it on ``time.monotonic``."""
        wall_ns = time.time_ns() + int(START_AHEAD_S * 1e9)
        for worker, writer in self._links.items():
            clock = self._clocks.get(worker)
            send(writer, Start(wall_ns + (clock.correction_ns if clock else 0)))
        return time.monotonic() + START_AHEAD_S

    def check(self) -> None:
        """Raise what a worker raised that has ended."""
        for future in self._futures:
            if future.done():
                future.result()

    @property
    def clocks(self) -> list[Clock]:
        """Of the workers, by their numbers: the best that was measured until now."""
        return [self._clocks[worker] for worker in sorted(self._clocks)]

    def tell(self, message: Any, worker: int | None = None) -> None:
        """Tell a worker, or every one that has a link, something, which its ``link.receive`` returns."""
        for number, writer in self._links.items():
            if worker in (None, number):
                send(writer, note(message))

    def reports(self, kind: type[M]) -> list[tuple[int, M]]:
        """What workers, by their numbers, have sent since the last time."""
        notes, self._notes = self._notes, []
        return [(worker, msgspec.msgpack.decode(body, type=kind)) for worker, body in notes]

    async def at_work(self, every_s: float) -> AsyncIterator[None]:
        """Once now, then every so many seconds, and when the last worker has ended. Raises what a worker raised."""
        pending: set[asyncio.Future[R]] = set(self._futures)
        yield
        while pending:
            done, pending = await asyncio.wait(pending, timeout=every_s, return_when=asyncio.FIRST_EXCEPTION)
            for future in done:
                future.result()
            self._ask_clocks()
            yield

    async def results(self) -> list[R]:
        """What the workers return, in the tasks' order, when all have ended. Raises what a worker raised."""
        return await asyncio.gather(*self._futures)

    def _ask_clocks(self) -> None:
        for writer in self._links.values():
            send(writer, Ping(now_ns()))

    async def _look_at_clocks(self) -> None:
        """Before the start, while the workers have nothing else to do."""
        for _ in range(CLOCK_ROUNDS):
            self._answers, self._answered = 0, asyncio.Event()
            self._ask_clocks()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._answered.wait(), CLOCK_TIMEOUT_S)

    def _note_clock(self, worker: int, pong: Pong) -> None:
        """Keep the answer that came back the quickest: the clock was read somewhere between question and answer."""
        back_ns, wall_ns, read_ns = now_ns(), time.time_ns(), now_ns()
        between_ns = (pong.sent_ns + back_ns) // 2
        clock = Clock(
            machine=self._machines[worker],
            offset_ns=pong.wall_ns - (wall_ns - (back_ns - between_ns)),
            ticks_ns=pong.now_ns - between_ns,
            uncertainty_ns=(back_ns - pong.sent_ns + 1) // 2 + read_ns - back_ns,
        )
        best = self._clocks.get(worker)
        if best is None or clock.uncertainty_ns < best.uncertainty_ns:
            self._clocks[worker] = clock
        self._answers += 1
        if self._answers == len(self._links):
            self._answered.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            hello = await received(reader)
            if not isinstance(hello, Hello) or not hmac.compare_digest(hello.token, self._token):
                return
            self._links[hello.worker] = writer
            self._machines[hello.worker] = hello.machine
            while (message := await received(reader)) is not None:
                if isinstance(message, Note):
                    self._notes.append((hello.worker, message.body))
                elif isinstance(message, Pong):
                    self._note_clock(hello.worker, message)
                elif isinstance(message, Ready):
                    self._ready.add(hello.worker)
                    if len(self._ready) == len(self._tasks):
                        self._all_ready.set()
        except asyncio.CancelledError:
            pass  # as the loop ends; Python 3.11 prints a traceback for a stream whose reader was cancelled
        finally:
            self._open.discard(writer)
            writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How far a worker's clocks are ahead of the parent's: the wall's by ``offset_ns``, ``now_ns`` by ``ticks_ns``."""

    machine: str
    offset_ns: int
    ticks_ns: int
    uncertainty_ns: int

    @property
    def correction_ns(self) -> int:
        """None for an offset that cannot be told from zero, as on one machine."""
        return self._surely(self.offset_ns)

    @property
    def ticks_correction_ns(self) -> int:
        """The same of ``now_ns``."""
        return self._surely(self.ticks_ns)

    def _surely(self, offset_ns: int) -> int:
        return offset_ns if abs(offset_ns) > self.uncertainty_ns else 0


def doubt_ns(*clocks: Clock) -> int:
    """How wrong the difference of two times may be, each read on one of these clocks: 0 where all are one."""
    if not any(clock.ticks_correction_ns for clock in clocks):
        return 0
    return 2 * max(clock.uncertainty_ns for clock in clocks)


@dataclass(frozen=True, slots=True)
class _Linked:
    """The work with its link, as it travels to a worker."""

    work: LinkedWork[Any, Any]
    address: tuple[str, int]
    token: str
    number: int

    @property
    def __name__(self) -> str:
        return getattr(self.work, "__name__", type(self.work).__name__)

    async def __call__(self, task: Any) -> Any:
        link = await WorkerLink.open(self.address, self.token, self.number)
        running = asyncio.create_task(self.work(task, link))
        try:
            await asyncio.wait((running, link.lost), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise CannotRunError("a worker was stopped: its parent closed the connection")
            return running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await link.close()

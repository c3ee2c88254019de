"""Connections with their prepared statements, kept ready and handed out.

The driver's own pool wraps each call in a proxy, and keeps no prepared statement from one use of a connection to the
next; the engine leaves no session state behind, so neither is needed here (docs/adr/0002). Every wait is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from eventmark.engine.fence import replaced_error
from eventmark.engine.parameters import check_dsn, checked_count, checked_seconds
from eventmark.engine.sessions import (
    SETTINGS,
    EngineConnection,
    close_connection,
    open_connection,
    startup_settings,
)
from eventmark.engine.translation import is_connection_lost
from eventmark.engine.turns import NO_TENANT, PRESENCE_S, Lane, Turns
from eventmark.errors import (
    BatchTooLargeError,
    CannotRunError,
    StoreReplacedError,
    StoreUnavailableError,
    UsageError,
)


class Observer(Protocol):
    """Called after every statement and every wait for a connection. It must not raise or block."""

    def answered(
        self, name: str, arguments: Sequence[object], seconds: float, rows: Sequence[Any]
    ) -> None: ...

    def failed(self, name: str, seconds: float, error: BaseException) -> None: ...

    def waited(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a pool opens its sessions, and the text of each of their statements: for another client to be alike."""

    dsn: str = field(repr=False)
    application_name: str
    settings: Mapping[str, str]
    sql: Mapping[str, str]


class Session:
    """One connection of a pool and its prepared statements, made at first use."""

    __slots__ = ("_pool", "_prepared", "_record_class", "_sql", "connection", "lane", "since_s")

    def __init__(
        self,
        connection: EngineConnection,
        sql: Mapping[str, str],
        record_class: type[asyncpg.Record],
        pool: Pool,
    ) -> None:
        self.connection = connection
        self._sql = sql
        self._record_class = record_class
        self._pool = pool
        self._prepared: dict[str, PreparedStatement[Any]] = {}
        self.lane: Lane[Session | None] | None = None  # of the tenant that it is handed out to
        self.since_s = 0.0

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        """Run the statement called ``name``; one round trip, after the first time."""
        if self._pool.observer is not None:
            return await self._observed(self._pool.observer, name, arguments)
        return await self._run(name, arguments)

    def prepared(self, name: str) -> PreparedStatement[Any]:
        """The statement called ``name`` as this session has run it."""
        return self._prepared[name]

    async def fetch_bounded(self, bytes_max: int | None, name: str, *arguments: object) -> list[Any]:
        """The same. Raises ``BatchTooLargeError`` where the answer is of more bytes; the connection is closed then."""
        receiving = self.connection.receiving
        receiving.left = bytes_max
        try:
            return await self.fetch(name, *arguments)
        except Exception as error:
            if receiving.is_exceeded:
                raise BatchTooLargeError(
                    f"the server answered with more than {bytes_max} bytes", remedy="ask for fewer events"
                ) from error
            raise
        finally:
            receiving.left = None

    async def _observed(self, observer: Observer, name: str, arguments: tuple[object, ...]) -> list[Any]:
        began_s = time.perf_counter()
        try:
            rows = await self._run(name, arguments)
        except BaseException as error:
            observer.failed(name, time.perf_counter() - began_s, error)
            raise
        observer.answered(name, arguments, time.perf_counter() - began_s, rows)
        return rows

    async def _run(self, name: str, arguments: tuple[object, ...]) -> list[Any]:
        try:
            if self._pool.transaction_pooling or self.connection.missing:
                rows: list[Any] = await self._run_in_transaction(self._sql[name], arguments)
            else:
                prepared = self._prepared.get(name) or await self._prepare(name)
                rows = await prepared.fetch(*arguments)
            self.connection.check_replicated()
        except asyncpg.UndefinedFunctionError as error:
            replaced = replaced_error(error)
            if replaced is None:
                raise
            self._pool.replaced = replaced
            raise replaced from error
        return rows

    async def _run_in_transaction(self, sql: str, arguments: tuple[object, ...]) -> list[Any]:
        """Parsed and run by one process of the server, with the settings that sessions there do not have."""
        connection = self.connection
        transaction = None if connection.is_in_transaction() else connection.transaction()
        if transaction is not None:
            await transaction.start()
        try:
            rows: list[Any] = await connection.fetch(sql, *arguments, record_class=self._record_class)
        except Exception as error:
            # Where nobody answers any more, a rollback would not be answered either: the session is discarded.
            if transaction is not None and not is_connection_lost(error):
                await transaction.rollback()
            raise
        if transaction is not None:
            await transaction.commit()
        return rows

    async def _prepare(self, name: str) -> PreparedStatement[Any]:
        prepared = await self.connection.prepare(self._sql[name], record_class=self._record_class)
        self._prepared[name] = prepared
        return prepared


class Pool:
    """At most ``size_max`` sessions. ``acquire`` waits its turn, for at most ``acquire_timeout_s``.

    Tenants take turns, and each holds at most ``tenant_max`` sessions while another tenant is present: see ``turns``.

    A statement that is not answered within ``operation_timeout_s`` fails with ``TimeoutError``.
    ``transaction_pooling``: nothing of a session is kept on the server from one transaction to the next.
    ``settings`` hold for every statement: see ``sessions``.
    """

    def __init__(
        self,
        dsn: str,
        sql: dict[str, str],
        *,
        record_class: type[asyncpg.Record],
        size_max: int,
        acquire_timeout_s: float,
        application_name: str,
        operation_timeout_s: float | None = None,
        transaction_pooling: bool = False,
        settings: Mapping[str, str] = SETTINGS,
        tenant_max: int | None = None,
    ) -> None:
        check_dsn(dsn)
        checked_count(size_max, "pool_max")
        if tenant_max is not None:
            checked_count(tenant_max, "tenant_pool_max")
        checked_seconds(acquire_timeout_s, "acquire_timeout_s")
        if operation_timeout_s is not None:
            checked_seconds(operation_timeout_s, "operation_timeout_s")
        self._dsn = dsn
        self._sql = sql
        self._record_class = record_class
        self._application_name = application_name
        self._settings = settings
        self._idle: list[Session] = []
        self._turns: Turns[Session | None] = Turns(tenant_max)
        self._look_again: asyncio.TimerHandle | None = None
        self._open = 0
        self._reserved = 0
        self._closed = False
        self.size_max = size_max
        self.acquire_timeout_s = acquire_timeout_s
        self.operation_timeout_s = operation_timeout_s
        self.transaction_pooling = transaction_pooling
        self.replaced: StoreReplacedError | None = None  # set once: every statement is refused from then on
        self.acquired_total = 0
        self.waited_total = 0
        self.waited_s: deque[float] = deque(maxlen=100_000)
        self.observer: Observer | None = None
        # Told each wait's seconds within the task that waited, so that a load knows whose wait it was.
        self.on_wait: Callable[[float], None] | None = None

    @property
    def open(self) -> int:
        return self._open

    @property
    def in_use(self) -> int:
        return self._open - len(self._idle)

    def add(self, sql: Mapping[str, str]) -> None:
        """Statements that its sessions can be asked for as well, by name."""
        self._sql.update(sql)

    def reserve(self) -> None:
        """Reserve a connection for a caller that will need another one while it holds it. ``unreserve`` takes it back.

        Raises ``UsageError`` where no other one would be left: the caller would wait for itself.
        """
        if self._reserved + 2 > self.size_max:
            raise UsageError(
                f"a pool of {self.size_max} connections does not serve {self._reserved + 1} processors at a time: "
                "each holds one while it handles a batch, and its lease is prolonged on another",
                remedy=f"set pool_max to {self._reserved + 2} or more",
            )
        self._reserved += 1

    def unreserve(self) -> None:
        self._reserved -= 1

    async def fill(self, size_min: int) -> None:
        """Open ``size_min`` connections ahead of their use."""
        sessions: list[Session] = []
        try:
            while len(sessions) < min(size_min, self.size_max):
                sessions.append(await self.acquire())
        finally:
            for session in sessions:
                self.release(session)

    async def acquire(self, tenant: str = NO_TENANT) -> Session:
        """A session of one's own, to be given back by ``release`` or ``discard``. Work for a tenant names it."""
        if self.replaced is not None:
            raise StoreReplacedError(self.replaced.message, remedy=self.replaced.remedy)
        self.acquired_total += 1
        if self._closed:
            raise StoreUnavailableError("the event store is closed")
        lane = self._turns.lane(tenant)
        # Where a session or a place is free, whoever waits may hold no more: nobody is overtaken.
        if self._turns.may_hold(lane):
            while self._idle:
                session = self._idle.pop()
                if not session.connection.is_closed():
                    return self._lend(session, lane)
                self._open -= 1
            if self._open < self.size_max:
                self._open += 1
                self._turns.took(lane)
                return await self._connect(lane)
        return await self._wait(lane)

    def release(self, session: Session) -> None:
        """Return a session that is fit for reuse."""
        if session.connection.is_closed() or self._closed:
            self.discard(session)
            return
        self._take_back(session)
        if not self._hand_over(session):
            self._idle.append(session)

    def discard(self, session: Session) -> None:
        """Give back a session whose state is not known: it is cut, and its place is free again."""
        session.connection.terminate()
        self._take_back(session)
        self._free_place()

    async def close(self) -> None:
        """Close the idle sessions now and each other one when it comes back."""
        self._closed = True
        if self._look_again is not None:
            self._look_again.cancel()
        for waiter in self._turns.waiters():
            if not waiter.done():
                waiter.set_exception(StoreUnavailableError("the event store was closed"))
        idle, self._idle = self._idle, []
        self._open -= len(idle)
        await asyncio.gather(*(close_connection(session.connection) for session in idle))

    async def connect(self) -> EngineConnection:
        """A connection outside the pool, for listening."""
        return await open_connection(
            self._dsn,
            application_name=self._application_name,
            settings=self._settings,
            transaction_pooling=self.transaction_pooling,
            connect_timeout_s=self.acquire_timeout_s,
            operation_timeout_s=self.operation_timeout_s,
        )

    async def opening(self) -> Opening:
        """How its sessions are opened, settings included that only some servers need.

        Raises ``CannotRunError`` where they hold for transactions instead of sessions.
        """
        session = await self.acquire()
        connection = session.connection
        self.release(session)
        if self.transaction_pooling or connection.missing:
            raise CannotRunError(
                "a connection pooler keeps the store's settings away from its sessions",
                remedy="connect to the server itself",
            )
        return Opening(
            dsn=self._dsn, application_name=self._application_name, settings=startup_settings(connection),
            sql=self._sql,
        )  # fmt: skip

    async def connect_apart(self) -> Session:
        """A session outside the pool, to be closed by the caller."""
        return Session(await self.connect(), self._sql, self._record_class, self)

    def _lend(self, session: Session, lane: Lane[Session | None]) -> Session:
        self._turns.took(lane)
        session.lane, session.since_s = lane, time.monotonic()
        return session

    def _take_back(self, session: Session) -> None:
        if session.lane is not None:
            self._turns.gave_back(session.lane, time.monotonic() - session.since_s)
            session.lane = None

    async def _connect(self, lane: Lane[Session | None]) -> Session:
        """A new session in a place that is counted already, for the pool and for the lane."""
        try:
            session = await self.connect_apart()
        except BaseException:
            self._turns.gave_back(lane, 0.0)
            self._free_place()
            raise
        session.lane, session.since_s = lane, time.monotonic()
        return session

    def _free_place(self) -> None:
        # A place handed over stays counted: else whoever asks before the waiter runs would take it as well.
        if not self._hand_over(None):
            self._open -= 1

    async def _wait(self, lane: Lane[Session | None]) -> Session:
        waiter: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self._turns.wait(lane, waiter)
        if self._idle or self._open < self.size_max:
            self._look_again_soon()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.acquire_timeout_s):
                session = await self._served(waiter, lane)
        except TimeoutError as error:
            raise StoreUnavailableError(
                f"no connection became free within {self.acquire_timeout_s:g} s, {self._refusal(lane)}",
                remedy="raise the pool's size, or hold connections for less long",
            ) from error
        finally:
            self._turns.leave(lane, waiter)
            waited_s = time.perf_counter() - started
            self.waited_total += 1
            self.waited_s.append(waited_s)
            if self.observer is not None:
                self.observer.waited(waited_s)
            if self.on_wait is not None:
                self.on_wait(waited_s)
        return session if session is not None else await self._connect(lane)

    def _refusal(self, lane: Lane[Session | None]) -> str:
        if self._idle or self._open < self.size_max:
            return f"tenant {lane.tenant!r} holds all {self._turns.tenant_max} that one tenant may hold"
        return f"all {self.size_max} are in use"

    async def _served(
        self, waiter: asyncio.Future[Session | None], lane: Lane[Session | None]
    ) -> Session | None:
        """What the waiter is handed. Cancelled, or out of time, in the moment it is served, it gives it back.

        Not ``wait_for``: before Python 3.12 it swallows such a cancellation, since then it loses the session.
        """
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                session = waiter.result()
                if session is None:
                    self._turns.gave_back(lane, 0.0)
                    self._free_place()
                else:
                    self.release(session)
            raise

    def _hand_over(self, session: Session | None) -> bool:
        """Wake whoever's turn it is: with a session, or with None for a free place to connect in."""
        turn = self._turns.next()
        if turn is None:
            return False
        lane, waiter = turn
        if session is None:
            self._turns.took(lane)
        else:
            self._lend(session, lane)
        waiter.set_result(session)
        return True

    def _look_again_soon(self) -> None:
        """Whoever may hold no more while others are present is served when those have gone."""
        if self._look_again is None:
            self._look_again = asyncio.get_running_loop().call_later(PRESENCE_S, self._serve_free)

    def _serve_free(self) -> None:
        self._look_again = None
        while self._idle and (self._idle[-1].connection.is_closed() or self._hand_over(self._idle[-1])):
            self._open -= self._idle.pop().connection.is_closed()
        while self._open < self.size_max and self._hand_over(None):
            self._open += 1
        if (self._idle or self._open < self.size_max) and self._turns.waiters():
            self._look_again_soon()

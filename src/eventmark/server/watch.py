"""Evidence of what limits a run: sessions' waits, the server's counters and statements, CPU of both sides.

The watch lives in a thread with an event loop and a connection of its own, as the monitor does, and looks more
often. It never fails the run: what it cannot see is named in ``missing``.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

import asyncpg

from eventmark.judgement.evidence import CallTimes, Evidence, ProcessLoad, StatementTime
from eventmark.server import machine
from eventmark.server.counters import counters_between, counters_snapshot
from eventmark.server.machine_load import MachineLoad
from eventmark.server.processes import ProcessTree
from eventmark.server.provision import Server
from eventmark.server.statistics import StatementStatistics, statements_between, statements_snapshot
from eventmark.server.waits import WAITS_APPLICATION, WaitSamples

Beside = Callable[[asyncpg.Connection], Awaitable[None]]

LOOK_EVERY_S = 0.025
PROCESSES_EVERY_S = 0.5
STATEMENTS_SHOWN = 20
STATEMENT_ENDS = 90  # characters of its beginning and of its end: what it is, and on what condition
_SCHEMA = re.compile(r'"[a-z_0-9]+"\.')  # the same statement in another schema may have the same id
_FENCE = re.compile(
    r'^\s*(?P<with>with (recursive )?)eventmark_fence as \(select "?fence_[0-9a-f]+"?\(\)\)(?P<more>,?)',
    re.IGNORECASE,
)
"""What every statement of an open store begins with; it tells nothing of the statement."""

_CONNECT_TIMEOUT_S = 10.0
_QUERY_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 15.0


class Watch:
    """From entering to leaving, with ``with`` or ``async with``; then ``evidence()``.

    Entering waits until the first counters are read, leaving until the last ones are. ``beside`` is called with
    the watch's connection twice a second; what it raises ends the watch.
    """

    def __init__(
        self, server: Server, *, look_every_s: float = LOOK_EVERY_S, beside: Beside | None = None
    ) -> None:
        self.missing: dict[str, str] = {}
        self.waits = WaitSamples()
        self._dsn = server.dsn
        self._version_num = server.version_num
        self._look_every_s = look_every_s
        self._beside = beside
        self._client = _Load(ProcessTree(os.getpid(), leave_out=server.pid))
        self._server = _Load(ProcessTree(server.pid)) if server.pid else None
        self._machine = MachineLoad()
        self._machine_cores: float | None = None
        self._counters: dict[str, float] = {}
        self._statements: list[StatementStatistics] | None = None
        self._seconds = 0.0
        self._began = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=WAITS_APPLICATION, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._began.wait(_CONNECT_TIMEOUT_S + _QUERY_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(_STOP_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        await asyncio.to_thread(self._thread.join, _STOP_TIMEOUT_S)

    def evidence(self, calls: CallTimes | None = None, *, application: str | None = None) -> Evidence:
        """What was seen. ``application`` takes the sessions of one application alone, None those of all."""
        waits = self.waits.of(application)
        return Evidence(
            seconds=self._seconds,
            cores=machine.cpu_count(),
            looks=waits.looks,
            waits=waits.sessions(),
            statements=_statement_times(self._statements or (), waits),
            calls=calls,
            client=self._client.average(),
            server=self._server.average() if self._server else None,
            machine_cores=self._machine_cores,
            counters=self._counters,
            missing=dict(self.missing),
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._look_until_stopped())
        except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self.missing["waits"] = f"no answer, {type(error).__name__}"
        finally:
            self._began.set()

    async def _look_until_stopped(self) -> None:
        connection: asyncpg.Connection = await asyncpg.connect(
            self._dsn, timeout=_CONNECT_TIMEOUT_S, server_settings={"application_name": WAITS_APPLICATION}
        )
        try:
            counters = await counters_snapshot(connection, self._version_num)
            statements = await statements_snapshot(connection)
            await self._look(connection)
            self._counters = counters_between(
                counters, await counters_snapshot(connection, self._version_num)
            )
            if statements is None:
                self.missing["statements"] = "pg_stat_statements is not available"
            else:
                self._statements = statements_between(statements, await statements_snapshot(connection) or {})
        finally:
            connection.terminate()

    async def _look(self, connection: asyncpg.Connection) -> None:
        """Sessions at every turn, processes now and then, and both once more in the end."""
        began_s = due_s = processes_s = time.monotonic()
        self._look_at_processes()
        self._machine.cores_since_last()
        self._began.set()
        while not self._stopping.wait(due_s - time.monotonic()):
            await self.waits.look(connection, _QUERY_TIMEOUT_S)
            if time.monotonic() - processes_s >= PROCESSES_EVERY_S:
                processes_s = time.monotonic()
                self._look_at_processes()
                if self._beside is not None:
                    await self._beside(connection)
            due_s = max(due_s + self._look_every_s, time.monotonic())
        self._seconds = time.monotonic() - began_s
        self._machine_cores = self._machine.cores_since_last()
        self._look_at_processes()

    def _look_at_processes(self) -> None:
        for name, load in (("client", self._client), ("server", self._server)):
            if load is not None and (reason := load.sample()):
                self.missing[f"{name} CPU"] = reason
        if self._server is None:
            self.missing["server CPU"] = "the server's processes are not this machine's, or not ours to see"


class _Load:
    """CPU of a tree of processes, added up over the looks at it."""

    def __init__(self, tree: ProcessTree) -> None:
        self._tree = tree
        self._cpu_s = 0.0
        self._busy_s = 0.0
        self._demand_s = 0.0
        self._seconds = 0.0

    def sample(self) -> str:
        """Look; the reason where nothing is to be seen."""
        usage = self._tree.sample()
        if isinstance(usage, str):
            return usage
        if usage.interval_s:
            self._seconds += usage.interval_s
            self._cpu_s += usage.cpu_s
            self._busy_s += min(usage.busiest or 0.0, 1.0) * usage.interval_s
            self._demand_s += min(usage.demand or 0.0, 1.0) * usage.interval_s
        return ""

    def average(self) -> ProcessLoad | None:
        if not self._seconds:
            return None
        busy, demand = self._busy_s / self._seconds, self._demand_s / self._seconds
        return ProcessLoad(cores=self._cpu_s / self._seconds, busiest=busy, demand=demand)


def _statement_times(statements: Sequence[StatementStatistics], waits: WaitSamples) -> list[StatementTime]:
    """The costliest statements, those with the most sessions at work in them first."""
    sessions = waits.sessions_by_statement()
    times = [
        StatementTime(
            text=_short(statement.query),
            calls=statement.calls,
            execution_ms=statement.execution_ms,
            rows=statement.rows,
            pages=statement.shared_hit_buffers + statement.shared_read_buffers,
            changes=statement.wal_records,
            sessions=sessions.get(statement.statement_id, {}),
        )
        for statement in statements
    ]
    times.sort(key=lambda timed: (-timed.sessions_at_work, -timed.execution_ms))
    return times[:STATEMENTS_SHOWN]


def _short(query: str) -> str:
    text = " ".join(
        _FENCE.sub(lambda match: match["with"] if match["more"] else "", _SCHEMA.sub("", query)).split()
    )
    return (
        text if len(text) <= 2 * STATEMENT_ENDS + 3 else f"{text[:STATEMENT_ENDS]} … {text[-STATEMENT_ENDS:]}"
    )

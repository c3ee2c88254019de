"""What was seen while something ran, as far as it tells what limited it: facts, without a judgement."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Spent(StrEnum):
    """What a session that is at work spends a moment on."""

    RUNNING = "running on the server"
    WAL = "writing and flushing WAL"
    LOCK = "waiting for a lock"
    READ = "reading data files"
    WRITE = "writing data files"
    LATCH = "waiting for an internal lock"
    SLEEP = "sleeping"
    CLIENT = "waiting for the client"
    OTHER = "other waits"


class Wait(NamedTuple):
    """A wait event as pg_stat_activity names it; both empty while the session runs."""

    kind: str
    event: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.event}" if self.kind else "running"


# The first that fits. Names of wait events changed their spelling in PostgreSQL 17: WALSync became WalSync.
_SPENT: tuple[tuple[str, str, Spent], ...] = (
    ("", "", Spent.RUNNING),
    ("IO|LWLock", "wal.*", Spent.WAL),
    ("IPC", "syncrep", Spent.WAL),
    ("Lock", ".*", Spent.LOCK),
    ("IO", ".*read|.*prefetch|aio.*", Spent.READ),
    ("LWLock", "aio.*", Spent.READ),
    ("IPC", "bufferio", Spent.READ),
    ("IO", ".*", Spent.WRITE),
    ("LWLock|BufferPin", ".*", Spent.LATCH),
    ("Timeout", "spindelay", Spent.LATCH),
    ("Timeout|Extension", ".*", Spent.SLEEP),
    ("Client", ".*", Spent.CLIENT),
)
_PATTERNS = tuple((re.compile(kind), re.compile(event), spent) for kind, event, spent in _SPENT)


def spent_on(wait: Wait) -> Spent:
    """What a wait event is spent on."""
    event = wait.event.casefold()
    return next(
        (
            spent
            for kinds, events, spent in _PATTERNS
            if kinds.fullmatch(wait.kind) and events.fullmatch(event)
        ),
        Spent.OTHER,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimes:
    """The callers' side, in seconds summed over all calls.

    ``total_s`` from when a call was due until its answer; of that, ``late_s`` before the client came to it,
    ``pool_wait_s`` until it had a connection, and ``loop_lag_s``, by estimate, while the client's event loop was
    busy with others.
    """

    calls: int
    total_s: float
    late_s: float = 0.0
    pool_wait_s: float = 0.0
    loop_lag_s: float = 0.0

    @property
    def connected_s(self) -> float:
        """With a connection: the server's work, the wire, and the client's own part of a call."""
        return max(self.total_s - self.late_s - self.pool_wait_s, 0.0)


NOT_TIMED = CallTimes(calls=0, total_s=0.0)
"""Callers that each have a connection of their own, and whose calls were not timed: nobody queues for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLoad:
    """Cores that processes used on average.

    ``busiest`` is the share of its own time that the busiest one ran, time in which it was kept waiting for a core
    left out; ``demand`` the share of all time that one ran or waited for a core. None where that cannot be seen.
    On a machine to itself they are the same; on a crowded one the truth lies between them, for what the process
    waited for was kept waiting as well.
    """

    cores: float
    busiest: float | None = None
    demand: float | None = None

    @property
    def kept_waiting(self) -> float:
        """Of the time in which the busiest one was able to run, the share that it waited for a core."""
        busiest, demand = self.busiest or 0.0, self.demand or 0.0
        if busiest >= 1 or demand <= busiest:
            return 0.0
        return (demand - busiest) / (1 - busiest) / demand


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementTime:
    """One statement meanwhile. ``sessions`` at work in it on average, by what they wait for, from samples."""

    text: str
    calls: int
    execution_ms: float
    rows: int
    pages: float  # touched in shared buffers or read into them
    changes: int = 0  # records of WAL: rows and entries of indexes that were written
    sessions: Mapping[Wait, float] = field(default_factory=dict)

    @property
    def pages_per_row(self) -> float:
        """For each row returned, change written or call, whichever were most.

        The server counts the rows that a statement returns, and not those that it writes on the way.
        """
        return self.pages / max(self.rows, self.changes, self.calls, 1)

    @property
    def sessions_at_work(self) -> float:
        return sum(self.sessions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was seen in ``seconds``. None, or a name in ``missing`` with its reason: not seen.

    ``waits``: sessions at work on average, by what they waited for, from ``looks`` at all of them.
    ``machine_cores`` are those that all processes of the machine used. ``counters`` are what the server's own
    counters grew by: see ``server.counters``.
    """

    seconds: float
    cores: int
    looks: int
    waits: Mapping[Wait, float]
    statements: Sequence[StatementTime] = ()
    calls: CallTimes | None = None
    client: ProcessLoad | None = None
    server: ProcessLoad | None = None
    machine_cores: float | None = None
    counters: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def sessions_at_work(self) -> float:
        return sum(self.waits.values())

    def sessions_on(self, spent: Spent) -> float:
        return sum(sessions for wait, sessions in self.waits.items() if spent_on(wait) is spent)

    @property
    def connected_sessions(self) -> float:
        """Callers with a connection on average, or where callers were not asked, sessions at work."""
        of_calls = self.calls.connected_s / self.seconds if self.calls and self.seconds else 0.0
        return max(of_calls, self.sessions_at_work)

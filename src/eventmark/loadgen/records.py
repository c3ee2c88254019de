"""What a worker writes down about each operation: a few numbers, in memory that it took beforehand."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventmark.errors import TransactionOrderError, VersionConflictError

SUCCEEDED, CONFLICTED, FAILED = range(3)
"""How an operation that was begun ended."""

CONFLICTS = (VersionConflictError, TransactionOrderError)
"""Answers, and no failures: somebody else was first."""

FAILURES_MAX = 20
"""Classes of failures of one operation that are told apart; the rest is one class together."""

NOT_KNOWN = -1
"""How long an answer lay here before it was read, where nobody writes down when it came."""

_FIELDS = 7  # kind, outcome, due_ns, started_ns, ended_ns, waited_ns, answer_lag_ns
_ROWS_AT_ONCE = 8192

DEADLINE = "deadline"
WRONG_ANSWER = "wrong answer"
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """How one worker process fared while the load ran.

    ``pacing_ms`` is how late the worker woke for arrivals that it slept before, quantiles by name.
    ``cpu_share`` is of one core. ``gc_at_s`` counts from the load's start.
    """

    cpu_share: float
    loop_lag_ms_p50: float
    loop_lag_ms_p95: float
    loop_lag_ms_p99: float
    loop_lag_ms_max: float
    pacing_ms: dict[str, float]
    gc_count: int
    gc_total_ms: float
    gc_max_ms: float
    gc_at_s: NDArray[np.float64]
    gc_ms: NDArray[np.float64]
    gc_generation: NDArray[np.uint8]
    peak_rss_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecords:
    """Everything one worker did, in the order in which operations ended.

    ``kind`` is the operation's place in the mix; times are nanoseconds, ``due_ns`` from the load's start.
    ``offered``, ``skipped`` and ``failures`` are by place in the mix; of each class of failures its first
    message is kept. ``answer_lag_ns``, a part of the service, is how long the answers lay here before they were
    read; None where that is not known of every operation that succeeded. ``companion`` is the value of the
    task's companion, where it has one.
    """

    kind: NDArray[np.uint8]
    outcome: NDArray[np.uint8]
    due_ns: NDArray[np.int64]
    lag_ns: NDArray[np.int64]
    pool_wait_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    answer_lag_ns: NDArray[np.int64] | None
    offered: list[int]
    skipped: list[int]
    failures: list[dict[str, int]]
    messages: list[dict[str, str]]
    health: WorkerHealth
    transactions: tuple[
        int, ...
    ] = ()  # operations, by place in the mix, that took a statement for each event
    companion: Any = None


class Rows:
    """Rows of ``width`` whole numbers, as bytes: no objects that the collector of garbage would have to look at.

    The memory of ``expected`` rows is taken, and written to, at once; only more rows than that take more.
    """

    def __init__(self, width: int, expected: int = 0) -> None:
        self._row = struct.Struct(f"={width}q")
        self._width = width
        self._bytes = bytearray((expected or _ROWS_AT_ONCE) * self._row.size)
        self._end = 0

    def __len__(self) -> int:
        return self._end // self._row.size

    def add(self, *row: int) -> None:
        if self._end == len(self._bytes):
            self._bytes += bytes(_ROWS_AT_ONCE * self._row.size)
        self._row.pack_into(self._bytes, self._end, *row)
        self._end += self._row.size

    def columns(self, first: int = 0) -> NDArray[np.int64]:
        """``width`` columns of the rows from the place ``first`` on; a copy."""
        rows = np.frombuffer(self._bytes[first * self._row.size : self._end], np.int64)
        return rows.reshape(-1, self._width).T


@dataclass(slots=True)
class Recorder:
    """What was offered, and how it ended. The memory of ``expected`` operations is taken beforehand."""

    kinds: int
    expected: int = 0
    samples: Rows = field(init=False)
    pacing_ns: Rows = field(init=False)
    offered: list[int] = field(init=False)
    skipped: list[int] = field(init=False)
    failures: list[Counter[str]] = field(init=False)
    messages: list[dict[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.samples, self.pacing_ns = Rows(_FIELDS, self.expected), Rows(1, self.expected)
        self.offered, self.skipped = [0] * self.kinds, [0] * self.kinds
        self.failures = [Counter() for _ in range(self.kinds)]
        self.messages = [{} for _ in range(self.kinds)]

    def add(
        self, kind: int, outcome: int, due_ns: int, started_ns: int, ended_ns: int, waited_ns: int,
        answer_lag_ns: int = NOT_KNOWN,
    ) -> None:  # fmt: skip
        self.samples.add(kind, outcome, due_ns, started_ns, ended_ns, waited_ns, answer_lag_ns)

    def fail(self, kind: int, name: str, message: str) -> None:
        """Count a failure by its class."""
        counts = self.failures[kind]
        if name not in counts and len(counts) >= FAILURES_MAX:
            name = OTHER
        counts[name] += 1
        self.messages[kind].setdefault(name, message)

    def records(self, start_ns: int, health: WorkerHealth) -> WorkerRecords:
        kind, outcome, due, started, ended, waited, answer_lag = self.samples.columns()
        service = ended - started - waited
        is_known = np.all(answer_lag[outcome == SUCCEEDED] >= 0)
        return WorkerRecords(
            kind=kind.astype(np.uint8),
            outcome=outcome.astype(np.uint8),
            due_ns=due - start_ns,
            lag_ns=started - due,
            pool_wait_ns=waited.copy(),
            service_ns=service,
            answer_lag_ns=np.minimum(answer_lag, service) if is_known else None,
            offered=self.offered,
            skipped=self.skipped,
            failures=[dict(counts) for counts in self.failures],
            messages=self.messages,
            health=health,
        )


def quantiles_ms(samples_ns: Sequence[int] | NDArray[np.int64]) -> dict[str, float]:
    """p50, p95, p99 and max of a few samples, for health and for watching; zeros of none."""
    if not len(samples_ns):
        return {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    values = np.quantile(np.asarray(samples_ns, dtype=np.int64), [0.5, 0.95, 0.99, 1.0]) / 1e6
    return dict(zip(("p50", "p95", "p99", "max"), values.tolist(), strict=True))

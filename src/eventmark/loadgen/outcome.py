"""What a load came to: every operation accounted for, and how the generator itself fared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventmark.judgement.evidence import CallTimes
from eventmark.loadgen.plan import WIRE, LoadPlan
from eventmark.loadgen.records import CONFLICTED, FAILED, SUCCEEDED, WorkerHealth, WorkerRecords
from eventmark.workers import Clock

WAKE_UPS = 2
"""Where it is not known how late answers were read: an operation waits for the loop at least so often, once to be sent
and once for its answer."""


LATE_MS_MAX = 10.0
"""The generator's own lag at p99: beyond it, what is offered is bursts and not the rate that was to be tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLoad:
    """One operation of a load.

    ``offered`` = ``skipped`` + ``succeeded`` + ``conflicted`` + ``failed``, always. The arrays are of those
    that succeeded, in the order in which they were due (``at_s`` from the load's start), nanoseconds:
    ``latency_ns`` from when it was due to its answer = ``schedule_lag_ns`` (until the generator began it)
    + ``pool_wait_ns`` + ``service_ns``. ``answer_lag_ns``, the last part of the service, is how long the answer lay
    here before the generator read it; None where that is not known. ``worker`` is who did it.
    """

    offered: int
    skipped: int
    succeeded: int
    conflicted: int
    failed: int
    failures: Mapping[str, int]  # by class
    messages: Mapping[str, str]  # the first of each class
    at_s: NDArray[np.float64]
    latency_ns: NDArray[np.int64]
    schedule_lag_ns: NDArray[np.int64]
    pool_wait_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    answer_lag_ns: NDArray[np.int64] | None
    worker: NDArray[np.uint8]

    def __post_init__(self) -> None:
        assert self.offered == self.skipped + self.succeeded + self.conflicted + self.failed
        assert self.succeeded == len(self.latency_ns) == len(self.at_s) == len(self.worker)
        assert self.failed == sum(self.failures.values())
        assert np.array_equal(self.latency_ns, self.schedule_lag_ns + self.pool_wait_ns + self.service_ns)

    def by_worker(self, samples: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """One of the arrays, told apart by worker: series that are independent of each other."""
        return [sample for number in np.unique(self.worker) if len(sample := samples[self.worker == number])]

    @property
    def lag_ns(self) -> NDArray[np.int64]:
        """How late the generator itself was, before and after each call, as far as it is known."""
        return (
            self.schedule_lag_ns if self.answer_lag_ns is None else self.schedule_lag_ns + self.answer_lag_ns
        )

    def without_lag(self) -> OperationLoad:
        """As it would have been had the generator begun each call when it was due, and read its answer when it came."""
        none = np.zeros_like(self.schedule_lag_ns)
        answer_lag_ns = none if self.answer_lag_ns is None else self.answer_lag_ns
        return replace(
            self, latency_ns=self.latency_ns - self.lag_ns, at_s=self.at_s + self.schedule_lag_ns / 1e9,
            schedule_lag_ns=none, service_ns=self.service_ns - answer_lag_ns,
            answer_lag_ns=None if self.answer_lag_ns is None else none,
        )  # fmt: skip

    def completed_within(self, seconds: float) -> int:
        """How many had their answer within so many seconds from the start."""
        return int(np.count_nonzero(self.at_s + self.latency_ns / 1e9 <= seconds))


@dataclass(frozen=True, slots=True)
class GeneratorHealth:
    """The workers, and the worst of each of their figures."""

    workers: tuple[WorkerHealth, ...]

    @property
    def cpu_share(self) -> float:
        """Of one core, of the busiest worker."""
        return max(worker.cpu_share for worker in self.workers)

    @property
    def loop_lag_ms_p99(self) -> float:
        return max(worker.loop_lag_ms_p99 for worker in self.workers)

    @property
    def pacing_ms_p99(self) -> float:
        return max(worker.pacing_ms["p99"] for worker in self.workers)

    @property
    def gc_max_ms(self) -> float:
        return max(worker.gc_max_ms for worker in self.workers)

    @property
    def gc_total_ms(self) -> float:
        """Of the worker that collected garbage the longest."""
        return max(worker.gc_total_ms for worker in self.workers)

    def loop_lag_ms(self, quantile: str) -> float:
        """Of the worker whose loop was latest; p99.9 is taken for its maximum."""
        name = {"p50": "p50", "p95": "p95", "p99": "p99"}.get(quantile, "max")
        return max(float(getattr(worker, f"loop_lag_ms_{name}")) for worker in self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOutcome:
    """A load as it was generated. ``started_s`` is on ``time.monotonic``.

    ``in_flight`` is how many operations were under way at the moments ``in_flight_at_s``. ``transactions`` are the
    operations that the wire took a statement for each event for, in one transaction. ``clocks`` are the workers', by
    their numbers, and so are the values of their ``companions``, where they had any.
    """

    plan: LoadPlan
    operations: Mapping[str, OperationLoad]
    health: GeneratorHealth
    started_s: float
    in_flight_at_s: NDArray[np.float64]
    in_flight: NDArray[np.int64]
    transactions: tuple[str, ...] = ()
    clocks: tuple[Clock, ...] = ()
    companions: tuple[Any, ...] = ()

    @property
    def seconds(self) -> float:
        return self.plan.seconds

    @property
    def mode(self) -> str:
        return "closed loop" if self.plan.arrivals is None else "open loop"

    @property
    def call_times(self) -> CallTimes:
        """The callers' side of a search for the bottleneck, of all that succeeded."""
        operations = self.operations.values()
        calls = sum(operation.succeeded for operation in operations)
        return CallTimes(
            calls=calls,
            loop_lag_s=sum(self._loop_lag_s(operation) for operation in operations),
            total_s=sum(float(operation.latency_ns.sum()) for operation in operations) / 1e9,
            late_s=sum(float(operation.schedule_lag_ns.sum()) for operation in operations) / 1e9,
            pool_wait_s=sum(float(operation.pool_wait_ns.sum()) for operation in operations) / 1e9,
        )

    def _loop_lag_s(self, operation: OperationLoad) -> float:
        if operation.answer_lag_ns is not None:
            return float(operation.answer_lag_ns.sum()) / 1e9
        return WAKE_UPS * self.health.loop_lag_ms("p50") / 1e3 * operation.succeeded

    @property
    def judged(self) -> Mapping[str, OperationLoad]:
        """The operations as they are judged: on the wire without what the generator itself was late by, call by call.

        Through the client its lateness is the application's as well, and stays in.
        """
        if self.plan.through != WIRE:
            return self.operations
        return {name: operation.without_lag() for name, operation in self.operations.items()}

    @property
    def too_late(self) -> str:
        """Why a load on the wire says nothing: its generator was so late that others waited for it; "" where not."""
        lags = [operation.lag_ns for operation in self.operations.values() if operation.succeeded]
        if self.plan.through != WIRE or not lags:
            return ""
        late_ms = float(np.quantile(np.concatenate(lags), 0.99)) / 1e6
        return (
            f"calls were sent, or answers read, up to {late_ms:.3g} ms late at p99"
            if late_ms >= LATE_MS_MAX
            else ""
        )

    @property
    def offered(self) -> int:
        return sum(operation.offered for operation in self.operations.values())

    @property
    def offered_per_s(self) -> float:
        return self.offered / self.seconds

    @property
    def unanswered(self) -> int:
        """Of those offered, how many had neither succeeded within the load's time nor been a conflict."""
        operations = self.operations.values()
        return self.offered - sum(
            operation.completed_within(self.seconds) + operation.conflicted for operation in operations
        )

    @property
    def achieved_per_s(self) -> float:
        """Answers within the load's time, per second."""
        return (
            sum(operation.completed_within(self.seconds) for operation in self.operations.values())
            / self.seconds
        )


SERIES_STEP_S = 0.5
SERIES_POINTS_MAX = 1200


def step_s(seconds: float) -> float:
    """The width of a step of the outcome's series."""
    return max(SERIES_STEP_S, seconds / SERIES_POINTS_MAX)


def merged(plan: LoadPlan, parts: Sequence[WorkerRecords], started_s: float) -> LoadOutcome:
    """The workers' records as one outcome, the same as if one worker had done it all."""
    kind = np.concatenate([part.kind for part in parts])
    worker = np.concatenate([np.full(len(part.kind), number, np.uint8) for number, part in enumerate(parts)])
    outcome, due, lag, wait, service = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("outcome", "due_ns", "lag_ns", "pool_wait_ns", "service_ns")
    )
    answer_lag = joined_if_known([part.answer_lag_ns for part in parts])
    operations = {}
    for index, name in enumerate(plan.mix.shares):
        own = kind == index
        good = np.flatnonzero(own & (outcome == SUCCEEDED))
        good = good[np.argsort(due[good], kind="stable")]
        operations[name] = OperationLoad(
            offered=sum(part.offered[index] for part in parts),
            skipped=sum(part.skipped[index] for part in parts),
            succeeded=len(good),
            conflicted=int(np.count_nonzero(own & (outcome == CONFLICTED))),
            failed=int(np.count_nonzero(own & (outcome == FAILED))),
            failures=dict(sum((Counter(part.failures[index]) for part in parts), Counter())),
            messages={
                cls: message for part in reversed(parts) for cls, message in part.messages[index].items()
            },
            at_s=due[good] / 1e9,
            latency_ns=lag[good] + wait[good] + service[good],
            schedule_lag_ns=lag[good],
            pool_wait_ns=wait[good],
            service_ns=service[good],
            answer_lag_ns=None if answer_lag is None else answer_lag[good],
            worker=worker[good],
        )
    began = due + lag
    at_ns, in_flight = _in_flight(began, began + wait + service, plan.seconds)
    return LoadOutcome(
        plan=plan,
        operations=operations,
        health=GeneratorHealth(tuple(part.health for part in parts)),
        started_s=started_s,
        in_flight_at_s=at_ns / 1e9,
        in_flight=in_flight,
        transactions=tuple(list(plan.mix.shares)[index] for index in parts[0].transactions),
        companions=tuple(part.companion for part in parts if part.companion is not None),
    )


def joined_if_known(parts: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int64] | None:
    """One after the other; None where one is not known."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _in_flight(
    began_ns: NDArray[np.int64], ended_ns: NDArray[np.int64], seconds: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Moments, and how many operations had begun by then and not ended."""
    width = step_s(seconds)
    at_ns = (np.arange(width, seconds + width / 2, width) * 1e9).astype(np.int64)
    begun = np.searchsorted(np.sort(began_ns), at_ns, side="right")
    ended = np.searchsorted(np.sort(ended_ns), at_ns, side="right")
    counts: NDArray[np.int64] = begun - ended
    return at_ns, counts

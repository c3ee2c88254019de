"""What a load came to: every operation accounted for, and how the generator itself fared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventmark.judgement.evidence import CallTimes
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.records import CONFLICTED, FAILED, SUCCEEDED, WorkerHealth, WorkerRecords
from eventmark.workers import Clock

WAKE_UPS = 2
"""An operation waits for the loop at least so often: once to be sent, once for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLoad:
    """One operation of a load.

    ``offered`` = ``skipped`` + ``succeeded`` + ``conflicted`` + ``failed``, always. The arrays are of those
    that succeeded, in the order in which they were due (``at_s`` from the load's start), nanoseconds:
    ``latency_ns`` from when it was due to its answer = ``schedule_lag_ns`` (until the generator began it)
    + ``pool_wait_ns`` + ``service_ns``. ``worker`` is who did it.
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
    worker: NDArray[np.uint8]

    def __post_init__(self) -> None:
        assert self.offered == self.skipped + self.succeeded + self.conflicted + self.failed
        assert self.succeeded == len(self.latency_ns) == len(self.at_s) == len(self.worker)
        assert self.failed == sum(self.failures.values())
        assert np.array_equal(self.latency_ns, self.schedule_lag_ns + self.pool_wait_ns + self.service_ns)

    def by_worker(self, samples: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """One of the arrays, told apart by worker: series that are independent of each other."""
        return [sample for number in np.unique(self.worker) if len(sample := samples[self.worker == number])]

    def without_lag(self) -> OperationLoad:
        """As it would have been had the generator begun each call when it was due."""
        return replace(
            self, latency_ns=self.latency_ns - self.schedule_lag_ns, at_s=self.at_s + self.schedule_lag_ns / 1e9,
            schedule_lag_ns=np.zeros_like(self.schedule_lag_ns),
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
            loop_lag_s=WAKE_UPS * self.health.loop_lag_ms("p50") / 1e3 * calls,
            total_s=sum(float(operation.latency_ns.sum()) for operation in operations) / 1e9,
            late_s=sum(float(operation.schedule_lag_ns.sum()) for operation in operations) / 1e9,
            pool_wait_s=sum(float(operation.pool_wait_ns.sum()) for operation in operations) / 1e9,
        )

    def without_lag(self) -> LoadOutcome:
        """Without what the generator itself was late by, call by call."""
        return replace(
            self, operations={name: operation.without_lag() for name, operation in self.operations.items()}
        )

    def lag_ms(self, q: float) -> float:
        """A quantile of what the generator was late by, over all calls that succeeded."""
        lags = [operation.schedule_lag_ns for operation in self.operations.values() if operation.succeeded]
        return float(np.quantile(np.concatenate(lags), q)) / 1e6 if lags else 0.0

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

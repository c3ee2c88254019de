"""What a worker says of itself: beats while it works, and in the end how it fared."""

from __future__ import annotations

import resource
import time

import msgspec
import numpy as np

from eventmark.instruments.clock import GcPauses, Lateness, now_ns
from eventmark.loadgen.records import (
    CONFLICTED,
    FAILED,
    SUCCEEDED,
    Recorder,
    WorkerHealth,
    quantiles_ms,
)

BEAT_S = 0.5
STOP = "stop"
"""What the parent says to end a load before its time."""


class Beat(msgspec.Struct):
    """What a worker did since its last beat. Latencies are packed float32, milliseconds, by place in the mix."""

    worker: int
    at_s: float
    offered: list[int]
    skipped: list[int]
    succeeded: list[int]
    conflicted: list[int]
    failed: list[int]
    in_flight: int
    latencies_ms: list[bytes]
    schedule_lag_ms: float
    cpu_share: float


class Beats:
    """What was done since the last time, in turn after turn."""

    def __init__(self, number: int, recorder: Recorder, start_ns: int) -> None:
        self._number, self._recorder, self._start_ns = number, recorder, start_ns
        self._seen = 0
        self._offered, self._skipped = list(recorder.offered), list(recorder.skipped)
        self._cpu_s, self._at_s = time.process_time(), time.monotonic()

    def next(self, in_flight: int) -> Beat:
        recorder, kinds = self._recorder, range(self._recorder.kinds)
        kind, outcome, due, started, ended, *_ = recorder.samples.columns(self._seen)
        self._seen += len(kind)
        counts = [np.bincount(kind[outcome == end], minlength=len(kinds)).tolist() for end in range(3)]
        latency_ms = ((ended - due) / 1e6).astype(np.float32)
        cpu_before_s, at_before_s = self._cpu_s, self._at_s
        self._cpu_s, self._at_s = time.process_time(), time.monotonic()
        beat = Beat(
            worker=self._number, at_s=(now_ns() - self._start_ns) / 1e9,
            offered=[now - then for now, then in zip(recorder.offered, self._offered, strict=True)],
            skipped=[now - then for now, then in zip(recorder.skipped, self._skipped, strict=True)],
            succeeded=counts[SUCCEEDED], conflicted=counts[CONFLICTED], failed=counts[FAILED],
            in_flight=in_flight,
            latencies_ms=[latency_ms[(kind == number) & (outcome == SUCCEEDED)].tobytes() for number in kinds],
            schedule_lag_ms=quantiles_ms(started - due)["p99"],
            cpu_share=(self._cpu_s - cpu_before_s) / (self._at_s - at_before_s),
        )  # fmt: skip
        self._offered, self._skipped = list(recorder.offered), list(recorder.skipped)
        return beat


def health_of(
    cpu_share: float, lag: Lateness, pauses: GcPauses, recorder: Recorder, start_ns: int
) -> WorkerHealth:
    return WorkerHealth(
        cpu_share=cpu_share,
        loop_lag_ms_p50=lag.quantile_ms(0.5),
        loop_lag_ms_p95=lag.quantile_ms(0.95),
        loop_lag_ms_p99=lag.p99_ms,
        loop_lag_ms_max=lag.max_ms,
        pacing_ms=quantiles_ms(recorder.pacing_ns.columns()[0]),
        gc_count=pauses.count,
        gc_total_ms=pauses.total_ns / 1e6,
        gc_max_ms=pauses.max_ns / 1e6,
        gc_at_s=(np.array(pauses.at_ns, np.int64) - start_ns) / 1e9,
        gc_ms=np.array(pauses.pauses_ns, np.int64) / 1e6,
        gc_generation=np.array(pauses.generations, np.uint8),
        peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )

"""How quickly events are consumed: by several consumers at once, and by one whose work is split into segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from eventmark.domain import StoredEvent
from eventmark.engine.processor import segment_of
from eventmark.experiments.streaming.consumers import BATCH_EVENTS, ConsumerSpec
from eventmark.experiments.streaming.group import Group, GroupPlan, Setting
from eventmark.jobs.job import Job
from eventmark.judgement.operation import client_of, judged_operation
from eventmark.results.results import OperationResult
from eventmark.results.targets import Target
from eventmark.server.loop import on_loop
from eventmark.stores import open_store

STAGE = "consume"
SECONDS_MAX = 600.0
TARGET = f"stream_events[{BATCH_EVENTS}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Consumers at work together. ``log_events_per_s`` is how quickly each of them passes the log."""

    name: str
    consumers: int
    segments: int
    handler_us: float
    group: Group
    log_events: int

    @property
    def log_events_per_s(self) -> float:
        return self.log_events / self.group.seconds if self.group.seconds else 0.0

    @property
    def handled_per_s(self) -> float:
        return self.group.events_per_s


def measure_consumers(setting: Setting, events: int) -> Iterator[Case]:
    """1, 2, 4, ... consumers, each of which reads the log's first ``events``."""
    for count in setting.sizes.consumers:
        specs = tuple(
            ConsumerSpec(name=_name(f"consumer-{number}"), expected=(events,)) for number in range(count)
        )
        group = _run(setting, specs, f"{STAGE} by {count}")
        yield Case(
            name=f"{count} consumer{'s' * (count > 1)}", consumers=count, segments=1, handler_us=0.0,
            group=group, log_events=events,
        )  # fmt: skip


def measure_segments(setting: Setting, events: int) -> Iterator[Case]:
    """One processor split into 1, 2, 4, ... segments, with a handler that does nothing and one that waits."""
    shares = on_loop(_events_by_segment(setting.job, setting.sizes.consumers, events))
    for handler_us in (0.0, setting.sizes.handler_us):
        for segments in setting.sizes.consumers:
            name = _name("segmented")
            specs = tuple(
                ConsumerSpec(name=name, segments=segments, expected=shares[segments], handler_us=handler_us)
                for _ in range(segments)
            )
            group = _run(setting, specs, f"{STAGE} in {segments} segments")
            handler = f", handler waits {handler_us:g} µs per event" if handler_us else ""
            yield Case(
                name=f"{segments} segment{'s' * (segments > 1)}{handler}", consumers=segments, segments=segments,
                handler_us=handler_us, group=group, log_events=events,
            )  # fmt: skip


def to_operation(case: Case, target: Target | None) -> OperationResult:
    """The time from one stored token to the next as an operation's latency, judged by a batch's target."""
    group, series = case.group, case.group.intervals_ns()
    batches = sum(len(batch) for batch in series)
    return judged_operation(
        series, target, np.random.default_rng(1), mode="throughput",
        throughput_per_s=round(batches / group.seconds, 1) if group.seconds else 0.0,
        failed=len(group.errors), failure=group.errors[0] if group.errors else "",
        client=client_of(
            max(worker.cpu_share for worker in group.workers),
            loop_lag_ms_p99=max(worker.loop_lag_ms_p99 for worker in group.workers),
        ),
    )  # fmt: skip


def _run(setting: Setting, specs: tuple[ConsumerSpec, ...], stage: str) -> Group:
    return setting.consume(GroupPlan(specs=specs, seconds=SECONDS_MAX, stage=stage))


def _name(purpose: str) -> str:
    """Of a processor that is new, so that it begins at the tail."""
    return f"eventmark-{purpose}-{uuid4().hex[:8]}"


async def _events_by_segment(
    job: Job, segment_counts: Sequence[int], events: int
) -> Mapping[int, tuple[int, ...]]:
    """How many of the log's first ``events`` belong to each segment, for every number of segments."""
    counts = {segments: [0] * segments for segments in segment_counts}
    store = await open_store(job.definition, job.server.dsn, schema=job.schema, pool_max=1)
    try:
        token, seen = await store.create_tail_token(), 0
        while seen < events:
            batch = await store.stream_events(token, limit=min(10 * BATCH_EVENTS, events - seen))
            if not batch.events:
                break
            token, seen = batch.token, seen + len(batch.events)
            for segments, by_segment in counts.items():
                _count(batch.events, segments, by_segment)
    finally:
        await store.close()
    return {segments: tuple(count) for segments, count in counts.items()}


def _count(events: Sequence[StoredEvent], segments: int, counts: list[int]) -> None:
    for event in events:
        counts[segment_of(event, segments)] += 1

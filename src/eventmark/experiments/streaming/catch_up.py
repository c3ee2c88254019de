"""One consumer reads the whole log: alone, in turns with COPY as the floor, and while writers append."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from types import TracebackType
from uuid import uuid4

from eventmark.errors import CannotRunError
from eventmark.experiments.streaming.consumers import ConsumerSpec
from eventmark.experiments.streaming.copying import CopyFloor
from eventmark.experiments.streaming.group import Group, GroupPlan, Setting
from eventmark.loadgen.generator import generate
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.loadgen.plan import CLIENT, LoadPlan
from eventmark.seeding import CorpusSample
from eventmark.stats.ratios import Ratio, mean_ratio
from eventmark.workload.arrivals import Arrivals

STAGE = "catch up"
SECONDS_MAX = 4 * 3600.0
CATCH_UP_EVENTS = 10_000_000
"""A run over more than so many events is told apart by fewer rounds: its figures are steadier, and it is long."""

APPENDED = "append_events[10]"
WRITERS_CONNECTIONS = 4
LOAD_SECONDS_MIN = 1.0
LONGER_BESIDE = 1.2
"""How many times as long as alone a catch-up during writes may take."""


@dataclass(slots=True)
class CatchUp:
    """What was seen: each round's rates in events per second, and the round during which writers append."""

    events: int
    consumed_per_s: list[float] = field(default_factory=list)
    copied_per_s: list[float] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    beside: Group | None = None
    beside_seconds: float = 0.0
    load: LoadOutcome | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def events_per_s(self) -> float:
        return statistics.median(self.consumed_per_s)

    @property
    def against_copy(self) -> Ratio | None:
        """Of each round to the two COPYs around it; None where there was none."""
        if len(self.copied_per_s) != len(self.consumed_per_s) + 1:
            return None
        around = zip(self.copied_per_s, self.copied_per_s[1:], strict=False)
        return mean_ratio(
            [
                ours / ((before + after) / 2)
                for ours, (before, after) in zip(self.consumed_per_s, around, strict=True)
            ]
        )

    @property
    def beside_per_s(self) -> float | None:
        """The rate while writers appended: of what was handled until they ended, or until all was."""
        if self.beside is None or not self.beside_seconds:
            return None
        (worker,) = self.beside.workers
        consumed = worker.consumed[0]
        end_ns = worker.start_ns + int(self.beside_seconds * 1e9)
        handled = [
            (at_ns, events)
            for at_ns, events in zip(consumed.saved_ns, consumed.events, strict=True)
            if at_ns <= end_ns
        ]
        if not handled:
            return 0.0
        seconds = (handled[-1][0] - worker.start_ns) / 1e9
        return sum(events for _, events in handled) / seconds if seconds else 0.0


def measure_catch_up(setting: Setting, sample: CorpusSample, catching: CatchUp) -> None:
    """Rounds of COPY and consumer in turns, then one with writers, into ``catching``. Raises ``CannotRunError``."""
    job, sizes = setting.job, setting.sizes
    if job.cluster is not None and not all(member.is_here for member in job.cluster.members):
        catching.missing["COPY as the baseline of catching up"] = (
            "it runs on this machine, and the consumer on another"
        )
    floor = CopyFloor(job.server, job.definition.statements["stream_events"], job.schema, job.corpus.events)
    _copy(floor, catching, warm=True)
    rounds = sizes.catch_ups if job.corpus.events <= CATCH_UP_EVENTS else min(sizes.catch_ups, 3)
    _copy(floor, catching)
    for number in range(rounds):
        group = _read_all(setting, f"{STAGE}, round {number + 1} of {rounds}")
        catching.groups.append(group)
        catching.consumed_per_s.append(group.events_per_s)
        _copy(floor, catching)
    _beside_writers(setting, sample, catching)


def _copy(floor: CopyFloor, catching: CatchUp, *, warm: bool = False) -> None:
    """One COPY. The first brings the pages in, so that both sides find them where they are, and is not counted."""
    if catching.missing:
        return
    try:
        rate = floor.events_per_s()
    except (CannotRunError, OSError) as error:
        catching.missing["COPY as the baseline of catching up"] = str(error)
        return
    if not warm:
        catching.copied_per_s.append(rate)


def _read_all(setting: Setting, stage: str) -> Group:
    plan = GroupPlan(specs=(_spec(setting.job.corpus.events),), seconds=SECONDS_MAX, stage=stage)
    group = setting.consume(plan)
    if group.errors:
        raise CannotRunError(f"the log was not read to its end: {group.errors[0]}")
    return group


def _spec(events: int) -> ConsumerSpec:
    return ConsumerSpec(name=f"eventmark-catch-up-{uuid4().hex[:8]}", expected=(events,))


class _Begun:
    """Entered by the load when its workers begin, left when they have ended."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.began_s = 0.0
        self.ended_s = 0.0

    async def __aenter__(self) -> None:
        self.began_s = time.monotonic()
        self.event.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended_s = time.monotonic()


def _beside_writers(setting: Setting, sample: CorpusSample, catching: CatchUp) -> None:
    """One more round, with appends at a steady rate for about as long as it takes."""
    job, sizes = setting.job, setting.sizes
    mix, missing = Mix.of({APPENDED: 1.0}).available(job.definition.capabilities, sample)
    if mix is None:
        catching.missing["catching up while writers append"] = next(iter(missing.values()))
        return
    load_plan = LoadPlan(
        mix=mix, seconds=max(catching.events / catching.events_per_s * LONGER_BESIDE, LOAD_SECONDS_MIN),
        arrivals=Arrivals("poisson", sizes.appends_per_s), seed=job.corpus.seed, pool_max=WRITERS_CONNECTIONS,
        through=CLIENT,  # which notifies consumers that wait
    )  # fmt: skip
    begun = _Begun()
    writing: list[asyncio.Task[LoadOutcome]] = []

    async def begin() -> None:
        writing.append(asyncio.create_task(generate(job, sample, load_plan, setting.executor, during=begun)))
        waiting = asyncio.create_task(begun.event.wait())
        await asyncio.wait((waiting, writing[0]), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def end() -> None:
        catching.load = await writing[0]

    plan = GroupPlan(specs=(_spec(catching.events),), seconds=SECONDS_MAX, stage=f"{STAGE} during writes")
    catching.beside = setting.consume(plan, at_start=begin, meanwhile=end)
    catching.beside_seconds = begun.ended_s - begun.began_s

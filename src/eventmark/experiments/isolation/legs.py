"""Legs of a comparison: the victim's load alone (A), and the same under an aggressor's load (B), in turns A B B A.

The aggressor works in a process of its own, or in the victim's, on the same store. There it is measured without (B)
and with (C) a bound on the connections of one tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from eventmark.errors import CannotRunError
from eventmark.experiments.isolation.aggressors import (
    SETTLE_S,
    STOP,
    AggressorTask,
    AggressorWork,
    run_aggressor,
)
from eventmark.experiments.isolation.follower import Follower
from eventmark.jobs.job import Job
from eventmark.judgement.evidence import Wait
from eventmark.loadgen.generator import generate
from eventmark.loadgen.outcome import GeneratorHealth, LoadOutcome, OperationLoad, joined_if_known
from eventmark.loadgen.plan import LoadPlan
from eventmark.seeding import CorpusSample
from eventmark.server import Watch
from eventmark.server.loop import on_loop
from eventmark.server.waits import WaitSamples
from eventmark.workers import Crew


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg. ``lag_s`` of each event that a consumer of the victim's was given; ``work`` is the aggressor's."""

    outcome: LoadOutcome
    waits: WaitSamples
    watch: Watch
    lag_s: tuple[float, ...]
    work: AggressorWork | None


@dataclass(slots=True)
class Pair:
    """The legs under load of one kind of aggressor, and those alone that they were measured in turns with."""

    kind: str
    alone: list[Leg] = field(default_factory=list)
    beside: list[Leg] = field(default_factory=list)


class Way(StrEnum):
    """How the victim is in one service with an aggressor."""

    ALONE = "alone"
    UNBOUNDED = "without the bound"
    BOUNDED = "with the bound"


@dataclass(slots=True)
class Trio:
    """The legs in one service with one kind of aggressor, in turns."""

    kind: str
    legs: dict[Way, list[Leg]] = field(default_factory=lambda: {way: [] for way in Way})

    def beside(self, way: Way) -> Pair:
        """The legs under its load in that way, and those alone."""
        return Pair(self.kind, self.legs[Way.ALONE], self.legs[way])

    @property
    def is_whole(self) -> bool:
        """Whether there is one of each."""
        return all(self.legs.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """Who is measured under whose load, and how."""

    job: Job
    sample: CorpusSample
    victim: LoadPlan
    victim_tenant: str
    aggressor_tenant: str
    users: int
    follows: bool

    def aggressor(self, kind: str, number: int) -> AggressorTask:
        """What burdens the victim's leg of that number."""
        return AggressorTask(
            dsn=self.job.server.dsn, store=self.job.store, schema=self.job.schema, kind=kind,
            tenant=self.aggressor_tenant, sample=self.sample, users=self.users, seed=self.victim.seed + number,
        )  # fmt: skip


def order_of(rounds: int) -> Iterator[bool]:
    """Whether each leg is under the aggressor's load: A B, B A, A B, ..., so that a drift meets both alike."""
    for number in range(rounds):
        yield from (False, True) if number % 2 == 0 else (True, False)


def turns_of(rounds: int) -> Iterator[Way]:
    """A B C, B C A, C A B, then the same backwards, ...: each is as often first, between and last.

    After six rounds each has also come as often after each other one.
    """
    ways = list(Way)
    for number in range(rounds):
        turned = ways[number % 3 :] + ways[: number % 3]
        yield from turned if number // 3 % 2 == 0 else turned[::-1]


def run_leg(
    duel: Duel, kind: str | None, number: int, victims: Executor, aggressors: Executor | None = None
) -> Leg:
    """One leg; ``kind`` None is alone. Without ``aggressors`` the aggressor works in the victim's process.

    Raises ``CannotRunError``.
    """
    return on_loop(_leg(duel, kind, number, victims, aggressors))


async def _leg(
    duel: Duel, kind: str | None, number: int, victims: Executor, aggressors: Executor | None
) -> Leg:
    follower = Follower(duel.job, duel.victim_tenant) if duel.follows else None
    watch = Watch(duel.job.server)
    task = None if kind is None else duel.aggressor(kind, number)
    works: list[AggressorWork] = []
    plan = replace(duel.victim, seed=duel.victim.seed + number)

    @asynccontextmanager
    async def during() -> AsyncIterator[None]:
        """Around the victim's load: its consumer first, then the aggressor, then the look at both."""
        async with AsyncExitStack() as stack:
            if follower is not None:
                stack.enter_context(follower)
            if task is not None and aggressors is not None:
                await stack.enter_async_context(_aggression(task, aggressors, works))
            stack.enter_context(watch)
            yield

    companion = task if aggressors is None else None
    outcome = await generate(duel.job, duel.sample, plan, victims, during=during(), companion=companion)
    works += outcome.companions
    if follower is not None and follower.failure:
        raise CannotRunError(f"the victim's consumer failed: {follower.failure}")
    (clock,) = outcome.clocks  # events are made by the victim's, and given to the follower by ours
    lag_s = [lag + clock.correction_ns / 1e9 for lag in follower.lag_s] if follower else []
    return Leg(
        outcome=outcome, waits=watch.waits, watch=watch, lag_s=tuple(lag_s),
        work=works[0] if works else None,
    )  # fmt: skip


@asynccontextmanager
async def _aggression(
    task: AggressorTask, executor: Executor, into: list[AggressorWork]
) -> AsyncIterator[None]:
    """The aggressor at work from entering to leaving; what it did comes ``into``."""
    async with Crew(executor, run_aggressor, [task]) as crew:
        await crew.ready()
        crew.start()
        await asyncio.sleep(SETTLE_S)
        yield
        crew.tell(STOP)
        into += await crew.results()


def joined(legs: Sequence[Leg]) -> LoadOutcome:
    """The legs one after the other as one load; who was a worker is a leg, so that legs count as forks."""
    outcomes = [leg.outcome for leg in legs]
    seconds = sum(outcome.seconds for outcome in outcomes)
    return LoadOutcome(
        plan=replace(outcomes[0].plan, seconds=seconds),
        operations={
            name: _joined_operation([outcome.operations[name] for outcome in outcomes], outcomes[0].seconds)
            for name in outcomes[0].operations
        },
        health=GeneratorHealth(tuple(worker for outcome in outcomes for worker in outcome.health.workers)),
        started_s=outcomes[0].started_s,
        in_flight_at_s=np.empty(0),
        in_flight=np.empty(0, np.int64),
    )  # fmt: skip


def _joined_operation(parts: Sequence[OperationLoad], leg_s: float) -> OperationLoad:
    def all_of(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    failures: dict[str, int] = {}
    for part in parts:
        for name, count in part.failures.items():
            failures[name] = failures.get(name, 0) + count
    return OperationLoad(
        offered=sum(part.offered for part in parts), skipped=sum(part.skipped for part in parts),
        succeeded=sum(part.succeeded for part in parts), conflicted=sum(part.conflicted for part in parts),
        failed=sum(part.failed for part in parts), failures=failures,
        messages={name: message for part in reversed(parts) for name, message in part.messages.items()},
        at_s=np.concatenate([part.at_s + number * leg_s for number, part in enumerate(parts)]),
        latency_ns=all_of("latency_ns"), schedule_lag_ns=all_of("schedule_lag_ns"),
        pool_wait_ns=all_of("pool_wait_ns"), service_ns=all_of("service_ns"),
        answer_lag_ns=joined_if_known([part.answer_lag_ns for part in parts]),
        worker=np.concatenate([np.full(part.succeeded, number, np.uint8) for number, part in enumerate(parts)]),
    )  # fmt: skip


def per_call_ms(legs: Sequence[Leg], application: str) -> dict[Wait, float]:
    """Milliseconds that a call of the victim's spends on the server, by what its sessions wait for."""
    waits = sum((leg.waits.of(application) for leg in legs), WaitSamples())
    calls = sum(operation.succeeded for leg in legs for operation in leg.outcome.operations.values())
    seconds = sum(leg.outcome.seconds for leg in legs)
    return (
        {wait: sessions * seconds / calls * 1e3 for wait, sessions in waits.sessions().items()}
        if calls
        else {}
    )

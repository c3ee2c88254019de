"""A transaction that stays open during appends and consumption."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import asyncpg

from eventmark.domain import EventStore, TrackingToken
from eventmark.engine.stalls import find_stall
from eventmark.experiments.stress.case import CaseReport, met
from eventmark.experiments.stress.stage import Stage
from eventmark.jobs.job import Job
from eventmark.judgement.evidence import NOT_TIMED
from eventmark.results.results import Chart, Figure, Finding, Point, Table, columns
from eventmark.server import Watch
from eventmark.stores import end_of_log

APPENDS_PER_S = 100.0
LOOK_EVERY_S = 0.05
CAUGHT_UP_WITHIN_S = 20.0


@dataclass(slots=True)
class _Followed:
    """Events appended, and a consumer from the head on: what it was given, and how far behind it was at each look."""

    token: TrackingToken
    appended: int = 0
    delivered: list[str] = field(default_factory=list)
    lag: list[tuple[float, int]] = field(default_factory=list)

    @property
    def behind(self) -> int:
        return max(self.appended - len(self.delivered), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """While the transaction was open: who was named, and how many events were appended and delivered."""

    named: str
    appended: int
    delivered: int


class LongTransaction:
    """A transaction with an id is held open during appends: do consumers wait, is it named, do they catch up?"""

    name: ClassVar[str] = "long-transaction"
    title: ClassVar[str] = "Long transaction"

    def missing(self, job: Job) -> str:
        return job.definition.capabilities.lack("all_tenants_stream")

    async def run(self, stage: Stage) -> CaseReport:
        async with stage.store(4) as store, stage.connection() as holder, Watch(stage.job.server) as watch:
            followed = _Followed(await end_of_log(store))
            began_s = time.monotonic()
            work = asyncio.create_task(_append_steadily(stage, store, followed, 2 * stage.step_s))
            following = asyncio.create_task(_follow(store, followed, began_s))
            try:
                held = await _hold(stage, holder, followed)
                released_at_s = time.monotonic()
                await work
                caught_up_s = await _caught_up(followed, released_at_s)
            finally:
                for task in (work, following):
                    task.cancel()
                await asyncio.gather(work, following, return_exceptions=True)
        figures = {} if caught_up_s is None else {"caught_up_s": caught_up_s}
        return CaseReport(
            text=[
                f"A transaction with an id was held open for {stage.step_s:g} s while {APPENDS_PER_S:g} events a "
                "second were appended and a consumer followed the log. Meanwhile consumers were held up by: "
                + (held.named or "nobody") + "."
            ],
            findings=[*_waited(stage, held), _delivered(followed, caught_up_s)],
            tables=[_consumer_table(stage, followed, held, caught_up_s)],
            charts=[
                Chart(
                    title="Events appended and not yet delivered", mark="line", x="seconds", y="events",
                    points=[Point(x=round(at_s, 3), y=float(behind)) for at_s, behind in followed.lag],
                )
            ],
            figures={
                name: Figure(value=round(value, 3), unit="s", better="less") for name, value in figures.items()
            },
            evidence=watch.evidence(NOT_TIMED),
        )  # fmt: skip


def _consumer_table(stage: Stage, followed: _Followed, held: _Held, caught_up_s: float | None) -> Table:
    return Table(
        title="The consumer",
        columns=columns(
            "held|s", "appended meanwhile", "delivered of these", "appended in all", "delivered", "furthest behind",
            "caught up after|s",
        ),
        rows=[[
            stage.step_s, float(held.appended), float(held.delivered), float(followed.appended),
            float(len(followed.delivered)), float(max((behind for _, behind in followed.lag), default=0)), caught_up_s,
        ]],
    )  # fmt: skip


async def _append_steadily(stage: Stage, store: EventStore, followed: _Followed, seconds: float) -> None:
    stream = stage.book.new_stream()
    due_s = time.monotonic()
    ends_s = due_s + seconds
    while due_s < ends_s:
        await asyncio.sleep(max(due_s - time.monotonic(), 0))
        await stage.book.append(store, stream, 1, followed.appended)
        followed.appended += 1
        due_s += 1 / APPENDS_PER_S


async def _follow(store: EventStore, followed: _Followed, began_s: float) -> None:
    while True:
        batch = await store.stream_events(followed.token, limit=1000)
        followed.token = batch.token
        followed.delivered += [str(event.global_sequence) for event in batch.events]
        followed.lag.append((time.monotonic() - began_s, followed.behind))
        await asyncio.sleep(LOOK_EVERY_S)


async def _hold(stage: Stage, holder: asyncpg.Connection[Any], followed: _Followed) -> _Held:
    """Hold a transaction open for a step; see who is named meanwhile, and what is delivered that came after it."""
    named = ""
    async with holder.transaction(), stage.connection() as looking:
        await holder.execute("select pg_current_xact_id()")
        before = followed.appended + 1  # one may have its id already
        until_s = time.monotonic() + stage.step_s
        while time.monotonic() < until_s:
            stall = await find_stall(looking)
            if stall is not None and stall.pid == holder.get_server_pid():
                named = str(stall)
            await asyncio.sleep(0.1)
        return _Held(
            named=named, appended=max(followed.appended - before, 0),
            delivered=max(len(followed.delivered) - before, 0),
        )  # fmt: skip


async def _caught_up(followed: _Followed, released_at_s: float) -> float | None:
    """Seconds from when the transaction ended until everything was delivered; None if it never was."""
    while time.monotonic() - released_at_s < CAUGHT_UP_WITHIN_S:
        if not followed.behind:
            return time.monotonic() - released_at_s
        await asyncio.sleep(LOOK_EVERY_S)
    return None


def _waited(stage: Stage, held: _Held) -> list[Finding]:
    """Where the order is by transaction id consumers must wait, and whoever makes them is to be named."""
    if stage.job.definition.ordering != "transaction-id":
        return []
    waited = held.appended > 0 and held.delivered == 0
    return [
        Finding(
            name="the stall is named", verdict=met(bool(held.named)),
            observed=held.named or "nobody was named", expected="the process that holds consumers up",
        ),
        Finding(
            name="consumers wait", verdict=met(waited),
            observed=f"{held.delivered} of {held.appended} events appended meanwhile were delivered",
            expected="none: what an older transaction may still precede is not delivered",
        ),
    ]  # fmt: skip


def _delivered(followed: _Followed, caught_up_s: float | None) -> Finding:
    given = len(set(followed.delivered))
    once = len(followed.delivered) == given == followed.appended
    return Finding(
        name="everything delivered once",
        verdict=met(once and caught_up_s is not None),
        observed=f"{given} of {followed.appended} events in {len(followed.delivered)} deliveries"
        + ("" if caught_up_s is None else f", none missing {caught_up_s:.2f} s after the transaction's end"),
        expected=f"each once, within {CAUGHT_UP_WITHIN_S:g} s of the transaction's end",
    )  # fmt: skip

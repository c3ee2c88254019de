"""Every interleaving of writers and consumers, bounded: run against the server for each ordering, and checked."""

from __future__ import annotations

import random
from collections.abc import Sequence

import asyncpg
import pytest

from tests.engine.builders import LOSSLESS, opened, stream_of
from tests.engine.interleavings import Consumer, Plan, Writer, all_ends, faults, interleavings, run

Connection = asyncpg.Connection
pytestmark = pytest.mark.usefixtures("no_gap_timeout")


SHORT, WRITER_STEPS = 50, ("begin", "append")


async def caught(
    dsn: str, ordering: str, cases: Sequence[tuple[tuple[Plan, ...], tuple[int, ...]]], observer: Connection
) -> list[str]:
    """What was wrong, over all cases, each with its own aggregates in one store."""
    found = []
    async with opened(dsn, ordering) as store:
        for number, (plans, order) in enumerate(cases):
            tenants = [None] if store.ordering.all_tenants else ["acme", "globex"]
            writers = [
                Writer(
                    store,
                    Plan(
                        stream_of(f"{number}-{plan.stream.aggregate_id}", tenant_id=plan.stream.tenant_id),
                        plan.steps,
                    ),
                )
                for plan in plans
            ]
            consumers = [
                Consumer(store, await store.create_head_token(tenant_id=tenant), tenant) for tenant in tenants
            ]
            later = [Consumer(store, consumer.token, consumer.tenant_id) for consumer in consumers]
            await run(writers, consumers, order, observer)
            for consumer in later:
                await consumer.drain(observer)
            wrong = faults(writers, [*consumers, *later], total_order=store.ordering.total_order)
            if wrong:
                found.append(f"{wrong} with {[plan.steps for plan in plans]} in the order {order}")
    return found


def cases_of(
    writers: int, polls: int, *, early: bool = False
) -> list[tuple[tuple[Plan, ...], tuple[int, ...]]]:
    """Every interleaving of so many writers and polls, with every way to end, on streams apart and on one."""
    steps = ("begin", "take_id", "append") if early else WRITER_STEPS
    orders = list(interleavings([len(steps) + 1] * writers + [polls]))
    return [
        (
            tuple(
                Plan(
                    stream_of(
                        "one" if together else f"s{writer}",
                        tenant_id=("acme", "globex")[writer % 2 if apart else 0],
                    ),
                    (*steps, end),
                )
                for writer, end in enumerate(ends)
            ),
            order,
        )
        for together, apart in ((False, False), (False, True), (True, False))
        for ends in all_ends(writers)
        for order in orders
    ]


@pytest.mark.parametrize("ordering", LOSSLESS)
async def test_no_interleaving_loses_an_event(ordering: str, cleared_dsn: str, observer: Connection) -> None:
    sample = random.Random(1).sample(cases_of(2, 2), SHORT) + random.Random(2).sample(
        cases_of(2, 1, early=True), SHORT // 2
    )
    assert await caught(cleared_dsn, ordering, sample, observer) == []


async def test_interleavings_catch_the_naive_ordering(cleared_dsn: str, observer: Connection) -> None:
    sample = random.Random(1).sample(cases_of(2, 2), SHORT)
    assert any("lost" in fault for fault in await caught(cleared_dsn, "naive", sample, observer))


@pytest.mark.long
@pytest.mark.parametrize("ordering", LOSSLESS)
async def test_no_interleaving_of_all_loses_an_event(
    ordering: str, cleared_dsn: str, observer: Connection
) -> None:
    assert await caught(cleared_dsn, ordering, cases_of(2, 2), observer) == []


@pytest.mark.long
@pytest.mark.parametrize("writers", [3, 4])
@pytest.mark.parametrize("ordering", LOSSLESS)
async def test_no_interleaving_of_more_writers_loses_an_event(
    ordering: str, writers: int, cleared_dsn: str, observer: Connection
) -> None:
    source = random.Random(writers)
    order = [party for party in range(writers) for _ in range(3)] + [writers] * 3
    sample = []
    for _ in range(1500):
        source.shuffle(order)
        ends = [source.choice(("commit", "commit", "rollback")) for _ in range(writers)]
        plans = tuple(
            Plan(
                stream_of(f"s{source.randrange(writers)}", tenant_id=source.choice(("acme", "globex"))),
                (*WRITER_STEPS, end),
            )
            for end in ends
        )
        sample.append((plans, tuple(order)))
    assert await caught(cleared_dsn, ordering, sample, observer) == []

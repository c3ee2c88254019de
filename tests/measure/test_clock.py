"""The clock, and the lag of the loop: a planted stall is measured right."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from eventmark.instruments.alarm import Alarm
from eventmark.instruments.clock import LAG_TICKS_MAX, GcPauses, LoopLag, clock_resolution_ns, now_ns


def block(seconds: float) -> None:
    """Keep the loop from running, as a computation would."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def test_clock_counts_nanoseconds_and_tells_short_times_apart() -> None:
    began = now_ns()
    time.sleep(0.02)
    assert 20e6 <= now_ns() - began < 2e9
    assert 0 < clock_resolution_ns() < 100_000


async def test_planted_stall_is_measured_right() -> None:
    async with LoopLag() as lag:
        await asyncio.sleep(0.02)
        block(0.2)
        await asyncio.sleep(0.02)
    # Asleep for up to 5 ms of it; on a shared machine it takes longer, never shorter.
    assert 190 <= lag.max_ms < 1000


async def test_stall_counts_for_every_wake_up_it_delayed() -> None:
    """One stall of 100 ms is a fifth of half a second, not one sample in eighty."""
    async with LoopLag() as lag:
        await asyncio.sleep(0.4)
        block(0.1)
        await asyncio.sleep(0.01)
    assert lag.samples >= 95
    assert lag.p99_ms > 70


async def test_stall_right_before_the_end_is_seen() -> None:
    async with LoopLag() as lag:
        block(0.05)
    assert lag.max_ms >= 44


async def test_stall_longer_than_the_limit_is_counted_up_to_it() -> None:
    async with LoopLag(interval_s=1e-7) as lag:
        block(0.02)  # 200 000 wake-ups
    assert LAG_TICKS_MAX <= lag.samples < 2 * LAG_TICKS_MAX
    assert lag.max_ms >= 19


async def test_free_loop_has_little_lag_and_the_sampler_ends() -> None:
    async with LoopLag() as lag:
        await asyncio.sleep(0.3)
    assert lag.samples >= 55
    assert lag.p99_ms < 50  # a shared machine; in peace it is below 1
    assert len(asyncio.all_tasks()) == 1


async def test_lag_of_no_time_is_zero() -> None:
    async with LoopLag() as lag:
        pass
    assert lag.samples == 0 and lag.p99_ms == 0.0 and lag.max_ms == 0.0


async def test_error_inside_goes_through() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with LoopLag():
            raise ValueError("mine")
    assert len(asyncio.all_tasks()) == 1


def test_lag_is_sampled_on_uvloop_as_well() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def sampled() -> LoopLag:
        async with LoopLag() as lag:
            await asyncio.sleep(0.05)
            block(0.1)
            await asyncio.sleep(0.02)
        return lag

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lag = runner.run(sampled())
    assert 90 <= lag.max_ms < 1000


def test_pauses_of_the_garbage_collector_are_told() -> None:
    with GcPauses() as pauses:
        kept = [[number] for number in range(200_000)]
        began = now_ns()
        gc.collect()
        took_ns = now_ns() - began
    assert len(kept) == 200_000
    assert pauses.count == len(pauses.pauses_ns) >= 1
    assert pauses.generations[-1] == 2
    assert 0 < pauses.pauses_ns[-1] <= took_ns
    assert pauses.at_ns[-1] >= began
    assert pauses.total_ns >= pauses.max_ns >= max(pauses.pauses_ns)
    before = pauses.count
    gc.collect()
    assert pauses.count == before


async def test_lag_can_be_woken_by_another_clock() -> None:
    """An alarm more precise than the loop's timers: what is left is the loop's own lag."""
    async with Alarm() as alarm, LoopLag(until=alarm.until) as lag:
        await asyncio.sleep(0.02)
        block(0.2)
        await asyncio.sleep(0.02)
    assert 190 <= lag.max_ms < 1000

"""The clock, and the lag of the loop: a planted stall is measured right."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from eventmark.instruments.alarm import Alarm
from eventmark.instruments.clock import LAG_TICKS_MAX, GcPauses, LoopLag, clock_resolution_ns, now_ns
from tests.virtual_time import VirtualTime


def block(seconds: float) -> None:
    """Keep the loop from running, as a computation would."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def test_clock_counts_nanoseconds_and_distinguishes_short_times() -> None:
    outer_ns = time.monotonic_ns()
    began_ns = now_ns()
    time.sleep(0.02)
    took_ns = now_ns() - began_ns
    assert 20_000_000 <= took_ns <= time.monotonic_ns() - outer_ns
    assert 0 < clock_resolution_ns() < 100_000


def test_planted_stall_is_measured_right(virtual_time: VirtualTime) -> None:
    async def sampled() -> LoopLag:
        async with LoopLag() as lag:
            await asyncio.sleep(0.022)
            virtual_time.block(0.2)
            await asyncio.sleep(0.02)
        return lag

    lag = virtual_time.run(sampled())
    assert lag.max_ms == pytest.approx(197, rel=0.01)  # asleep for 3 ms of it
    assert lag.samples == 48


def test_stall_counts_for_every_wake_up_it_delayed(virtual_time: VirtualTime) -> None:
    """One stall of 100 ms is a fifth of half a second, not one sample in eighty."""

    async def sampled() -> LoopLag:
        async with LoopLag() as lag:
            await asyncio.sleep(0.4)
            virtual_time.block(0.1)
            await asyncio.sleep(0.01)
        return lag

    lag = virtual_time.run(sampled())
    assert lag.samples in (101, 102)
    assert lag.p99_ms == pytest.approx(95, rel=0.06)
    assert lag.quantile_ms(0.79) < 1 < 4 < lag.quantile_ms(0.82)


def test_stall_right_before_the_end_is_seen(virtual_time: VirtualTime) -> None:
    async def sampled() -> LoopLag:
        async with LoopLag() as lag:
            virtual_time.block(0.05)
        return lag

    assert virtual_time.run(sampled()).max_ms == pytest.approx(45, rel=0.01)


async def test_stall_longer_than_the_limit_is_counted_up_to_it() -> None:
    async with LoopLag(interval_s=1e-7) as lag:
        block(0.02)  # 200 000 wake-ups
    assert LAG_TICKS_MAX <= lag.samples < 2 * LAG_TICKS_MAX
    assert lag.max_ms >= 19


def test_free_loop_has_no_lag_and_the_sampler_ends(virtual_time: VirtualTime) -> None:
    async def sampled() -> LoopLag:
        async with LoopLag() as lag:
            await asyncio.sleep(0.3)
        assert len(asyncio.all_tasks()) == 1
        return lag

    lag = virtual_time.run(sampled())
    assert lag.samples == 60
    assert lag.max_ms < 0.001


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
        outer_ns = now_ns()
        lag = runner.run(sampled())
    assert 90 <= lag.max_ms <= (now_ns() - outer_ns) / 1e6


def test_pauses_of_the_garbage_collector_are_reported() -> None:
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
    outer_ns = now_ns()
    async with Alarm() as alarm, LoopLag(until=alarm.until) as lag:
        await asyncio.sleep(0.02)
        block(0.2)
        await asyncio.sleep(0.02)
    assert 190 <= lag.max_ms <= (now_ns() - outer_ns) / 1e6

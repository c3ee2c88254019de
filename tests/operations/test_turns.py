"""Turns: both sides make the same calls at nearly the same time, whichever is slower."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from eventmark.jobs.profiles import PROFILES
from eventmark.operations.forks import measure_in_turns
from eventmark.operations.operation import Operation
from eventmark.operations.turns import TURN_CALLS_MAX, calls_of_a_turn
from eventmark.seeding import CorpusSample
from eventmark.stores import PooledStore

PROFILE = replace(PROFILES["quick"], warmup_calls=2, warmup_iterations_max=2, samples=130, seconds_max=30.0)
WARM = PROFILE.warmup_calls * PROFILE.warmup_iterations_max


class Sleeping(Operation):
    """Takes as long as it is told, and writes down who was called."""

    name = "sleeping"
    statement = "nothing"

    def __init__(self, letter: str, seconds: float, called: list[str]) -> None:
        store = SimpleNamespace(pool=SimpleNamespace(waited_s=[]))
        super().__init__(cast(PooledStore, store), cast(CorpusSample, None), np.random.default_rng(1))
        self._letter, self._seconds, self._called = letter, seconds, called

    def draw(self) -> Any:
        return None

    async def call(self, arguments: Any) -> Any:
        self._called.append(self._letter)
        await asyncio.sleep(self._seconds)

    def is_right(self, arguments: Any, answer: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("medians_ms", "calls"),
    [
        ([], 1),
        ([0.0001], TURN_CALLS_MAX),
        ([1.0, 5.0], 5),
        ([5.0, 1.0], 5),
        ([100.0], 1),
        ([float("inf")], 1),
    ],
)
def test_a_turn_has_as_many_calls_as_the_slowest_side_has_time_for(
    medians_ms: list[float], calls: int
) -> None:
    assert calls_of_a_turn([ms * 1e6 for ms in medians_ms]) == calls


def test_sides_take_turns_and_make_the_same_number_of_calls() -> None:
    called: list[str] = []
    fast, slow = asyncio.run(
        measure_in_turns([Sleeping("f", 0.0, called), Sleeping("s", 0.002, called)], PROFILE)
    )
    assert len(fast.samples_ns) == len(slow.samples_ns) == PROFILE.samples
    assert np.median(slow.samples_ns) > 2e6 > np.median(fast.samples_ns)
    assert slow.seconds > PROFILE.samples * 0.002 > fast.seconds
    measured = "".join(called[2 * WARM :])
    turn = len(measured) - len(measured.lstrip("f"))
    assert 1 <= turn <= TURN_CALLS_MAX // 4  # of two milliseconds each, within a fortieth of a second
    assert measured.startswith("f" * turn + "s" * 2 * turn + "f" * 2 * turn)


def test_one_side_alone_has_one_turn_until_its_time_is_over() -> None:
    called: list[str] = []
    (alone,) = asyncio.run(
        measure_in_turns([Sleeping("a", 0.01, called)], replace(PROFILE, samples=1000, seconds_max=0.2))
    )
    assert 1 < len(alone.samples_ns) <= 21
    assert alone.calls == len(called)

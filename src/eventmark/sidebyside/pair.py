"""One pair of forks: two fresh processes that live at the same time and take turns, call for call alike."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.operations.turns import calls_of_a_turn
from eventmark.sidebyside.grounds import Ground, SideProcess
from eventmark.sidebyside.protocol import Begin, End, Ended, Open, Opened, Turn, Turned
from eventmark.stats.quantiles import latency_of

WARMUP_CALLS = 12
TURNS = 20  # of each side
COUNTED_PAIRS, COUNTED_CALLS = 3, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPair:
    """One operation on both sides, base first: samples in nanoseconds, failures, work per call."""

    samples_ns: tuple[NDArray[np.int64], NDArray[np.int64]]
    failed: tuple[int, int]
    failure: tuple[str, str]
    work: tuple[dict[str, float], dict[str, float]]

    def quantiles_ms(self, name: str) -> tuple[float, float]:
        base, candidate = (float(getattr(latency_of(samples), name)) for samples in self.samples_ns)
        return base, candidate

    def log_ratio(self, name: str) -> float:
        """Candidate over base: of p50 the middle of all calls' ratios, each with its like; else of the quantiles.

        The n-th call of both sides had the same arguments and was made in the same twentieth of a second.
        """
        base, candidate = self.samples_ns
        if name == "p50" and len(base) == len(candidate):
            return float(np.median(np.log(candidate / base)))
        values = self.quantiles_ms(name)
        return math.log(values[1] / values[0])


def measure_pair(
    both: tuple[Ground, Ground], names: list[str], number: int, *, swapped: bool, turns: int = TURNS
) -> dict[str, OperationPair]:
    """Each operation in turns: first, second, second, first, ... ``swapped`` lets the candidate be first.

    The first ``COUNTED_PAIRS``, numbered from 0, count the server's work as well.
    Which side was first is the only thing that tells them apart here; the caller draws it by a coin.
    Raises ``CannotRunError`` or ``UsageError`` of a side.
    """
    with ExitStack() as stack:
        order = (1, 0) if swapped else (0, 1)
        processes: dict[int, SideProcess] = {}
        for side in order:
            processes[side] = stack.enter_context(both[side].process())
            ground = both[side]
            processes[side].send(
                Open(place=ground.place, sample=str(ground.sample), operations=names, fork=number)
            )
        for side in order:
            processes[side].receive(Opened)
        counted = COUNTED_CALLS if number < COUNTED_PAIRS else 0
        return {name: _in_turns(processes, order, name, turns, counted) for name in names}


def _in_turns(
    processes: dict[int, SideProcess], order: tuple[int, int], name: str, turns: int, counted: int
) -> OperationPair:
    by_side: dict[int, list[Turned]] = {0: [], 1: []}
    begun = [processes[side].ask(Begin(operation=name, calls=WARMUP_CALLS), Turned) for side in order]
    medians_ns = [float(np.median(turn.samples_ns)) for turn in begun if turn.samples_ns]
    request = Turn(operation=name, calls=calls_of_a_turn(medians_ns))
    for turn in range(turns):
        for side in order if turn % 2 == 0 else reversed(order):
            by_side[side].append(processes[side].ask(request, Turned))
    work = {side: processes[side].ask(End(operation=name, calls=counted), Ended).work for side in order}
    return OperationPair(
        samples_ns=(_samples(by_side[0]), _samples(by_side[1])),
        failed=(_failed(by_side[0]), _failed(by_side[1])),
        failure=(_failure(by_side[0]), _failure(by_side[1])),
        work=(work[0], work[1]),
    )


def _samples(turns: list[Turned]) -> NDArray[np.int64]:
    return np.array([sample for turn in turns for sample in turn.samples_ns], np.int64)


def _failed(turns: list[Turned]) -> int:
    return sum(turn.failed for turn in turns)


def _failure(turns: list[Turned]) -> str:
    return next((turn.failure for turn in turns if turn.failed), "")

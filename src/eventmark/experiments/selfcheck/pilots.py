"""Pilots: how long a delay has to be to make an operation slower by a known share.

A tenth of a call's length, added in the server, makes not every call a tenth longer: an append that begins its
flush later may find the disk sooner ready for it. What the gate is to find is an operation that is slower by so
much; so pilots measure what a delay does, and correct it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eventmark.experiments.selfcheck.proving import Proving
from eventmark.operations.catalogue import OPERATIONS
from eventmark.sidebyside.pair import measure_pair
from eventmark.stats.ratios import Ratio, mean_ratio

PAIRS = 16
TURNS = 40
FACTOR_MIN, FACTOR_MAX = 0.5, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """A delay of ``factor`` times the share of the operation's length makes it ``ratio`` times as long."""

    factor: float
    ratio: Ratio


def run_pilots(
    proving: Proving, planted: float, lengths_ms: dict[str, float], *, pairs: int = PAIRS, turns: int = TURNS
) -> dict[str, Pilot]:
    """For each operation by itself: a first delay, what it comes to, the corrected one, what that comes to."""
    return {name: _pilot(proving, planted, name, length, pairs, turns) for name, length in lengths_ms.items()}


def corrected(seen: float, planted: float) -> float:
    """What to multiply a delay by that brought the ratio ``seen`` instead of a slowdown of ``planted``."""
    wanted = math.log1p(planted)
    effect = max(math.log(seen), wanted / FACTOR_MAX)
    return min(max(wanted / effect, FACTOR_MIN), FACTOR_MAX)


def _pilot(proving: Proving, planted: float, name: str, length_ms: float, pairs: int, turns: int) -> Pilot:
    first = _ratio(proving, name, planted * length_ms, pairs, turns)
    factor = corrected(first.value, planted)
    return Pilot(factor=factor, ratio=_ratio(proving, name, factor * planted * length_ms, pairs, turns))


def _ratio(proving: Proving, name: str, delay_ms: float, pairs: int, turns: int) -> Ratio:
    """Of the store with the delay over the plain one."""
    both = proving.against(proving.planted({OPERATIONS[name].statement: delay_ms}))
    log_ratios: Sequence[float] = [
        measure_pair(both, [name], number, swapped=number % 2 == 1, turns=turns)[name].log_ratio("p50")
        for number in range(pairs)
    ]
    return mean_ratio(np.exp(log_ratios).tolist())

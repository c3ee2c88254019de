"""Turns: a few calls of one side, then as many of the other, so that what disturbs the machine meets both."""

from __future__ import annotations

from collections.abc import Sequence

TURN_S = 0.025
"""Of one side. Long enough that handing over costs nothing; so short that what disturbs the machine meets both."""

TURN_CALLS_MAX = 50


def calls_of_a_turn(medians_ns: Sequence[float]) -> int:
    """As many as the slowest side has time for, so that all make the same number; 1 where nothing is known."""
    if not medians_ns:
        return 1
    return max(1, min(TURN_CALLS_MAX, round(TURN_S * 1e9 / max(1.0, *medians_ns))))

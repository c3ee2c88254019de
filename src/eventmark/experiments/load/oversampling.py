"""Operations that a mix calls too rarely to be bounded are called more often beside it: oversampling.

Calls at random moments find the store as any call of the mix does, and bound a quantile sooner. They are a small load
of their own, and are counted neither in a rate nor in what was appended or streamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventmark.loadgen.mix import Mix
from eventmark.loadgen.sections import APPENDED_EVENTS

CALLS_LEAST_PER_S = 16.0
"""Of each operation with a target: 1,440 in a confirmation of 90 s."""

APPENDS_LEAST_PER_S = 1.5
"""Of appends, which leave something behind: 135 in a confirmation of 90 s, where 72 bound a p95."""

CORE_SHARE_MAX = 0.01
"""Of a core, by what a call takes alone: so much of each operation is added at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversampled:
    """``rate_per_s`` operations of ``mix``, and ``added_per_s`` calls beside them, by operation."""

    mix: Mix
    rate_per_s: float
    added_per_s: Mapping[str, float]

    @property
    def total_per_s(self) -> float:
        return self.rate_per_s + sum(self.added_per_s.values())

    @property
    def whole(self) -> Mix:
        """The mix with what is added."""
        return Mix.of(
            {name: per_s + self.added_per_s.get(name, 0.0) for name, per_s in self._mix_per_s.items()},
            self.mix.own,
        )

    @property
    def of_mix(self) -> dict[str, float]:
        """By operation, the share of its calls that the mix itself makes."""
        return {
            name: per_s / (per_s + self.added_per_s.get(name, 0.0)) for name, per_s in self._mix_per_s.items()
        }

    @property
    def _mix_per_s(self) -> dict[str, float]:
        return {name: share * self.rate_per_s for name, share in self.mix.shares.items()}

    def __str__(self) -> str:
        return ", ".join(f"{name} {per_s:.3g}/s" for name, per_s in self.added_per_s.items())


def oversampled(mix: Mix, rate_per_s: float, alone_s: Mapping[str, float]) -> Oversampled:
    """``alone_s`` is what a call of each operation with a target takes alone."""
    added = {}
    for name, share in mix.shares.items():
        if name in alone_s:
            least_per_s = APPENDS_LEAST_PER_S if name in APPENDED_EVENTS else CALLS_LEAST_PER_S
            missing = least_per_s - share * rate_per_s
            added[name] = min(missing, CORE_SHARE_MAX / max(alone_s[name], 1e-9))
    return Oversampled(
        mix=mix,
        rate_per_s=rate_per_s,
        added_per_s={name: per_s for name, per_s in added.items() if per_s > 0},
    )

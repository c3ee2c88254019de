"""Which samples met a pause, and what pauses cost the tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseCost:
    """A quantile with and without the samples that met a pause, milliseconds; and the share that did."""

    with_ms: float
    without_ms: float
    met_share: float

    @property
    def cost_ms(self) -> float:
        return self.with_ms - self.without_ms


def met_pause(
    began_s: NDArray[np.float64], ended_s: NDArray[np.float64], pause_s: NDArray[np.float64],
    pause_length_s: NDArray[np.float64],
) -> NDArray[np.bool_]:  # fmt: skip
    """Of each sample, whether one of the pauses, which follow each other in time, came within it."""
    if not len(pause_s):
        return np.zeros(len(began_s), bool)
    last = np.searchsorted(pause_s, ended_s, side="right") - 1  # the last that began before the sample ended
    ends_s = pause_s + pause_length_s
    met: NDArray[np.bool_] = (last >= 0) & (ends_s[np.maximum(last, 0)] >= began_s)
    return met


def cost_of_pauses(samples_ns: NDArray[np.int64], met: NDArray[np.bool_], q: float) -> PauseCost | None:
    """None where no sample is left without those that met one."""
    rest = samples_ns[~met]
    if not len(rest):
        return None
    with_ms, without_ms = (float(np.quantile(some, q)) / 1e6 for some in (samples_ns, rest))
    return PauseCost(with_ms=with_ms, without_ms=without_ms, met_share=float(np.mean(met)))

"""The histograms of a result, decoded for its charts and for the formats of other tools."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

NS_PER_MS = 1e6
LEAST_MS = 1e-4  # a logarithmic scale has no nought; 100 ns is the shortest that is recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What was recorded: latencies in milliseconds, rising, and how often each was seen."""

    latencies_ms: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def samples(self) -> int:
        return sum(self.counts)

    @property
    def mean_ms(self) -> float:
        return sum(v * n for v, n in zip(self.latencies_ms, self.counts, strict=True)) / self.samples

    @property
    def deviation_ms(self) -> float:
        """The standard deviation of the samples."""
        mean_ms = self.mean_ms
        squares = sum(n * (v - mean_ms) ** 2 for v, n in zip(self.latencies_ms, self.counts, strict=True))
        return math.sqrt(squares / max(1, self.samples - 1))

    def percentile_ms(self, percent: float) -> float:
        """The lowest recorded latency that ``percent`` (0..100) of the samples do not exceed."""
        wanted = max(1, math.ceil(percent / 100 * self.samples - 1e-9))
        for latency_ms, seen in zip(self.latencies_ms, accumulate(self.counts), strict=True):
            if seen >= wanted:
                return latency_ms
        return self.latencies_ms[-1]


@lru_cache(maxsize=256)
def decode(text: str) -> Decoded | None:
    """A result's histogram; None where it is damaged or holds nothing."""
    try:
        histogram = HdrHistogram.decode(text)
    except (
        ValueError, IndexError, OverflowError, MemoryError, zlib.error, HdrCookieException, HdrLengthException,
    ):  # fmt: skip
        return None
    items = [
        (item.value_iterated_to / NS_PER_MS, item.count_added_in_this_iter_step)
        for item in histogram.get_recorded_iterator()
        if item.count_added_in_this_iter_step
    ]
    if not items:
        return None
    return Decoded(latencies_ms=tuple(v for v, _ in items), counts=tuple(n for _, n in items))


def slower_share(decoded: Decoded) -> list[tuple[float, float]]:
    """For each latency the share of calls slower than it; half a call where none was."""
    total = decoded.samples
    return [
        (max(latency_ms, LEAST_MS), max(total - seen, 0.5) / total)
        for latency_ms, seen in zip(decoded.latencies_ms, accumulate(decoded.counts), strict=True)
    ]


def density(decoded: Decoded, bins: int = 48) -> list[tuple[float, float, float]]:
    """Share of calls in each of ``bins`` equal stretches of a logarithmic scale: from, to, share."""
    low = math.log10(max(decoded.latencies_ms[0], LEAST_MS) * 0.98)
    high = math.log10(max(decoded.latencies_ms[-1], LEAST_MS) * 1.02)
    width = (high - low) / bins
    seen = [0] * bins
    for latency_ms, count in zip(decoded.latencies_ms, decoded.counts, strict=True):
        bucket = int((math.log10(max(latency_ms, LEAST_MS)) - low) / width)
        seen[min(max(bucket, 0), bins - 1)] += count
    return [
        (10 ** (low + bucket * width), 10 ** (low + (bucket + 1) * width), count / decoded.samples)
        for bucket, count in enumerate(seen)
    ]

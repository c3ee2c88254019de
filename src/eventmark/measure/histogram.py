"""Latency samples in an HDR histogram, as it is kept in the result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from hdrh.histogram import HdrHistogram

LOWEST_NS = 100
HIGHEST_NS = 120_000_000_000
SIGNIFICANT_DIGITS = 3
NS_PER_MS = 1e6


class LatencyHistogram:
    """Nanoseconds from 100 to two minutes, to one part in a thousand. Values beyond are clamped and counted."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
        self.clamped = 0

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    @property
    def max_ms(self) -> float:
        return float(self._histogram.get_max_value()) / NS_PER_MS

    def record(self, ns: int) -> None:
        if not LOWEST_NS <= ns <= HIGHEST_NS:
            self.clamped += 1
            ns = min(max(ns, LOWEST_NS), HIGHEST_NS)
        self._histogram.record_value(ns)

    def record_all(self, samples_ns: Iterable[int]) -> None:
        for ns in samples_ns:
            self.record(int(ns))

    def quantile_ms(self, quantile: float) -> float:
        """The value at ``quantile`` (0..1)."""
        return float(self._histogram.get_value_at_percentile(100 * quantile)) / NS_PER_MS

    def encode(self) -> str:
        """HdrHistogram V2, compressed, base64: what other tools read."""
        return str(self._histogram.encode().decode("ascii"))

    @classmethod
    def decode(cls, text: str) -> Self:
        histogram = cls()
        histogram._histogram = HdrHistogram.decode(text)
        return histogram

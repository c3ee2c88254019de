"""Latencies counted by value: constant memory however many, mergeable, kept whole in the result."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Self

import numpy as np
from hdrh.codec import HdrCookieException, HdrHistogramEncoder, HdrLengthException
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from eventmark.errors import UsageError
from eventmark.stats.ranks import NS_PER_MS, nearest_rank

LOWEST_NS = 100
HIGHEST_NS = 120_000_000_000
SIGNIFICANT_DIGITS = 3
# The library's smallest unit. Given LOWEST_NS it would count in steps of 64 ns: not three digits at 100 ns.
_UNIT_NS = 1
_EXACT_BITS = 11  # 3 digits: 2048 steps per power of two


class LatencyHistogram:
    """An HdrHistogram of nanoseconds, 100 ns to 120 s, three significant digits.

    Values outside the range are counted at its nearest end, and ``clamped`` says how many. The encoded form
    is HdrHistogram's own (V2, compressed, base64), readable by its tools; ``clamped`` is not part of it.
    """

    def __init__(self) -> None:
        self._histogram = HdrHistogram(_UNIT_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
        self.clamped = 0

    def record(self, ns: int) -> None:
        """Count one latency."""
        within = min(max(ns, LOWEST_NS), HIGHEST_NS)
        self.clamped += within != ns
        self._histogram.record_value(within)

    def record_all(self, samples_ns: NDArray[np.int64] | Iterable[int]) -> None:
        """Count many; the same as ``record`` of each."""
        given = samples_ns if isinstance(samples_ns, np.ndarray) else np.fromiter(samples_ns, np.int64)
        samples = given.astype(np.int64, copy=False)
        within = np.clip(samples, LOWEST_NS, HIGHEST_NS)
        self.clamped += int(np.count_nonzero(within != samples))
        # The library records one value at a time, in Python: first fold those it would count as equal.
        _, bits = np.frexp(within.astype(np.float64))
        shift = np.maximum(bits.astype(np.int64) - _EXACT_BITS, 0)
        values, counts = np.unique(within >> shift << shift, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def quantile_ms(self, q: float) -> float:
        """The q-quantile by nearest rank, at most 0.1% above the exact one.

        Raises ``ValueError`` for an empty histogram.
        """
        if self.count == 0:
            raise ValueError("an empty histogram has no quantiles")
        totals = np.cumsum(np.frombuffer(self._histogram.counts, dtype=np.uint64))
        index = int(np.searchsorted(totals, nearest_rank(q, self.count)))
        value = self._histogram.get_value_from_index(index)
        return float(self._histogram.get_highest_equivalent_value(value)) / NS_PER_MS

    @property
    def max_ms(self) -> float:
        """The largest, at most 0.1% above the exact one. Raises ``ValueError`` for an empty histogram."""
        if self.count == 0:
            raise ValueError("an empty histogram has no maximum")
        return float(self._histogram.get_max_value()) / NS_PER_MS

    def recorded(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The latencies that occurred, nanoseconds, rising, and how often each did; at most 0.1% off."""
        counts = np.frombuffer(self._histogram.counts, dtype=np.int64)
        places = np.flatnonzero(counts)
        values = [self._histogram.get_value_from_index(int(index)) for index in places]
        return np.array(values, np.int64), counts[places].copy()

    def encode(self) -> str:
        """HdrHistogram V2, compressed, base64."""
        return bytes(self._histogram.encode()).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Self:
        """What ``encode`` wrote. Raises ``UsageError`` for anything else."""
        histogram = cls()
        try:
            payload = HdrHistogramEncoder.decode(text)
            header = payload.payload
            settings = (
                header.lowest_trackable_value,
                header.highest_trackable_value,
                header.significant_figures,
            )
            # Before the counters are allocated: their number follows from these.
            if settings != (_UNIT_NS, HIGHEST_NS, SIGNIFICANT_DIGITS):
                raise UsageError(f"a histogram of another kind: range and digits are {settings}")
            histogram._histogram = HdrHistogram(*settings, hdr_payload=payload)
        except (ValueError, IndexError, OverflowError, MemoryError, zlib.error,
                HdrCookieException, HdrLengthException) as error:  # fmt: skip
            raise UsageError(f"a damaged histogram: {error or type(error).__name__}") from error
        return histogram

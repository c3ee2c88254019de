"""The histogram: what goes in comes out within 0.1%, also after merging and encoding."""

from __future__ import annotations

import base64

import hypothesis
import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import strategies as st

from eventmark.errors import UsageError
from eventmark.stats.histogram import HIGHEST_NS, LOWEST_NS, LatencyHistogram
from eventmark.stats.ranks import nearest_rank

from .series import independent

latencies = st.lists(st.integers(LOWEST_NS, HIGHEST_NS), min_size=1, max_size=200)


def histogram_of(samples: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for sample in samples:
        histogram.record(sample)
    return histogram


@hypothesis.given(latencies, st.sampled_from([0.01, 0.5, 0.95, 0.99, 0.999, 1.0]))
def test_quantiles_are_within_a_thousandth_above_the_exact_ones(samples: list[int], q: float) -> None:
    exact_ms = sorted(samples)[nearest_rank(q, len(samples)) - 1] / 1e6
    assert exact_ms <= histogram_of(samples).quantile_ms(q) <= exact_ms * 1.001
    assert max(samples) / 1e6 <= histogram_of(samples).max_ms <= max(samples) / 1e6 * 1.001


@hypothesis.given(st.lists(st.integers(-5, HIGHEST_NS * 2), max_size=200))
def test_recording_all_is_recording_each(samples: list[int]) -> None:
    each = histogram_of(samples)
    for given in (np.array(samples, dtype=np.int64), samples, iter(samples)):
        together = LatencyHistogram()
        together.record_all(given)
        assert together.encode() == each.encode()
        assert (together.count, together.clamped) == (each.count, each.clamped)


@hypothesis.given(st.lists(st.integers(LOWEST_NS, HIGHEST_NS), max_size=200))
def test_encoding_keeps_every_count(samples: list[int]) -> None:
    histogram = histogram_of(samples)
    decoded = LatencyHistogram.decode(histogram.encode())
    assert decoded.count == len(samples)
    assert decoded.encode() == histogram.encode()
    decoded.record(1_000_000)  # and can be counted on
    assert decoded.count == len(samples) + 1


def test_encoded_form_is_hdrhistograms_own() -> None:
    histogram = histogram_of([1_000_000] * 99 + [50_000_000])
    read = HdrHistogram.decode(histogram.encode())
    assert read.get_total_count() == 100
    assert read.get_value_at_percentile(50) == pytest.approx(1_000_000, rel=0.001)
    assert read.get_max_value() == pytest.approx(50_000_000, rel=0.001)


def test_values_out_of_range_are_counted_at_its_ends() -> None:
    histogram = histogram_of([1, -7, 10**15, 1_000_000])
    assert (histogram.count, histogram.clamped) == (4, 3)
    assert histogram.quantile_ms(0.25) == pytest.approx(LOWEST_NS / 1e6)
    assert histogram.max_ms == pytest.approx(HIGHEST_NS / 1e6, rel=0.001)


def test_short_latencies_keep_three_digits() -> None:
    assert histogram_of([137]).quantile_ms(0.5) == pytest.approx(0.000137)


def test_empty_histogram_has_no_quantiles() -> None:
    with pytest.raises(ValueError, match="empty"):
        LatencyHistogram().quantile_ms(0.5)
    with pytest.raises(ValueError, match="empty"):
        _ = LatencyHistogram().max_ms


def damaged() -> list[str]:
    samples = LatencyHistogram()
    samples.record_all(independent(2000, np.random.default_rng(1)))
    text = samples.encode()
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 0xFF
    other = HdrHistogram(1, 1000, 2)
    other.record_value(5)
    flipped = base64.b64encode(raw).decode()
    short = ["", "A", "not a histogram", "é", "HISTFA" * 9]
    return [*short, text[:-40], text[8:], flipped, other.encode().decode()]


@pytest.mark.parametrize("text", damaged())
def test_damaged_histogram_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="histogram"):
        LatencyHistogram.decode(text)

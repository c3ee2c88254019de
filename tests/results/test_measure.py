"""The instrument: quantiles and their intervals, steadiness, verdicts, result files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.errors import CannotRunError, UsageError
from eventmark.judgement.verdicts import exit_code, judge_latency, overall
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import Latency, LatencyInterval, Verdict
from eventmark.results.targets import Target, read_targets, targets_from
from eventmark.stats.drift import Drift
from eventmark.stats.histogram import LatencyHistogram
from eventmark.stats.quantiles import intervals_of, latency_of, quantile_interval
from eventmark.stats.steadiness import WarmUp, is_steady

MS = 1_000_000


@given(st.lists(st.integers(1000, 10**10), min_size=1, max_size=400))
def test_quantiles_agree_with_the_slow_obvious_definition(samples: list[int]) -> None:
    latency = latency_of(np.array(samples))
    ordered = sorted(samples)
    for share, value in ((0.5, latency.p50), (0.95, latency.p95), (0.99, latency.p99), (0.999, latency.p999)):
        smallest = next(one for n, one in enumerate(ordered, 1) if n >= share * len(ordered) - 1e-9)
        assert value == pytest.approx(smallest / MS)
    assert latency.max == pytest.approx(ordered[-1] / MS)


def test_the_interval_covers_the_true_p95_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(5)
    true_p95 = np.exp(1.6448536) * MS
    hits = 0
    for _ in range(200):
        samples = (np.exp(random.normal(0, 1, 400)) * MS).astype(np.int64)
        interval = quantile_interval([samples], 0.95, random=random)
        assert interval.high is not None
        hits += interval.low <= true_p95 / MS <= interval.high
    assert hits >= 186


def test_samples_that_come_in_bursts_widen_the_interval() -> None:
    random = np.random.default_rng(6)
    independent = random.exponential(MS, 4000).astype(np.int64)
    slow = np.repeat(random.random(40) < 0.1, 100)
    bursts = np.where(slow, 10 * MS, MS) + random.integers(0, MS // 10, 4000)
    shuffled = random.permutation(bursts)

    def width(samples: np.ndarray) -> float:
        found = quantile_interval([samples], 0.9, random=np.random.default_rng(1))
        assert found.high is not None
        return found.high - found.low

    assert width(bursts) >= width(shuffled)
    assert width(bursts) > 5
    assert width(independent) < 1


def test_too_few_samples_leave_a_high_quantile_unbounded() -> None:
    samples = np.random.default_rng(3).permutation(np.arange(1, 51)) * MS  # in order they would be one drift
    intervals = intervals_of([samples], np.random.default_rng(1))
    assert intervals["p999"].high is None
    assert intervals["p50"].high is not None
    assert intervals["p50"].low < 25 < intervals["p50"].high


def test_a_histogram_survives_encoding_and_keeps_quantiles_to_a_thousandth() -> None:
    samples = np.random.default_rng(2).lognormal(13, 1, 5000).astype(np.int64)
    histogram = LatencyHistogram()
    histogram.record_all(samples)
    again = LatencyHistogram.decode(histogram.encode())
    assert again.count == 5000
    assert again.quantile_ms(0.95) == pytest.approx(latency_of(samples).p95, rel=0.002)


def test_values_beyond_the_histogram_are_clamped_and_counted() -> None:
    histogram = LatencyHistogram()
    histogram.record_all([1, 10**12])
    assert (histogram.count, histogram.clamped) == (2, 2)


@pytest.mark.parametrize(
    ("medians", "steady"),
    [
        ([5, 3, 2, 1.5, 1.2, 1.0], False),
        ([1.0, 1.01, 0.99, 1.02, 1.0], True),
        ([1.0, 1.0, 1.0], False),
        ([1.0, 1.03, 1.06, 1.09, 1.12], False),
        ([9, 9, 1.0, 1.0, 1.0, 1.0, 1.0], True),
        ([1, 2, 1, 2, 1, 2], False),
    ],
)
def test_steady_means_a_narrow_band_without_a_trend(medians: list[float], steady: bool) -> None:
    assert is_steady(medians) is steady


def test_a_warm_up_that_never_becomes_steady_ends_and_reports_it() -> None:
    warm_up = WarmUp(iterations_max=8)
    while not warm_up.over:
        warm_up.add(1.0 + warm_up.iterations % 2)
    assert (warm_up.iterations, warm_up.steady) == (8, False)


def _judge(low: float, high: float | None, **how: object) -> Verdict:
    latency = Latency(p50=low, p95=low, p99=low, p999=low, max=low)
    interval = {"p95": LatencyInterval(low=low, high=high)}
    return judge_latency(latency, interval, Target("p95", 10.0), **how)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "how", "verdict"),
    [
        (8, 9.9, {}, Verdict.MET),
        (8, 10.0, {}, Verdict.INCONCLUSIVE),
        (9, 11, {}, Verdict.INCONCLUSIVE),
        (8, None, {}, Verdict.INCONCLUSIVE),
        (10, 12, {}, Verdict.BROKEN),
        (11, None, {}, Verdict.BROKEN),
        (1, 2, {"failed": 1}, Verdict.BROKEN),
        (20, 30, {"client_bottleneck": "one core full"}, Verdict.INCONCLUSIVE),
        (1, 2, {"client_bottleneck": "one core full"}, Verdict.MET),
        (8, 9, {"drift": Drift.EITHER}, Verdict.INCONCLUSIVE),
        (1, 2, {"drift": Drift.EITHER}, Verdict.MET),
        (11, 12, {"drift": Drift.EITHER}, Verdict.INCONCLUSIVE),
        (20, 30, {"drift": Drift.EITHER}, Verdict.BROKEN),
    ],
)
def test_the_interval_decides(
    low: float, high: float | None, how: dict[str, object], verdict: Verdict
) -> None:
    assert _judge(low, high, **how) is verdict


def test_an_operation_without_target_is_inconclusive() -> None:
    latency = Latency(p50=1, p95=1, p99=1, p999=1, max=1)
    assert judge_latency(latency, {}, None)[0] is Verdict.INCONCLUSIVE


def test_the_whole_is_no_better_than_its_worst_part_and_nothing_measured_is_inconclusive() -> None:
    met, open_, broken = (
        ("a", Verdict.MET, ""),
        ("b", Verdict.INCONCLUSIVE, "few"),
        ("c", Verdict.BROKEN, "slow"),
    )
    assert overall([met]) == (Verdict.MET, [])
    assert overall([met, open_])[0] is Verdict.INCONCLUSIVE
    assert overall([open_, broken, met]) == (Verdict.BROKEN, ["c: slow", "undecided: b: few"])
    assert overall([])[0] is Verdict.INCONCLUSIVE
    assert [exit_code(verdict) for verdict in (Verdict.MET, Verdict.BROKEN, Verdict.INCONCLUSIVE)] == [
        0,
        1,
        3,
    ]


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"append_event[1]": 10}, "append_events[1]"),
        ({"append_events[1]": 0}, "append_events[1]"),
        ({"append_events[1]": True}, "append_events[1]"),
        ({"append_events[1]": "fast"}, "append_events[1]"),
        ({"append_events[1]": {"quantile": "p42", "limit_ms": 1}}, "p42"),
        ({"append_events[1]": {"limit": 1}}, "limit_ms"),
        ("none", "table"),
    ],
)
def test_a_wrong_target_is_refused_by_name(table: object, named: str) -> None:
    with pytest.raises(UsageError, match=named.replace("[", r"\[").replace("]", r"\]")):
        targets_from(table, "my.toml")


def test_targets_of_a_file_may_name_a_quantile(tmp_path: Path) -> None:
    path = tmp_path / "targets.toml"
    path.write_text('[targets]\n"append_events[1]" = { quantile = "p99", limit_ms = 3 }\n')
    assert read_targets(path) == {"append_events[1]": Target("p99", 3.0)}


@pytest.mark.parametrize("content", ["[targets", "wrong = 1\n", "[targets]\nx = 1\n"])
def test_a_wrong_targets_file_is_refused_by_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"targets\.toml"):
        read_targets(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"),
        (b'{"format": "eventmark-result", "format_ver', "damaged"),
        (b'{"format": "other"}', "not a result"),
        (json.dumps({"format": "eventmark-result", "format_version": 99}).encode(), "version 99"),
        (json.dumps({"format": "eventmark-result", "format_version": 1}).encode(), "damaged"),
    ],
)
def test_a_file_that_is_no_result_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_result(path)


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"one")
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]
    blocked = tmp_path / "flat"
    blocked.write_bytes(b"")
    with pytest.raises(CannotRunError, match="--out"):
        write_whole(blocked / "result.json", b"two")


def test_results_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Latency(p50=1, p95=1, p99=1, p999=1, max=1).p50 = 2  # type: ignore[misc]
    assert msgspec.json.encode(Verdict.MET) == b'"MET"'

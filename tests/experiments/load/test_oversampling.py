"""What is called beside a mix so that its rare operations are bounded."""

from __future__ import annotations

import pytest

from eventmark.experiments.load.oversampling import (
    APPENDS_LEAST_PER_S,
    CALLS_LEAST_PER_S,
    CORE_SHARE_MAX,
    oversampled,
)
from eventmark.loadgen.mix import parse_mix

MIX = parse_mix(
    "append_events[1]=80, append_events[100]=1, load_aggregate[1000]=9, read_snapshot=9, create_token_at=1"
)
ALONE_S = {
    "append_events[1]": 0.001, "append_events[100]": 0.005, "load_aggregate[1000]": 0.005, "read_snapshot": 0.0001,
    "create_token_at": 0.0002,
}  # fmt: skip


def test_rare_operations_get_as_many_calls_as_are_wanted_and_frequent_ones_none() -> None:
    offered = oversampled(MIX, 200.0, ALONE_S)
    assert offered.added_per_s == {"create_token_at": pytest.approx(CALLS_LEAST_PER_S - 2)}
    assert oversampled(MIX, 2000.0, ALONE_S).added_per_s == {}
    calls = {name: share * offered.total_per_s for name, share in offered.whole.shares.items()}
    assert calls["create_token_at"] == pytest.approx(CALLS_LEAST_PER_S)
    assert calls["append_events[1]"] == pytest.approx(160)


def test_what_is_added_takes_a_hundredth_of_a_core_at_most() -> None:
    offered = oversampled(MIX, 50.0, ALONE_S)
    assert offered.added_per_s["load_aggregate[1000]"] == pytest.approx(CORE_SHARE_MAX / 0.005)
    for name, per_s in offered.added_per_s.items():
        assert per_s * ALONE_S[name] <= CORE_SHARE_MAX * 1.001


def test_operations_without_a_target_get_none_and_appends_few() -> None:
    offered = oversampled(
        MIX, 10.0, {name: took for name, took in ALONE_S.items() if name != "read_snapshot"}
    )
    assert set(offered.added_per_s) == {"append_events[100]", "load_aggregate[1000]", "create_token_at"}
    assert offered.added_per_s["append_events[100]"] == pytest.approx(APPENDS_LEAST_PER_S - 0.1)


@pytest.mark.parametrize("rate_per_s", [1.0, 50.0, 5000.0])
def test_the_share_that_counts_is_that_of_the_mix(rate_per_s: float) -> None:
    offered = oversampled(MIX, rate_per_s, ALONE_S)
    counted = sum(
        share * offered.total_per_s * offered.of_mix[name] for name, share in offered.whole.shares.items()
    )
    assert counted == pytest.approx(rate_per_s)
    assert set(offered.of_mix) == set(MIX.shares)

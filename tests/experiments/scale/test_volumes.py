"""Volumes: which there are, and which are refused."""

from __future__ import annotations

import pytest

from eventmark.errors import UsageError
from eventmark.experiments.scale.volumes import plan_of, volumes_of
from eventmark.workload import CorpusPlan

M = 1_000_000


@pytest.mark.parametrize(
    ("first", "to", "steps", "quick", "expected"),
    [
        (M, "", "", False, (M, 2 * M, 5 * M, 10 * M)),
        (M, "100M", "", False, (M, 2 * M, 5 * M, 10 * M, 20 * M, 50 * M, 100 * M)),
        (M, "4M", "", False, (M, 2 * M, 4 * M)),
        (20_000, "", "", True, (20_000, 40_000, 80_000)),
        (20_000, "", "", False, (20_000, 40_000, 100_000, 200_000)),
        (M, "", "1M,3M,9M", False, (M, 3 * M, 9 * M)),
        (M, "9M", "1M,3M,9M", False, (M, 3 * M, 9 * M)),
    ],
)
def test_volumes_rise_from_the_smallest_to_the_largest(
    first: int, to: str, steps: str, quick: bool, expected: tuple[int, ...]
) -> None:
    assert volumes_of(first, to, steps, quick=quick) == expected


@pytest.mark.parametrize(
    ("first", "to", "steps"),
    [
        (M, "1M", ""), (M, "500k", ""), (10_000, "1M", ""), (M, "2550k", ""), (M, "", "2M,1M"), (M, "", "1M,1M"),
        (M, "", "1M"), (M, "10M", "1M,2M"), (M, "", "1M,x"), (25_000, "100k", ""),
        (M, "", ",".join(f"{number}M" for number in range(1, 15))),
    ],
)  # fmt: skip
def test_volumes_that_cannot_be_are_refused_with_a_remedy(first: int, to: str, steps: str) -> None:
    with pytest.raises(UsageError) as refused:
        volumes_of(first, to, steps)
    assert refused.value.remedy


def test_every_volume_ends_between_cohorts_so_that_its_streams_are_whole() -> None:
    for volumes in ((M, 2 * M), (20_000, 40_000), (60_000, 120_000)):
        plan = plan_of(CorpusPlan(5, seed=7, payload_profile="lean"), volumes)
        assert (plan.events, plan.seed, plan.payload_profile) == (volumes[-1], 7, "lean")
        assert all(volume % plan.cohort_events == 0 for volume in volumes)

"""Settings: flags over file over defaults, and every mistake named."""

from __future__ import annotations

import pytest

from eventmark.config import load_settings, parse_count
from eventmark.errors import UsageError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("50k", 50_000),
        ("1M", 1_000_000),
        ("2.5M", 2_500_000),
        ("1_000", 1000),
        ("100m", 100_000_000),
        ("7", 7),
    ],
)
def test_counts_are_read_with_their_units(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text", ["0", "-5", "", "1,5M", "1.000.000", "many", "0.0001k", "1e6", "5 k k", "１k", "9" * 5000]
)
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="number of events"):
        parse_count(text)


def test_flags_win_over_defaults_and_what_was_not_given_does_not() -> None:
    settings = load_settings({"seed": 4, "store": None}, {"events": "50k", "seed": 9})
    assert (settings.event_count, settings.seed, settings.store) == (50_000, 4, "eaf")

"""Settings: flags over file over defaults, and every mistake named."""

from __future__ import annotations

from pathlib import Path

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


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "eventmark.toml"
    path.write_text('events = "50k"\nseed = 9\n')
    settings = load_settings({"seed": 4, "store": None}, path)
    assert (settings.event_count, settings.seed, settings.store) == (50_000, 4, "eaf")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('event = "50k"\n', "did you mean 'events'"),
        ('events = "none"\n', "number of events"),
        ("seed = true\n", "seed must be a whole number"),
        ("keep = 1\n", "keep must be true or false"),
        ("events = [1]\n", "events must be a text"),
        ("= broken\n", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "eventmark.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=named):
        load_settings({}, path)


def test_a_missing_file_is_refused_when_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings({}, tmp_path / "none.toml")

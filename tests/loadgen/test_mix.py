"""The mix as text: what is said of one that is wrong."""

from __future__ import annotations

import pytest

from eventmark.errors import UsageError
from eventmark.loadgen.mix import Mix, parse_mix
from eventmark.operations.catalogue import OPERATIONS


def test_weights_of_any_sum_are_shares() -> None:
    mix = parse_mix("append_events[1]=30, load_aggregate[1000] = 7.5,read_snapshot=12.5")
    assert mix.shares == pytest.approx(
        {"append_events[1]": 0.6, "load_aggregate[1000]": 0.15, "read_snapshot": 0.25}
    )


def test_the_empty_text_is_the_default_mix_which_reads_writes_and_tracks() -> None:
    names = set(parse_mix("").shares)
    assert {"append_events[1]", "append_events[10]", "append_events[100]", "load_aggregate[1000]"} <= names
    assert {"stream_events[1000]", "store_snapshot", "read_snapshot", "create_head_token"} <= names
    assert names <= set(OPERATIONS)


def test_a_mix_as_text_is_the_same_mix_again() -> None:
    mix = parse_mix("append_events[1]=3, read_snapshot=1")
    assert parse_mix(str(mix)) == mix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("append_event[1]=5", "did you mean 'append_events"),
        ("append_events[1]", "is not a part of a mix"),
        ("append_events[1]=0", "above 0"),
        ("append_events[1]=-3", "is not a part of a mix"),
        ("append_events[1]=1, append_events[1]=2", "twice"),
        ("append_events[1]=1,,read_snapshot=1", "is not a part of a mix"),
        ("append_events[1]=nan", "is not a part of a mix"),
    ],
)
def test_a_wrong_mix_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_mix(text)


def test_shares_that_do_not_sum_to_one_cannot_be_made() -> None:
    with pytest.raises(AssertionError):
        Mix({"append_events[1]": 0.5})

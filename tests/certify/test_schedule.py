"""Which parts the time is for: what decides most comes first, and nothing is begun that does not fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventmark.certify.criteria import Part
from eventmark.certify.schedule import PRIORITY, chosen_extents, least_s, left_over_s

TIMES = {Part.VERIFY: [10.0, 50.0], Part.OPERATIONS: [30.0, 90.0], Part.SOAK: [310.0], Part.ADVICE: [60.0]}


def test_every_part_has_a_place_in_the_order() -> None:
    assert sorted(PRIORITY) == sorted(Part)


def test_what_decides_most_is_done_and_what_does_not_fit_is_left_out() -> None:
    assert chosen_extents(TIMES, 45.0) == {Part.VERIFY: 0, Part.OPERATIONS: 0}
    assert chosen_extents(TIMES, 5.0) == {}


def test_a_longer_part_makes_no_room_but_a_shorter_one_after_it_takes_it() -> None:
    assert chosen_extents(TIMES, 100.0) == {Part.VERIFY: 0, Part.OPERATIONS: 0, Part.ADVICE: 0}


def test_what_is_left_enlarges_parts_in_the_same_order() -> None:
    assert chosen_extents(TIMES, 450.0) == {Part.VERIFY: 1, Part.OPERATIONS: 0, Part.SOAK: 0, Part.ADVICE: 0}
    assert chosen_extents(TIMES, 1000.0) == {Part.VERIFY: 1, Part.OPERATIONS: 1, Part.SOAK: 0, Part.ADVICE: 0}


def test_what_can_decide_comes_before_what_only_refines() -> None:
    times = {Part.VERIFY: [10.0, 50.0], Part.OPERATIONS: [30.0], Part.GROWTH: [20.0, 60.0, 100.0]}
    assert chosen_extents(times, 140.0) == {Part.VERIFY: 1, Part.OPERATIONS: 0, Part.GROWTH: 1}
    assert chosen_extents(times, 140.0, {Part.GROWTH: 2}) == {
        Part.VERIFY: 0,
        Part.OPERATIONS: 0,
        Part.GROWTH: 2,
    }
    assert chosen_extents(times, 130.0, {Part.GROWTH: 2}) == {
        Part.VERIFY: 1,
        Part.OPERATIONS: 0,
        Part.GROWTH: 0,
    }


def test_the_least_is_what_any_answer_needs() -> None:
    assert least_s(TIMES) == 40.0


@given(
    st.dictionaries(
        st.sampled_from(list(Part)),
        st.lists(st.floats(1, 1000), min_size=1, max_size=4).map(sorted),
        max_size=11,
    ),
    st.floats(0, 5000),
)
def test_no_schedule_takes_longer_than_there_is(times: dict[Part, list[float]], time_s: float) -> None:
    chosen = chosen_extents(times, time_s)
    assert left_over_s(times, chosen, time_s) >= -1e-6
    left_out = [part for part in times if part not in chosen]
    assert all(times[part][0] > left_over_s(times, dict.fromkeys(chosen, 0), time_s) for part in left_out)

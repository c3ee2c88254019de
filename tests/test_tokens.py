"""Tracking tokens: order, fencing, serialisation."""

import base64
import struct
import zlib
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.domain import GlobalSequence, TrackingToken, TransactionId
from eventmark.domain import gaps as gap_sets
from eventmark.domain.tokens import tenant_mark
from eventmark.errors import TokenRefusedError

STORE = UUID("9b0d6e5e-8a0c-4f0e-9a53-0f0f1f2f3f4f")
UNSIGNED_64 = st.integers(0, 2**64 - 1)


def token(
    transaction_id: int,
    global_sequence: int,
    *,
    store: UUID = STORE,
    epoch: int = 1,
    gaps: gap_sets.Gaps = (),
    tenant: int = 0,
) -> TrackingToken:
    return TrackingToken(
        store, epoch, TransactionId(transaction_id), GlobalSequence(global_sequence), gaps, tenant
    )


def left_out(before: int, numbers: list[int]) -> gap_sets.Gaps:
    """The numbers above ``before`` that ``numbers``, which ascend, leave out up to their last."""
    result = []
    for number in numbers:
        if number > before + 1:
            result.append((before + 1, number - 1))
        before = number
    return tuple(result)


def having_read(numbers: set[int]) -> TrackingToken:
    """The token of a consumer that has read exactly these."""
    return token(0, max(numbers, default=0), gaps=left_out(0, sorted(numbers)))


def read_by(place: TrackingToken) -> set[int]:
    """What a consumer at this place has read."""
    left_out = {number for first, last in place.gaps for number in range(first, last + 1)}
    return set(range(1, place.global_sequence + 1)) - left_out


READ = st.sets(st.integers(1, 12))
WIDE = st.lists(st.tuples(st.integers(1, 2**40), st.integers(0, 2**20)), max_size=30)


@given(st.uuids(), st.integers(0, 2**32 - 1), UNSIGNED_64, UNSIGNED_64)
def test_a_token_survives_being_written_and_read(store: UUID, epoch: int, xid: int, sequence: int) -> None:
    written = token(xid, sequence, store=store, epoch=epoch)
    assert TrackingToken.parse(str(written)) == written
    assert len(str(written)) == 55


@given(st.integers(0, 54), st.integers(1, 63))
def test_a_token_with_any_character_changed_is_refused(place: int, shift: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    text = str(token(77, 12345))
    changed = alphabet[(alphabet.index(text[place]) + shift) % 64]
    damaged = text[:place] + changed + text[place + 1 :]
    try:
        assert TrackingToken.parse(damaged) == token(77, 12345)  # only unused trailing bits differ
        assert place == 54
    except TokenRefusedError:
        pass


@pytest.mark.parametrize(
    "text", ["", "x", "é" * 55, "A" * 54, "A" * 55, "A" * 56, "A" * 100_000, "\x00" * 55]
)
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(TokenRefusedError):
        TrackingToken.parse(text)


@pytest.mark.parametrize("gaps", [(), ((3, 3), (100, 450))])
@pytest.mark.parametrize("tenant", [0, 1, tenant_mark("acme"), 2**32 - 1])
def test_a_token_cut_short_or_made_longer_is_refused(gaps: gap_sets.Gaps, tenant: int) -> None:
    text = str(token(0, 900, gaps=gaps, tenant=tenant))
    assert TrackingToken.parse(text) == token(0, 900, gaps=gaps, tenant=tenant)
    for damaged in (*(text[:length] for length in range(len(text))), text + "A", text * 2):
        with pytest.raises(TokenRefusedError):
            TrackingToken.parse(damaged)


def test_the_mark_of_a_tenant_is_the_same_for_ever() -> None:
    assert tenant_mark("acme") == 96778814
    assert tenant_mark("acme") != tenant_mark("ACME")


@given(READ, READ)
def test_tokens_of_one_tenant_and_of_all_compare_by_their_places(one: set[int], other: set[int]) -> None:
    here, there = having_read(one), replace(having_read(other), tenant=7)
    assert here.compare(there) == having_read(one).compare(having_read(other))
    assert here.covers(there) == (read_by(here) >= read_by(there))
    assert here.lower_bound(there).tenant == there.upper_bound(here).tenant == 7
    with pytest.raises(TokenRefusedError):
        there.compare(replace(there, tenant=8))


def test_the_transaction_decides_before_the_global_sequence() -> None:
    assert token(1, 9).compare(token(2, 1)) == -1
    assert token(2, 1).compare(token(1, 9)) == 1
    assert token(2, 1).compare(token(2, 1)) == 0


def test_the_lower_bound_covers_neither_and_the_upper_bound_covers_both() -> None:
    earlier, later = token(1, 9), token(2, 1)
    assert earlier.lower_bound(later) == later.lower_bound(earlier) == earlier
    assert earlier.upper_bound(later) == later.upper_bound(earlier) == later
    assert later.covers(earlier) and not earlier.covers(later)


@pytest.mark.parametrize("other", [token(1, 1, store=UUID(int=7)), token(1, 1, epoch=2)])
def test_tokens_of_different_stores_or_epochs_are_not_compared(other: TrackingToken) -> None:
    with pytest.raises(TokenRefusedError):
        token(1, 1).compare(other)


@given(READ)
def test_a_token_with_gaps_states_what_was_read_and_survives_being_written(numbers: set[int]) -> None:
    place = having_read(numbers)
    assert read_by(place) == numbers
    assert TrackingToken.parse(str(place)) == place


@given(WIDE)
def test_gaps_of_any_width_survive_being_written(ranges: list[tuple[int, int]]) -> None:
    gaps = gap_sets.joined((first, first + width) for first, width in ranges)
    place = token(0, 2**41, gaps=gaps)
    assert TrackingToken.parse(str(place)) == place


@given(READ, READ)
def test_bounds_and_covering_are_those_of_the_sets_of_events_read(one: set[int], other: set[int]) -> None:
    here, there = having_read(one), having_read(other)
    assert read_by(here.lower_bound(there)) == one & other
    assert read_by(here.upper_bound(there)) == one | other
    assert here.covers(there) == (one >= other)
    for bound in (here.lower_bound(there), here.upper_bound(there)):
        assert bound == having_read(read_by(bound))  # one token for one set


@given(READ, READ, READ)
def test_tokens_with_gaps_stand_on_one_line_that_agrees_with_covering(
    one: set[int], other: set[int], third: set[int]
) -> None:
    here, there, yonder = having_read(one), having_read(other), having_read(third)
    assert here.compare(there) == -there.compare(here)
    assert (here.compare(there) == 0) == (one == other)
    if one > other:
        assert here.compare(there) == 1
    if here.compare(there) <= 0 and there.compare(yonder) <= 0:
        assert here.compare(yonder) <= 0


@given(READ, READ, st.integers(0, 13))
def test_operations_on_gaps_are_those_of_sets(one: set[int], other: set[int], number: int) -> None:
    here, there = (gap_sets.joined((n, n) for n in numbers) for numbers in (one, other))

    def numbers_of(gaps: gap_sets.Gaps) -> set[int]:
        return {n for first, last in gaps for n in range(first, last + 1)}

    assert numbers_of(here) == one and gap_sets.count(here) == len(one) and gap_sets.is_sound(here, 13)
    assert numbers_of(gap_sets.common(here, there)) == one & other
    assert numbers_of(gap_sets.without(here, sorted(other))) == one - other
    assert numbers_of(gap_sets.above(here, number)) == {n for n in one if n > number}
    assert numbers_of(gap_sets.up_to(here, number)) == {n for n in one if n <= number}
    assert (
        numbers_of(left_out(number, sorted(n for n in one if n > number)))
        == set(range(number + 1, max(one, default=0))) - one
    )


@given(st.integers(0, 100), st.integers(0, 7))
def test_a_token_with_gaps_and_a_bit_flipped_is_refused(place: int, bit: int) -> None:
    place_with_gaps = token(0, 900, gaps=((3, 3), (100, 450), (898, 899)))
    raw = bytearray(base64.urlsafe_b64decode(str(place_with_gaps) + "=="))
    raw[place % len(raw)] ^= 1 << bit
    with pytest.raises(TokenRefusedError):
        TrackingToken.parse(base64.urlsafe_b64encode(raw).decode().rstrip("="))


@pytest.mark.parametrize(
    ("version", "gaps"),
    [
        (1, b"\x03\x00"), (2, b""), (2, b"\x03"), (2, b"\x00\x00"), (2, b"\x05\x80"), (2, b"\x85\x00\x00"),
        (2, b"\x03\x00\x01\x00"), (2, b"\xff\x7f\x00"), (2, b"\xff" * 40), (2, b"\x64\x00"), (3, b""),
        (2, b"\x02\x00" * 10_001), (0, b""), (5, b""), (255, b""), (3, b"\x00\x00\x00"), (3, b"\x00" * 4),
        (3, b"\x00\x00\x00\x01\x03\x00"), (4, b"\x00\x00\x00\x01"), (4, b"\x03\x00"), (4, b"\x00\x00\x00\x01\x64\x00"),
    ],
)  # fmt: skip
def test_a_token_whose_gaps_no_store_can_have_is_refused(version: int, gaps: bytes) -> None:
    body = struct.pack(">B16sIQQ", version, STORE.bytes, 1, 0, 100 if len(gaps) < 100 else 10**6) + gaps
    text = base64.urlsafe_b64encode(body + struct.pack(">I", zlib.crc32(body))).decode().rstrip("=")
    with pytest.raises(TokenRefusedError):
        TrackingToken.parse(text)


def test_a_token_written_by_the_first_release_is_still_read() -> None:
    old = "AZsNbl6KDE8OmlMPDx8vP08AAAABAAAAAAAAAE0AAAAAAAAwOS0bZuM"
    assert TrackingToken.parse(old) == token(77, 12345)
    assert str(token(77, 12345)) == old

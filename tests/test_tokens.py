"""Tracking tokens: order, fencing, serialisation."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.domain import GlobalSequence, TrackingToken, TransactionId
from eventmark.errors import TokenRefusedError

STORE = UUID("9b0d6e5e-8a0c-4f0e-9a53-0f0f1f2f3f4f")
UNSIGNED_64 = st.integers(0, 2**64 - 1)


def token(transaction_id: int, global_sequence: int, *, store: UUID = STORE, epoch: int = 1) -> TrackingToken:
    return TrackingToken(store, epoch, TransactionId(transaction_id), GlobalSequence(global_sequence))


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

"""The checker is itself checked: against planted faults, and against a slow and obvious one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID, uuid4

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmark.verify import Consumption, Fault, History, Outcome, check
from eventmark.verify.history import (
    DELIVERED,
    NO_STREAM,
    STORED,
    STRANGER,
    TENANTS,
    event_id,
    key_of_event,
    segment_of_number,
)
from tests.verify.conftest import consumption, delivered, history, token

OK, CONFLICT, FAILED, UNKNOWN = Outcome.OK, Outcome.CONFLICT, Outcome.FAILED, Outcome.UNKNOWN
ATTEMPTS = [
    (OK, 8, 1, 1, 2),
    (OK, 9, 3, 1, 1),
    (CONFLICT, 8, 4, 1, 1),
    (FAILED, 9, 5, 2, 2),
    (OK, 8, 7, 3, 1),
]
ALL = [1, 2, 3, 7]


def found(one: History) -> set[tuple[str, str]]:
    return {(fault.invariant, fault.what) for fault in check(one)}


def test_a_clean_history_has_no_fault() -> None:
    clean = history(
        ATTEMPTS,
        consumptions=[
            consumption(ALL), consumption([3, 7], start=token(1, 2)), consumption([1, 2, 7], tenant=0),
            consumption([3], tenant=1), consumption([], start=token(9, 9), made_ns=99),
        ],
    )  # fmt: skip
    assert check(clean) == []


STORED_ROWS = [(1, 8, 1, 1, 1), (2, 8, 2, 1, 2), (3, 9, 1, 2, 3), (7, 8, 3, 5, 7)]
PLANTED_IN_THE_TABLE = {
    "acknowledged and not stored": ("I1", STORED_ROWS[:-1]),
    "stored at another place": ("I1", [*STORED_ROWS[:2], (3, 9, 2, 2, 3), STORED_ROWS[3]]),
    "refused and stored": ("I2", [*STORED_ROWS, (5, 9, 2, 4, 5), (6, 9, 3, 4, 6)]),
    "stored and never sent": ("I2", [*STORED_ROWS, (99, 9, 2, 9, 99)]),
    "stored twice": ("I3", [*STORED_ROWS, (7, 8, 4, 9, 99)]),
    "gaps or repetitions in streams": ("I4", [STORED_ROWS[0], (2, 8, 3, 1, 2), *STORED_ROWS[2:]]),
    "stored before their predecessors": ("I8", [*STORED_ROWS[:3], (7, 8, 3, 1, 1)]),
}


@pytest.mark.parametrize("what", PLANTED_IN_THE_TABLE)
def test_a_fault_planted_in_the_table_is_found(what: str) -> None:
    invariant, rows = PLANTED_IN_THE_TABLE[what]
    assert (invariant, what) in found(history(ATTEMPTS, stored=rows, consumptions=[consumption(ALL)]))


def test_two_winners_of_one_version_are_found() -> None:
    attempts = [(OK, 8, 1, 1, 1), (OK, 8, 2, 1, 1)]
    assert ("I5", "won by several") in found(history(attempts, consumptions=[]))


@pytest.mark.parametrize(("stored", "whole"), [(0, True), (1, False), (2, True)])
def test_an_append_of_unknown_outcome_is_stored_whole_or_not_at_all(stored: int, whole: bool) -> None:
    rows = [(1, 8, 1, 1, 1), (2, 8, 2, 1, 2)][:stored]
    unknown = history(
        [(UNKNOWN, 8, 1, 1, 2)], stored=rows, consumptions=[consumption([row[0] for row in rows])]
    )
    assert (("I6", "stored in part") not in found(unknown)) is whole


PLANTED_IN_A_CONSUMER = {
    "lost of tail": ("I7", consumption([1, 2, 7])),
    "duplicated of tail": ("I7", consumption([1, 2, 3, 3, 7])),
    "delivered unasked of tail": ("I7", consumption([1, 2, 3, 7], start=token(1, 1))),
    "out of order of tail": ("I8", consumption([1, 3, 2, 7])),
    "tokens back of tail": ("I9", consumption(ALL, tokens_back=1)),
    "events of other tenants of tail": ("I10", consumption([1, 2, 7], tenant=0, foreign=2)),
    "never caught up of tail": ("I12", consumption(ALL, caught_up=False)),
    "errors of another kind": ("I13", consumption(ALL, errors=["ValueError: x"])),
}


@pytest.mark.parametrize("what", PLANTED_IN_A_CONSUMER)
def test_a_fault_planted_in_a_consumer_is_found(what: str) -> None:
    invariant, planted = PLANTED_IN_A_CONSUMER[what]
    assert (invariant, what) in found(history(ATTEMPTS, consumptions=[planted]))


def test_an_append_of_one_transaction_is_not_stored_by_two() -> None:
    rows = [(1, 8, 1, 1, 1), (2, 8, 2, 9, 2), *STORED_ROWS[2:]]
    torn = history(ATTEMPTS, stored=rows, consumptions=[], has_transaction_ids=True)
    assert ("I6", "stored by several transactions") in found(torn)
    whole = history(ATTEMPTS, consumptions=[], has_transaction_ids=True)
    assert found(whole) == set()


@pytest.mark.parametrize(
    ("outcome", "place", "faults"),
    [
        (CONFLICT, (8, 1), set()),
        (OK, (8, 1), set()),  # the same append, acknowledged again
        (FAILED, (9, 2), set()),
        (OK, (9, 2), {("I1", "stored at another place")}),
    ],
)
def test_an_event_that_is_sent_twice_is_stored_once_and_where_it_was_acknowledged(
    outcome: Outcome, place: tuple[int, int], faults: set[tuple[str, str]]
) -> None:
    attempts = [(OK, 8, 1, 1, 2), (OK, 9, 3, 1, 1), (outcome, place[0], 1, place[1], 1)]
    rows = [(1, 8, 1, 1, 1), (2, 8, 2, 1, 2), (3, 9, 1, 2, 3)]
    late = consumption([], name="late", start=token(2, 3), made_ns=1)
    again = history(attempts, stored=rows, consumptions=[consumption([1, 2, 3]), late])
    assert found(again) == faults


def test_an_event_that_the_hunt_did_not_write_is_counted_and_ends_nothing() -> None:
    stranger = (STRANGER, NO_STREAM, -1, 9, 99)
    consumptions = [consumption([*ALL, STRANGER, STRANGER])]
    rows = [*STORED_ROWS, stranger, stranger]
    seen = history(ATTEMPTS, stored=rows, consumptions=consumptions)
    assert {(one.what, one.count) for one in check(seen)} == {
        ("stored and never sent", 2), ("delivered and never sent of tail", 2),
    }  # fmt: skip
    assert check(history(ATTEMPTS, stored=rows, consumptions=consumptions, alone=False)) == []


def test_events_of_another_tenant_are_found_by_where_they_are_stored() -> None:
    silent = consumption([1, 2, 7, 3], tenant=0)  # 3 is tenant 1's, whatever it says
    assert ("I10", "events of other tenants of tail") in found(history(ATTEMPTS, consumptions=[silent]))


def test_what_a_consumer_had_passed_before_it_was_committed_is_the_cause_of_its_loss() -> None:
    seen = consumption([])
    seen.delivered = np.array([(3, 0, 0), (7, 0, 0)], DELIVERED)
    (lost,) = (one for one in check(history(ATTEMPTS, consumptions=[seen])) if one.what == "lost of tail")
    assert (lost.count, lost.due, lost.passed, lost.begun_beyond) == (2, 4, 2, 0)
    seen.delivered = np.array([(3, 99, 99), (7, 99, 99)], DELIVERED)
    (lost,) = (one for one in check(history(ATTEMPTS, consumptions=[seen])) if one.what == "lost of tail")
    assert (lost.count, lost.passed) == (2, 0)
    head = consumption([], name="head", start=token(5, 7), made_ns=1)
    (lost,) = check(history(ATTEMPTS, consumptions=[head]))
    assert lost.begun_beyond == lost.count


class Row:
    """An event as some store might answer with it."""

    def __init__(self, event_id: object = KeyError("event_id"), payload: object = None) -> None:
        self._id, self._payload = event_id, payload

    @property
    def event_id(self) -> object:
        if isinstance(self._id, Exception):
            raise self._id
        return self._id

    def payload(self) -> object:
        if isinstance(self._payload, Exception):
            raise self._payload
        return self._payload


OWN_ID = event_id(7)


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (Row(OWN_ID), 7), (Row(str(OWN_ID)), 7), (Row(OWN_ID.hex.upper()), 7), (Row(OWN_ID.bytes), 7),
        (Row(UUID(int=2**128 - 1)), STRANGER), (Row(uuid4()), STRANGER), (Row(None), STRANGER),
        (Row(UUID(int=OWN_ID.int | 1 << 63)), STRANGER), (Row("no uuid"), STRANGER), (Row(17), STRANGER),
        (Row(b"short"), STRANGER), (Row(payload={"key": 7}), 7), (Row(payload={"key": 2**63}), STRANGER),
        (Row(payload={"key": "7"}), STRANGER), (Row(payload={"key": True}), STRANGER),
        (Row(payload={}), STRANGER), (Row(payload=[]), STRANGER), (Row(payload=None), STRANGER),
        (Row(payload=msgspec.DecodeError("no JSON")), STRANGER), (Row(payload=TypeError("NULL")), STRANGER),
    ],
)  # fmt: skip
def test_whatever_a_store_delivers_is_an_event_of_the_hunt_or_a_stranger(row: Row, key: int) -> None:
    assert key_of_event(row) == key  # type: ignore[arg-type]


def test_what_was_committed_after_a_token_was_made_is_due_wherever_the_token_lies() -> None:
    # A head token from the last row: above a transaction that was still running.
    head = consumption([], name="head", start=token(5, 7), made_ns=1)
    assert ("I7", "lost of head") in found(history(ATTEMPTS, consumptions=[head]))


def test_a_consumer_of_a_segment_is_due_its_own_streams_and_all_of_them() -> None:
    keys = {
        segment: [key for key, stream, *_ in STORED_ROWS if segment_of_number(stream) == segment]
        for segment in (0, 1)
    }
    assert sorted(keys[0] + keys[1]) == ALL
    shares = [consumption(keys[one], name=f"share {one}", segment=one) for one in (0, 1)]
    assert check(history(ATTEMPTS, consumptions=shares)) == []
    full, other = (0, 1) if keys[0] else (1, 0)
    lost = consumption(keys[full][1:], name="share", segment=full)
    assert ("I7", "lost of share") in found(history(ATTEMPTS, consumptions=[lost]))
    foreign = consumption([*keys[other], *keys[full][:1]], name="share", segment=other)
    assert ("I7", "delivered unasked of share") in found(history(ATTEMPTS, consumptions=[foreign]))


def test_damage_and_replays_that_differ_are_reported() -> None:
    damaged = history(ATTEMPTS, consumptions=[consumption(ALL)], damaged=1, replay_differences=2)
    assert found(damaged) == {
        ("I1", "stored with other content than was sent"), ("I11", "streams whose replay from a snapshot differs"),
    }  # fmt: skip


def test_only_streams_have_to_be_in_order_where_there_is_no_total_order() -> None:
    loose = history(ATTEMPTS, consumptions=[consumption([3, 1, 2, 7])], total_order=False)
    assert check(loose) == []
    assert ("I8", "out of order of tail") in found(
        history(ATTEMPTS, consumptions=[consumption([3, 2, 1, 7])], total_order=False)
    )


# The same rules, written so that anyone can see that they are right.


def obvious(one: History) -> Counter[str]:
    """How often each invariant that tells of events is broken, by event and by consumer."""
    attempts = one.attempts["outcome"].tolist()
    written = {int(row["key"]): row for row in one.written}
    rows = [tuple(int(value) for value in row) for row in one.stored]
    there = {row[0] for row in rows}
    wrong: Counter[str] = Counter()
    for key, row in written.items():
        outcome = attempts[row["attempt"]]
        wrong["I1 missing"] += outcome == OK and key not in there
        wrong["I2 refused"] += outcome in (CONFLICT, FAILED) and key in there
    wrong["I2 strange"] += sum(row[0] not in written for row in rows)
    wrong["I3"] += len(rows) - len(there)
    for stream in {row[1] for row in rows}:
        before = 0
        for sequence in sorted(row[2] for row in rows if row[1] == stream):
            wrong["I4"] += sequence != before + 1
            before = sequence
    for number in range(len(attempts)):
        keys = {key for key, row in written.items() if row["attempt"] == number}
        wrong["I6"] += 0 < len(keys & there) < len(keys)
    for consumer in one.consumptions:
        wrong += seen_by(consumer, rows)
    return +wrong


def seen_by(consumer: Consumption, rows: list[tuple[int, ...]]) -> Counter[str]:
    wrong: Counter[str] = Counter()
    start = (consumer.start.transaction_id, consumer.start.global_sequence)
    due = {row[0] for row in rows if (row[3], row[4]) > start and consumer.tenant in (None, row[1] % TENANTS)}
    keys = consumer.delivered["key"].tolist()
    wrong["I7 lost"] += len(due - set(keys))
    wrong["I7 twice"] += len(keys) - len(set(keys))
    wrong["I7 unasked"] += sum(key not in due for key in keys)
    return wrong


NAMES = {
    "acknowledged and not stored": "I1 missing", "refused and stored": "I2 refused",
    "stored and never sent": "I2 strange", "stored twice": "I3", "gaps or repetitions in streams": "I4",
    "stored in part": "I6", "lost of tail": "I7 lost", "duplicated of tail": "I7 twice",
    "delivered unasked of tail": "I7 unasked",
}  # fmt: skip


def told(faults: list[Fault]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for fault in faults:
        if fault.what in NAMES:
            counts[NAMES[fault.what]] += fault.count
    return counts


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Appends of several kinds to a few streams, then rows and deliveries changed at random."""
    attempts, versions, key = [], Counter[int](), 1
    for _ in range(draw(st.integers(1, 8))):
        outcome = draw(st.sampled_from([OK, OK, OK, CONFLICT, FAILED, UNKNOWN]))
        stream, count = draw(st.integers(8, 10)), draw(st.integers(1, 3))
        attempts.append((outcome, stream, key, versions[stream] + 1, count))
        key += count
        if outcome == OK:
            versions[stream] += count
    clean = history(attempts, consumptions=[])
    kept = [row for row in clean.stored.tolist() if not draw(st.sampled_from([False] * 9 + [True]))]
    more = draw(
        st.lists(st.tuples(st.integers(1, key + 1), st.integers(8, 10), st.integers(1, 5)), max_size=2)
    )
    kept += [(*row, 9, place + 100) for place, row in enumerate(more)]
    tenant = draw(st.sampled_from([None, 0, 1]))
    keys = [row[0] for row in kept if tenant in (None, row[1] % TENANTS)]
    changed = draw(st.permutations(keys)) if draw(st.booleans()) else keys
    changed = [one for one in changed if not draw(st.sampled_from([False] * 9 + [True]))]
    changed += draw(st.lists(st.integers(1, key + 1), max_size=2))
    start = draw(st.sampled_from([token(0, 0), token(1, 2), token(2, 3)]))
    return replace(
        clean,
        stored=np.array(kept, STORED),
        consumptions=[
            replace(consumption([], tenant=tenant, start=start, made_ns=99), delivered=delivered(changed))
        ],
    )


@settings(max_examples=100)
@given(histories())
def test_the_fast_checker_counts_what_the_obvious_one_counts(one: History) -> None:
    assert told(check(one)) == obvious(one)

"""The invariants, checked over a whole history: pure, and fast for millions of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eventmark.domain import TrackingToken
from eventmark.verify.history import (
    STRANGER,
    TENANTS,
    Consumption,
    History,
    Outcome,
    Table,
    segment_of_number,
)

EXAMPLES_MAX = 5

INVARIANTS = {
    "I1": "every acknowledged append is stored as it was sent",
    "I2": "nothing of a failed append is stored",
    "I3": "no event is stored twice",
    "I4": "each stream's sequence numbers are contiguous",
    "I5": "one winner per expected version",
    "I6": "an append is stored whole or not at all",
    "I7": "each consumer is given every committed event once",
    "I8": "consumers see one order, and it respects each stream's",
    "I9": "a token never goes back",
    "I10": "no consumer is given another tenant's events",
    "I11": "a snapshot and what follows it equal a full replay",
    "I12": "when writers end, consumers catch up",
    "I13": "every error is one that a store may raise",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """An invariant that does not hold: what kind, how often, and the first few cases.

    Of lost events, ``due`` is how many the consumer was to be given, and ``passed`` how many of the lost ones
    it had passed before they were committed, ``begun_beyond`` how many its first token had passed.
    """

    invariant: str
    what: str  # "lost", "duplicated", "out of order", ...
    count: int
    examples: tuple[str, ...] = ()
    consumer: str = ""
    due: int = 0
    passed: int = 0
    begun_beyond: int = 0


def check(history: History) -> list[Fault]:
    """Every fault of the history; none where all invariants hold."""
    strangers = history.stored["key"] == STRANGER
    faults = [Fault("I2", "stored and never sent", int(strangers.sum()))] if history.alone else []
    history = replace(history, stored=history.stored[~strangers])
    checks: tuple[Callable[[History], Iterator[Fault]], ...] = (
        _acknowledged,
        _refused,
        _stored_once,
        _contiguous,
        _one_winner,
        _whole,
        _told,
    )
    faults += [fault for run_check in checks for fault in run_check(history)]
    for consumption in history.consumptions:
        faults += _consumed(history, consumption)
    return [fault for fault in faults if fault.count]


def _acknowledged(history: History) -> Iterator[Fault]:
    sent = history.written[_outcomes(history) == Outcome.OK]
    missing = sent[~np.isin(sent["key"], history.stored["key"])]
    yield Fault("I1", "acknowledged and not stored", len(missing), _keys(missing["key"]))
    yield Fault("I1", "stored with other content than was sent", history.damaged)
    here = history.stored[np.argsort(history.stored["key"], kind="stable")]
    if len(here):
        stored_rows = here[np.minimum(np.searchsorted(here["key"], sent["key"]), len(here) - 1)]
        moved = (stored_rows["key"] == sent["key"]) & (
            (stored_rows["stream"] != sent["stream"]) | (stored_rows["sequence"] != sent["sequence"])
        )
        yield Fault("I1", "stored at another place", int(moved.sum()), _keys(sent["key"][moved]))
    yield Fault("I11", "streams whose replay from a snapshot differs", history.replay_differences)


def _refused(history: History) -> Iterator[Fault]:
    outcomes = _outcomes(history)
    refused = history.written[(outcomes == Outcome.CONFLICT) | (outcomes == Outcome.FAILED)]
    refused = refused[~np.isin(refused["key"], _accepted(history)["key"])]  # sent again, and stored before
    there = refused[np.isin(refused["key"], history.stored["key"])]
    yield Fault("I2", "refused and stored", len(there), _keys(there["key"]))
    strange = history.stored[~np.isin(history.stored["key"], history.written["key"])]
    yield Fault("I2", "stored and never sent", len(strange), _keys(strange["key"]))


def _stored_once(history: History) -> Iterator[Fault]:
    keys, counts = np.unique(history.stored["key"], return_counts=True)
    yield Fault("I3", "stored twice", int((counts - 1).sum()), _keys(keys[counts > 1]))


def _contiguous(history: History) -> Iterator[Fault]:
    rows = history.stored[np.lexsort((history.stored["sequence"], history.stored["stream"]))]
    expected = np.where(_first_of_stream(rows["stream"]), 1, np.roll(rows["sequence"], 1) + 1)
    wrong = rows[rows["sequence"] != expected]
    yield Fault("I4", "gaps or repetitions in streams", len(wrong), _keys(wrong["key"]))
    places = _places(rows, by_number=history.by_number)
    back = ~_first_of_stream(rows["stream"]) & (places <= np.roll(places, 1))
    yield Fault("I8", "stored before their predecessors", int(back.sum()), _keys(rows["key"][back]))


def _one_winner(history: History) -> Iterator[Fault]:
    sent = history.written[_outcomes(history) == Outcome.OK]
    sent = sent[np.lexsort((sent["sequence"], sent["stream"]))]
    again = ~_first_of_stream(sent["stream"]) & (sent["sequence"] == np.roll(sent["sequence"], 1))
    again &= sent["key"] != np.roll(sent["key"], 1)  # the same append twice is no second winner
    yield Fault("I5", "won by several", int(again.sum()), _keys(sent["key"][again]))


def _whole(history: History) -> Iterator[Fault]:
    written = history.written
    there = np.isin(written["key"], history.stored["key"])
    _, first, counts = np.unique(written["key"], return_inverse=True, return_counts=True)
    again = np.flatnonzero(
        counts[first] > 1
    )  # of keys sent several times, what is stored at the attempt's place
    places = (
        {tuple(row) for row in history.stored[["key", "stream", "sequence"]].tolist()} if len(again) else ()
    )
    for index, row in zip(again, written[again][["key", "stream", "sequence"]].tolist(), strict=True):
        there[index] = tuple(row) in places
    attempts = len(history.attempts)
    stored = np.bincount(written["attempt"], weights=there, minlength=attempts)
    sent = np.bincount(written["attempt"], minlength=attempts)
    parted = np.flatnonzero((stored > 0) & (stored < sent))
    examples = tuple(
        f"{int(stored[index])} of {int(sent[index])} events of an append" for index in parted[:EXAMPLES_MAX]
    )
    yield Fault("I6", "stored in part", len(parted), examples)
    if history.has_transaction_ids:
        yield Fault("I6", "stored by several transactions", _torn(history, written[counts[first] == 1]))


def _torn(history: History, written: Table) -> int:
    """Appends whose events were not all written by one transaction."""
    rows = history.stored[np.argsort(history.stored["key"], kind="stable")]
    written = written[np.isin(written["key"], rows["key"])]
    if not len(written):
        return 0
    transactions = rows["transaction_id"][np.searchsorted(rows["key"], written["key"])]
    order = np.lexsort((transactions, written["attempt"]))
    attempts, transactions = written["attempt"][order], transactions[order]
    other = ~_first_of_stream(attempts) & (transactions != np.roll(transactions, 1))
    return len(np.unique(attempts[other]))


def _told(history: History) -> Iterator[Fault]:
    errors = [
        *history.errors,
        *(error for consumption in history.consumptions for error in consumption.errors),
    ]
    yield Fault("I13", "errors of another kind", len(errors), tuple(errors[:EXAMPLES_MAX]))


def _consumed(history: History, consumption: Consumption) -> Iterator[Fault]:
    stored, who = history.stored, f" of {consumption.name}"
    given = consumption.delivered[consumption.delivered["key"] != STRANGER]
    keys = given["key"]
    due = _due(history, consumption)
    missing = due & ~np.isin(stored["key"], keys)
    if consumption.ended and consumption.last is not None:  # what is beyond its last token it never came to
        missing &= ~_beyond(history, consumption.last)
    lost = stored[missing]
    yield Fault(
        "I7", "lost" + who, len(np.unique(lost["key"])), _events(lost), consumer=consumption.name,
        due=len(np.unique(stored["key"][due])), passed=_passed(history, given, lost),
        begun_beyond=int((missing & ~_beyond(history, consumption.start)).sum()),
    )  # fmt: skip
    yield Fault("I7", "duplicated" + who, len(keys) - len(np.unique(keys)))
    early = keys[~np.isin(keys, stored["key"][due])]
    yield Fault("I7", "delivered unasked" + who, len(early), _keys(early))
    if history.alone:
        yield Fault("I7", "delivered and never sent" + who, len(consumption.delivered) - len(given))
    yield Fault("I8", "out of order" + who, *_out_of_order(history, keys))
    yield Fault("I9", "tokens back" + who, consumption.tokens_back)
    foreign = max(consumption.foreign, _foreign(history, consumption))
    yield Fault("I10", "events of other tenants" + who, foreign)
    yield Fault("I12", "never caught up" + who, int(not (consumption.caught_up or consumption.ended)))


def _foreign(history: History, consumption: Consumption) -> int:
    """Events given to a consumer of one tenant that are stored as another's, whatever the store said they are."""
    if consumption.tenant is None:
        return 0
    others = history.stored["key"][history.stored["stream"] % TENANTS != consumption.tenant]
    return int(np.isin(consumption.delivered["key"], others).sum())


def _passed(history: History, given: Table, lost: Table) -> int:
    """Of the lost events, those whose place in the log the consumer was past before they were committed."""
    rows = history.stored[np.argsort(history.stored["key"], kind="stable")]
    given = given[np.isin(given["key"], rows["key"])]
    sent = history.written[np.argsort(history.written["key"], kind="stable")]
    lost = lost[np.isin(lost["key"], sent["key"])]
    if not len(lost) or not len(given):
        return 0
    places = _places(rows, by_number=history.by_number)
    there = places[np.searchsorted(rows["key"], given["key"])]
    order = np.argsort(there, kind="stable")
    at_ns = np.minimum.accumulate(given["at_ns"][order][::-1])[
        ::-1
    ]  # the earliest of this place and later ones
    after = np.searchsorted(there[order], places[np.searchsorted(rows["key"], lost["key"])], side="right")
    ended_ns = history.attempts["ended_ns"][sent["attempt"][np.searchsorted(sent["key"], lost["key"])]]
    beyond = after < len(at_ns)
    return int((at_ns[after[beyond]] + history.doubt_ns <= ended_ns[beyond]).sum())


def _due(history: History, consumption: Consumption) -> NDArray[np.bool_]:
    """Which stored events the consumer is to be given: those after its first token, and those that were
    committed after it had that token, wherever the token says they are."""
    stored = history.stored
    due = _beyond(history, consumption.start)
    accepted = _accepted(history)
    later = history.attempts["commit_ns"][accepted["attempt"]] > consumption.made_ns + history.doubt_ns
    due |= np.isin(stored["key"], accepted["key"][later])
    if consumption.tenant is not None:
        due &= stored["stream"] % TENANTS == consumption.tenant
    if consumption.segment is not None:
        streams, position = np.unique(stored["stream"], return_inverse=True)
        segments = np.array([segment_of_number(stream) for stream in streams.tolist()], np.int64)
        due &= segments[position] == consumption.segment
    return due


def _beyond(history: History, start: TrackingToken) -> NDArray[np.bool_]:
    """Which stored events are after a consumer's token."""
    stored = history.stored
    beyond: NDArray[np.bool_] = stored["number"] > start.global_sequence
    if not history.by_number:
        beyond &= stored["transaction_id"] == start.transaction_id
        return beyond | (stored["transaction_id"] > start.transaction_id)
    for first, last in start.gaps:
        beyond |= (stored["number"] >= first) & (stored["number"] <= last)
    return beyond


def _accepted(history: History) -> Table:
    """The events of attempts that may be stored; of one that was sent several times, the first."""
    outcomes = _outcomes(history)
    rows = history.written[(outcomes == Outcome.OK) | (outcomes == Outcome.UNKNOWN)]
    _, first = np.unique(rows["key"], return_index=True)
    accepted: Table = rows[first]
    return accepted


def _out_of_order(history: History, keys: NDArray[np.int64]) -> tuple[int, tuple[str, ...]]:
    """Events delivered before one that precedes them: in the log, where there is one order, and in their stream."""
    rows = history.stored[np.argsort(history.stored["key"], kind="stable")]
    keys = keys[np.isin(keys, rows["key"])]
    if not len(keys):
        return 0, ()
    rows = rows[np.searchsorted(rows["key"], keys)]
    wrong = np.zeros(len(rows), bool)
    if history.total_order:
        places = _places(rows, by_number=history.by_number)
        wrong[1:] = places[1:] < places[:-1]
    by_stream = np.argsort(rows["stream"], kind="stable")  # within a stream as delivered
    sequence = rows["sequence"][by_stream]
    behind = ~_first_of_stream(rows["stream"][by_stream]) & (sequence < np.roll(sequence, 1))
    wrong[by_stream[behind]] = True
    return int(wrong.sum()), _events(rows[wrong])


def _places(rows: Table, *, by_number: bool) -> NDArray[np.int64]:
    """A number for each row that rises along the log."""
    if by_number:
        return rows["number"]
    order = np.lexsort((rows["number"], rows["transaction_id"]))
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    return places


def _outcomes(history: History) -> NDArray[np.int8]:
    """Of each event written, how its attempt ended."""
    return history.attempts["outcome"][history.written["attempt"]]  # type: ignore[no-any-return]


def _first_of_stream(streams: NDArray[np.int64]) -> NDArray[np.bool_]:
    first = np.ones(len(streams), bool)
    first[1:] = streams[1:] != streams[:-1]
    return first


def _keys(keys: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(f"event {key}" for key in keys[:EXAMPLES_MAX].tolist())


def _events(rows: Table) -> tuple[str, ...]:
    return tuple(
        f"event {row['key']}: stream {row['stream']}, sequence {row['sequence']}, "
        f"transaction {row['transaction_id']}, number {row['number']}"
        for row in rows[:EXAMPLES_MAX]
    )

"""Times from machines with clocks of their own: put on one clock, and no order is told where it is not sure."""

from __future__ import annotations

import numpy as np

from eventmark.verify.checker import check
from eventmark.verify.concurrency import overtaken
from eventmark.verify.history import ATTEMPT, DELIVERED, Consumption, History, Outcome, WriterLog
from eventmark.verify.hunt import _on_one_clock
from eventmark.workers import Clock, doubt_ns
from tests.verify.conftest import consumption, history, token

HERE = Clock(machine="here", offset_ns=40, ticks_ns=-30, uncertainty_ns=50)
AHEAD = Clock(machine="there", offset_ns=0, ticks_ns=5_000_000_000, uncertainty_ns=100_000)


def test_times_are_moved_by_what_their_clock_is_ahead_and_an_attempt_without_a_commit_stays_one() -> None:
    ahead_ns = AHEAD.ticks_ns
    rows = [(Outcome.OK, True, 10, 11, 12), (Outcome.FAILED, True, 20, 0, 22)]
    there = [(*row[:2], *(at_ns + ahead_ns if at_ns else 0 for at_ns in row[2:])) for row in rows]
    logs = [WriterLog(attempts=np.array(rows, ATTEMPT)), WriterLog(attempts=np.array(there, ATTEMPT))]
    seen = Consumption(
        "tail", None, token(0, 0), 7 + ahead_ns, np.array([(1, 13 + ahead_ns, 14 + ahead_ns)], DELIVERED)
    )
    (moved,), in_doubt_ns = _on_one_clock(logs, [HERE, AHEAD], [[seen]], [AHEAD])
    assert logs[0].attempts.tolist() == logs[1].attempts.tolist() == [tuple(map(int, row)) for row in rows]
    assert (moved.made_ns, moved.delivered.tolist()) == (7, [(1, 13, 14)])
    assert in_doubt_ns == 200_000


def test_clocks_that_differ_by_less_than_is_known_are_one() -> None:
    assert HERE.ticks_correction_ns == HERE.correction_ns == 0
    assert doubt_ns(HERE, HERE) == 0


def late(in_doubt_ns: int) -> History:
    """An event below a consumer's token, whose commit was sent one nanosecond after it had that."""
    return history(
        [(Outcome.OK, 0, 1, 1, 1)], consumptions=[consumption([], start=token(5, 5), made_ns=-1)],
        doubt_ns=in_doubt_ns,
    )  # fmt: skip


def test_an_event_is_lost_only_where_its_commit_came_surely_after_the_token() -> None:
    assert any(fault.what.startswith("lost") for fault in check(late(0)))
    assert not any(fault.what.startswith("lost") for fault in check(late(1)))


def test_a_transaction_is_overtaken_only_by_one_that_surely_began_later_and_ended_before_it() -> None:
    found = history([(Outcome.OK, 0, 1, 1, 1), (Outcome.OK, 1, 2, 1, 1)], consumptions=[])
    found.attempts["invoked_ns"], found.attempts["ended_ns"] = [0, 10], [40, 20]
    counted = {}
    for in_doubt_ns in (0, 10, 11, 20):
        found.doubt_ns = in_doubt_ns
        counted[in_doubt_ns] = overtaken(found)
    assert counted == {0: 1, 10: 1, 11: 0, 20: 0}

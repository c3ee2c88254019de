"""A server that ends calls says nothing of the store: consumers go on, and what they did not come to is not lost."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from eventmark.errors import EventStoreError, StoreUnavailableError
from eventmark.results.results import Verdict
from eventmark.server import Server
from eventmark.verify import HuntPlan, engine_subject, hunt
from eventmark.verify.checker import check
from eventmark.verify.concurrency import undecided
from eventmark.verify.cut_off import TRIES_MAX, CutOffError, failure_of, is_cut_off, persistently
from eventmark.verify.history import Outcome
from tests.database import execute
from tests.verify.conftest import consumption, history, token


@pytest.fixture
def cautious(server: Server, database: str) -> Iterator[str]:
    """A DSN of the database whose sessions are serializable."""
    name = database.rsplit("/", 1)[1]
    execute(server.dsn, f"alter database {name} set default_transaction_isolation = 'serializable'")
    yield database


def test_serializable_sessions_lose_nothing(cautious: str) -> None:
    plan = HuntPlan(subject=engine_subject("gap_aware"), events=2000, seconds=120, paced_s=0.5, held_s=0.5)
    result = hunt(cautious, "hunted", plan)
    assert (result.lost, result.verdict) == (0, Verdict.MET), result.findings
    assert result.delivered > 0


OK = (Outcome.OK, 1, 1, 1, 1), (Outcome.OK, 1, 2, 2, 1), (Outcome.OK, 1, 3, 3, 1)


def test_what_a_consumer_that_gave_up_did_not_come_to_is_not_lost() -> None:
    ended = {"ended": "cut off 20 times in a row: canceling statement", "last": token(2, 2)}
    found = history(list(OK), consumptions=[consumption([1, 2], **ended)])
    assert check(found) == []
    missing = undecided(found, contends=False)
    assert "could not go on (tail: cut off 20 times" in missing["I7"] and missing["I12"] == missing["I7"]
    passed = history(list(OK), consumptions=[consumption([2], **ended)])
    assert [(one.invariant, one.count) for one in check(passed)] == [("I7", 1)]
    caught_up = history(list(OK), consumptions=[consumption([1, 2])])
    assert [(one.invariant, one.count) for one in check(caught_up)] == [("I7", 1)]


def unavailable(cause: Exception) -> EventStoreError:
    error = StoreUnavailableError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "cut_off"),
    [
        (asyncpg.SerializationError("could not serialize access"), True),
        (asyncpg.DeadlockDetectedError("deadlock detected"), True),
        (asyncpg.QueryCanceledError("statement timeout"), True),
        (asyncpg.AdminShutdownError("terminating connection"), True),
        (asyncpg.TooManyConnectionsError("too many clients"), True),
        (asyncpg.ConnectionDoesNotExistError("closed"), True),
        (ConnectionResetError("reset"), True),
        (asyncpg.UndefinedColumnError("no column"), False),
        (asyncpg.DivisionByZeroError("division by zero"), False),
        (asyncpg.UniqueViolationError("duplicate key"), False),
    ],
)
async def test_a_call_is_made_again_only_where_the_server_ended_it(cause: Exception, cut_off: bool) -> None:
    assert is_cut_off(unavailable(cause)) is cut_off
    calls: list[int] = []

    async def call() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise unavailable(cause)
        return len(calls)

    if cut_off:
        assert await persistently(call) == 3
    else:
        with pytest.raises(StoreUnavailableError):
            await persistently(call)
        assert len(calls) == 1
    calls.clear()
    assert (await failure_of(call) is None) is cut_off


async def test_a_call_that_is_always_cut_off_ends_with_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventmark.verify.cut_off.PAUSE_S", 0)
    told: list[int] = []

    async def call() -> None:
        raise unavailable(asyncpg.QueryCanceledError("canceling statement due to statement timeout"))

    with pytest.raises(CutOffError, match=f"cut off {TRIES_MAX} times in a row: canceling statement"):
        await persistently(call, lambda: told.append(1))
    assert len(told) == TRIES_MAX
    assert not isinstance(await failure_of(call), CutOffError)

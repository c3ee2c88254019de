"""One event loop for all that a run asks of its server from code that is not asynchronous."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from eventmark.server.loop import ask, on_loop, one_loop
from tests.database import fetch


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


async def this_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_all_work_of_a_verb_and_its_experiment_runs_on_one_loop_which_ends_with_the_verb() -> None:
    with one_loop():
        first = on_loop(this_loop())
        with one_loop():  # an experiment within a verb
            assert on_loop(this_loop()) is first
        assert on_loop(this_loop()) is first and not first.is_closed()
    assert first.is_closed()
    assert on_loop(this_loop()) is not first


def test_nothing_of_a_work_goes_on_beside_the_next() -> None:
    seen: list[str] = []

    async def forgotten() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("ended")

    async def forgetful(fails: bool) -> asyncio.Task[None]:
        task = asyncio.create_task(forgotten())
        await asyncio.sleep(0)
        if fails:
            raise ValueError
        return task

    with one_loop():
        assert on_loop(forgetful(fails=False)).cancelled()
        with pytest.raises(ValueError):
            on_loop(forgetful(fails=True))
        assert seen == ["ended", "ended"]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("ignores", [False, True], ids=["ends", "goes on"])
def test_an_interrupt_ends_the_work_alone_and_the_loop_takes_the_next(ignores: bool) -> None:
    ended = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
        if ignores:  # as what is being written to its end; the second interrupt is not waited for
            loop.call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    with one_loop():
        with pytest.raises(KeyboardInterrupt):
            on_loop(work())
        assert ended == [True]
        assert on_loop(asyncio.sleep(0, "next")) == "next"


def test_a_question_leaves_no_session_behind_for_the_next_to_find(database: str) -> None:
    async def session(connection: asyncpg.Connection[Any], role: str, *, limit: str) -> int:
        await connection.execute(f"set application_name = '{role}{limit}'")
        return connection.get_server_pid()

    with one_loop():
        pid = ask(database, session, "asked", limit="!")
        until_s = time.monotonic() + 10
        while fetch(database, f"select count(*) from pg_stat_activity where pid = {pid}"):
            assert time.monotonic() < until_s, "the session is still there"  # bound: it would wait for ever
            time.sleep(0.01)
        assert ask(database, session, "asked", limit="!") != pid

"""The harness of worker processes: work handed over, reported, stopped; the dead named, nothing left running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from eventmark.errors import CannotRunError, StoreDefinitionError
from eventmark.redaction import HIDDEN, register
from eventmark.workers import Crew, WorkerLink, call, hand_over, worker_processes
from eventmark.workers import crew as crews

pytestmark = pytest.mark.usefixtures("spawned_workers")


def run_pid(wait_s: float) -> int:
    time.sleep(wait_s)
    return os.getpid()


async def run_doubled(number: int) -> tuple[int, str]:
    return 2 * number, type(asyncio.get_running_loop()).__module__


def run_out_of_memory(how: int) -> None:
    os.kill(os.getpid(), how)
    time.sleep(60)


def run_exit(code: int) -> NoReturn:
    os._exit(code)


def run_refused(path: str) -> NoReturn:
    raise StoreDefinitionError("no such table", path=path)


def run_defect(number: int) -> int:
    return {}[number]  # type: ignore[no-any-return]


async def run_until_cancelled(note: Path) -> None:
    note.with_suffix(".began").touch()
    try:
        await asyncio.sleep(600)
    finally:
        note.write_text("ended in order")  # noqa: ASYNC240 - at once


def run_told_secret(secret: str) -> None:
    print(f"the password is {secret}", file=sys.stderr, flush=True)


def test_a_coroutine_runs_in_a_loop_of_its_worker_and_a_function_without_one() -> None:
    with worker_processes(1) as executor:
        doubled, loop = call(executor, run_doubled, 21)
        assert (doubled, loop.partition(".")[0]) == (42, "uvloop")
        assert call(executor, run_pid, 0.0) == call(executor, run_pid, 0.0) != os.getpid()


def test_a_fresh_worker_is_used_once_and_gone() -> None:
    with worker_processes(1, fresh=True) as executor:
        first, second = call(executor, run_pid, 0.0), call(executor, run_pid, 0.0)
    assert first != second
    assert not psutil.pid_exists(first) and not psutil.pid_exists(second)


@pytest.mark.parametrize(
    ("work", "argument", "how"),
    [
        (run_out_of_memory, signal.SIGKILL, "was killed by SIGKILL while it worked on: out of memory"),
        (run_exit, 7, "ended with exit code 7 while it worked on: exit"),
    ],
)
def test_a_worker_that_dies_is_named_with_its_signal_and_the_next_task_gets_another(
    work: Callable[[int], object], argument: int, how: str
) -> None:
    with worker_processes(1) as executor:
        with pytest.raises(CannotRunError, match=how):
            call(executor, work, argument)
        assert call(executor, run_pid, 0.0) > 0


def test_errors_travel_as_they_are_and_those_that_cannot_say_the_same() -> None:
    with worker_processes(1) as executor:
        with pytest.raises(CannotRunError, match=r"StoreDefinitionError: store.toml:1: no such table"):
            call(executor, run_refused, "store.toml")
        with pytest.raises(KeyError) as caught:
            call(executor, run_defect, 3)
    assert "in run_defect" in caught.value.__notes__[0]


def test_leaving_by_an_exception_stops_what_runs_in_order(tmp_path: Path) -> None:
    note = tmp_path / "note"
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt), worker_processes(1) as executor:
        future = hand_over(executor, run_until_cancelled, note)
        while not note.with_suffix(".began").exists():
            assert not future.done() and time.monotonic() - began_s < 60  # bound: it would wait for ever
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert note.read_text() == "ended in order"
    assert psutil.Process().children() == [] or all(
        "spawn_main" not in " ".join(one.cmdline()) for one in psutil.Process().children()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_signals_to_the_parent(number: int) -> None:
    with worker_processes(2) as executor:
        first = hand_over(executor, run_pid, 0.5)
        second = hand_over(executor, run_pid, 0.5)
        while not (
            mine := [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]
        ):
            time.sleep(0.01)
        for worker in mine:
            worker.send_signal(number)
        assert {first.result(), second.result()} >= {one.pid for one in mine}


def test_what_workers_print_holds_no_password(capfd: pytest.CaptureFixture[str]) -> None:
    register("pa55-of-workers")
    with worker_processes(1) as executor:
        call(executor, run_told_secret, "pa55-of-workers")
    assert capfd.readouterr().err == f"the password is {HIDDEN}\n"


async def run_counting(share: int, link: WorkerLink) -> tuple[int, str]:
    start_ns = await link.ready()
    for number in range(share):
        link.send({"number": number})
    return start_ns, await link.receive(str)


async def run_failing(share: int, link: WorkerLink) -> None:
    raise CannotRunError(f"no share {share}")


@pytest.mark.parametrize("executor_of", [worker_processes, ThreadPoolExecutor])
def test_a_crew_starts_together_reports_and_is_instructed_whatever_runs_it(
    executor_of: Callable[[int], ThreadPoolExecutor],
) -> None:
    async def main() -> tuple[dict[int, int], list[tuple[int, str]]]:
        counts: dict[int, int] = {}
        with executor_of(2) as executor:
            async with Crew(executor, run_counting, [3, 5]) as crew:
                await crew.ready()
                crew.start()
                async for _ in crew.at_work(0.02):
                    for worker, report in crew.reports(dict[str, int]):
                        counts[worker] = counts.get(worker, 0) + 1
                        assert report["number"] == counts[worker] - 1
                    if sum(counts.values()) == 8:
                        crew.tell("enough")
                return counts, await crew.results()

    counts, results = asyncio.run(main())
    assert counts == {0: 3, 1: 5}
    assert [told for _, told in results] == ["enough", "enough"]
    assert abs(results[0][0] - results[1][0]) < 50e6


def test_a_crew_whose_worker_fails_before_the_start_raises_what_it_raised() -> None:
    async def main() -> None:
        with ThreadPoolExecutor(2) as executor:
            async with Crew(executor, run_failing, [1]) as crew:
                await crew.ready()

    with pytest.raises(CannotRunError, match="no share 1"):
        asyncio.run(main())


def test_a_crew_that_is_left_stops_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(2) as executor:
            async with Crew(executor, run_counting, [1]) as crew:
                await crew.ready()
                crew.start()
                raise KeyError("left")

    with pytest.raises(KeyError, match="left"):
        asyncio.run(main())  # else the executor would wait for ever
    monkeypatch.setattr(crews, "READY_TIMEOUT_S", 0.3)
    with pytest.raises(CannotRunError, match="1 of 2 workers were not ready within"):
        asyncio.run(_too_many())


async def _too_many() -> None:
    with ThreadPoolExecutor(1) as executor:
        async with Crew(executor, run_counting, [1, 1]) as crew:
            await crew.ready()

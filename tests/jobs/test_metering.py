"""Metrics while a scenario runs: what its workers do is added up, and the verdicts wait to be seen."""

from __future__ import annotations

import os
import socket
import threading
import time
import urllib.request
from dataclasses import replace

import msgspec
import pytest

from eventmark.errors import CannotRunError
from eventmark.jobs.metering import _Scrapes, metered
from eventmark.operations.forks import ForkTask, run_fork
from eventmark.results.results import Figure, RunResult
from eventmark.server import Server
from eventmark.stores import METRICS_VARIABLE
from eventmark.workers import call, worker_processes
from tests.operations.test_benchmark import EVENTS, PROFILE, _sample


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def count_of(text: str, operation: str) -> float:
    start = f'eventmark_operation_seconds_count{{operation="{operation}",outcome="ok"}} '
    return next(
        (float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start)), 0.0
    )


def test_operations_of_all_workers_are_added_up_and_the_log_s_head_is_shown(
    server: Server, corpus: str
) -> None:
    port = free_port()
    task = ForkTask(
        dsn=corpus, store="eaf", schema="eventmark", operation="read_snapshot", sample=_sample(corpus, "eaf"),
        profile=PROFILE, seed=1,
    )  # fmt: skip
    with (
        metered(replace(server, dsn=corpus), "eventmark", port),
        worker_processes(1, fresh=True) as executor,
    ):
        calls = sum(call(executor, run_fork, replace(task, seed=number)).calls for number in (1, 2))
        head, deadline_s = (
            f"eventmark_head_position {float(EVENTS)}",
            time.monotonic() + 60,
        )  # bound: ends a test that would hang
        while head not in (text := scraped(port)) and time.monotonic() < deadline_s:
            time.sleep(0.1)
    assert count_of(text, "read_snapshot") == calls
    assert head in text
    assert METRICS_VARIABLE not in os.environ
    with pytest.raises(OSError):
        scraped(port)


def test_verdicts_and_figures_wait_for_one_more_scrape_where_somebody_scrapes(
    server: Server, database: str, minimal_result: RunResult
) -> None:
    port = free_port()
    result = msgspec.structs.replace(
        minimal_result, figures={"capacity_appends_per_s": Figure(value=123.0, unit="appends/s")}
    )
    seen: list[str] = []
    with metered(replace(server, dsn=database), "eventmark", port) as metering:
        scraped(port)
        scraper = threading.Timer(0.3, lambda: seen.append(scraped(port)))
        scraper.start()
        metering.finish(result)
        scraper.join()
    assert 'eventmark_verdict{part="run",verdict="MET"} 1.0' in seen[0]
    assert 'eventmark_figure{name="capacity_appends_per_s",unit="appends/s"} 123.0' in seen[0]


def test_a_run_that_nobody_scrapes_ends_at_once(
    server: Server, database: str, minimal_result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metered(replace(server, dsn=database), "eventmark", free_port()) as metering:
        monkeypatch.setattr(_Scrapes, "wait_for_another", lambda *_: pytest.fail("it waited"))
        metering.finish(minimal_result)


def test_a_port_that_is_taken_is_an_error_before_anything_runs(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotRunError, match=str(port)), metered(server, "eventmark", port):
            pytest.fail("it ran")

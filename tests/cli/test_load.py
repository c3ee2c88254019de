"""load, capacity and sweep on the command line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil
import pytest

from eventmark.cli import load
from eventmark.cli.main import run_command
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from tests.cli.conftest import Command
from tests.cli.test_endings import DEADLINE_S, end, started, whole_group
from tests.database import fetch

EVENTS = ("--events", "10k", "--profile", "quick")


@pytest.mark.long
def test_load_writes_its_reports_and_a_flame_graph_of_each_worker_beside_them(
    command: Command, database: str, tmp_path: Path
) -> None:
    rate = ("--rate", "60", "--workers", "2", "--profiler", "cpu")
    done = command("load", *EVENTS, "--server", database, *rate)
    result = read_result(tmp_path / "out" / "result.json")
    assert result.verdict in (Verdict.INCONCLUSIVE, Verdict.BROKEN)  # never MET under a profiler
    assert done.code == {Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}[result.verdict]
    names = {path.name for path in (tmp_path / "out").glob("profile-*")}
    assert "profile-cpu-00-parent.html" in names
    assert sum(name.endswith("-load_worker.html") for name in names) == 2
    assert "Bottleneck" in done.out
    assert all(name in done.err for name in names)


@pytest.mark.parametrize("verb", ["capacity", pytest.param("sweep", marks=pytest.mark.long)])
def test_capacity_and_sweep_end_within_seconds_with_what_they_found(
    command: Command, database: str, tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(load._LENGTHS["quick"], probe_s=0.2, confirm_s=0.5, confirm_max_s=1.0, probes_max=2)
    monkeypatch.setitem(load._LENGTHS, "quick", short)
    done = command(verb, *EVENTS, "--server", database, "--mix", "append_events[1]=1")
    result = read_result(tmp_path / "out" / "result.json")
    assert done.code == {Verdict.MET: 0, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}[result.verdict]
    assert result.sections[0].name == verb
    assert result.figures["corpus_events"].value == 10_000


def test_a_load_that_is_interrupted_ends_at_once_and_leaves_no_process(database: str, tmp_path: Path) -> None:
    process = started(
        "load", *EVENTS, "--server", database, "--schema", "interrupted", "--seconds", "600", at=tmp_path
    )
    until(lambda: events_of(database) > 10_000 or process.poll() is not None)
    whole_group(process)
    said = end(process)
    assert process.returncode == 4, said
    assert "interrupted" in said
    assert "Traceback" not in said
    until(lambda: not _alive(process.pid))


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S  # bound: ends a test that would hang
    while not condition():
        assert time.monotonic() < deadline_s, "it did not become so"
        time.sleep(0.1)


def events_of(dsn: str) -> int:
    """How many are stored; none as long as there is no table."""
    try:
        return int(fetch(dsn, "select count(*) from interrupted.domain_events"))
    except asyncpg.UndefinedTableError:
        return 0


def _alive(group: int) -> list[int]:
    """The processes of a group that run; one that nobody has reaped yet does not."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_a_target_of_a_statement_that_is_not_in_the_mix_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "orders.sql").write_text("select 1")
    done = command("load", "--mix", "orders.sql=1", "--target", "order.sql=p95<20ms")
    assert done.code == 2
    assert "--target: unknown statement 'order.sql', did you mean 'orders.sql'?" in done.err


def test_statements_of_ones_own_stand_in_the_settings_with_their_targets(
    command: Command, database: str, tmp_path: Path
) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "orders.sql").write_text(
        "select count(*) from domain_events where global_sequence_id < 100"
    )
    (tmp_path / "eventmark.toml").write_text(
        'target = ["orders.sql=p50<30s"]\n[load]\nmix = "read_snapshot=1, sql/orders.sql=1"\n'
    )
    done = command(
        "load",
        "--events",
        "20k",
        "--profile",
        "quick",
        "--server",
        database,
        "--rate",
        "60",
        "--seconds",
        "2",
    )
    assert "orders.sql" in done.out and "Traceback" not in done.err
    found = read_result(tmp_path / "out" / "result.json").operations["orders.sql"]
    assert (found.target_quantile, found.target_ms, found.failed) == ("p50", 30_000.0, 0)
    assert found.samples > 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("load", "--mix", "append_event[1]=1"), "did you mean"),
        (("load", "--mix", "sql/gone.sql=1"), "sql/gone.sql:1: there is no such file"),
        (("capacity", "--mix", "gone.sql=1"), "gone.sql:1: there is no such file"),
        (("sweep", "--mix", "gone.sql=1"), "gone.sql:1: there is no such file"),
        (("soak", "--mix", "gone.sql=1"), "gone.sql:1: there is no such file"),
        (("isolate", "--mix", "gone.sql=1"), "gone.sql:1: there is no such file"),
        (("load", "--rate", "0"), "above 0"),
        (("load", "--rate", "-5"), "above 0"),
        (("load", "--arrivals", "poisson-like"), "unknown arrivals"),
        (("load", "--users", "-1"), "users must be from 0"),
        (("load", "--think-ms", "5"), "needs --users"),
        (("load", "--stages", "30s"), "'30s' is not a stage"),
        (("load", "--stages", "30s:0"), "above 0"),
        (("load", "--stages", "1s:5", "--rate", "5"), "--stages has its own rate and length: --rate"),
        (("load", "--stages", "1s:5", "--seconds", "5"), "--stages has its own rate and length: --seconds"),
        (("load", "--stages", "1s:5", "--users", "5"), "--stages has its own rate and length: --users"),
        (("load", "--pool", "0"), "pool must be from 1"),
        (("load", "--workers", "100"), "workers must be from 1"),
        (("load", "--seconds", "0"), "--seconds must be 1 or more"),
        (("load", "--contended-percent", "101"), "contended share"),
        (("load", "--profiler", "gpu"), "unknown profiler"),
        (("sweep", "--mix", "nothing"), "is not a part of a mix"),
        (("capacity", "--rate", "-1"), "above 0"),
    ],
)
def test_bad_input_is_one_clear_line_before_anything_starts(
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert said in told
    assert not (tmp_path / ".eventmark").exists()

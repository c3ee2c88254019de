"""A history: read from a folder or a branch, what is not comparable left out, changes shown with their commit."""

from __future__ import annotations

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from eventmark.errors import UsageError
from eventmark.git import commit_places
from eventmark.history import (
    FailOn,
    KeptRun,
    entry_of,
    find_trends,
    judge_trends,
    read_branch,
    read_jmh,
    read_runs,
    read_table,
    trend_result,
    write_otava,
)
from eventmark.report.html import render_html
from eventmark.report.jmh import render_jmh
from eventmark.report.markdown import render_markdown
from eventmark.results.files import write_result
from eventmark.results.results import Figure, RunResult, Verdict
from tests.history.builders import APPEND, changed, corpus, operation, result


def history(values_ms: list[float], **how: float) -> list[RunResult]:
    return [
        result(
            {APPEND: operation((value, value), work={"rows": 1.0, **how})}, run_id=f"run-{number}",
            at=f"2026-11-{number // 24 + 1:02d}T{number % 24:02d}:00:00+00:00", revision=f"{number:040x}",
        )
        for number, value in enumerate(values_ms)
    ]  # fmt: skip


def runs_of(results: list[RunResult]) -> list[KeptRun]:
    return [KeptRun(Path(f"{one.run_id}.json"), one, one.environment.host.revision) for one in results]


def stepped(runs: int = 24, at: int = 16, ratio: float = 1.4) -> list[float]:
    values = np.exp(np.random.default_rng(1).normal(0, 0.02, runs))
    values[at:] *= ratio
    return [float(value) for value in values]


def test_a_step_for_the_worse_is_broken_and_shown_with_its_commit() -> None:
    trends = find_trends([entry_of(run) for run in runs_of(history(stepped()))])
    verdict, reasons = judge_trends(trends)
    assert verdict is Verdict.BROKEN
    assert all(f"commit {16:040x}"[:19] in reason and "confidence 99" in reason for reason in reasons)
    assert {reason.partition(":")[0] for reason in reasons} == {f"{APPEND} p50", f"{APPEND} p95"}


def test_a_step_for_the_better_is_met_and_shown() -> None:
    trends = find_trends([entry_of(run) for run in runs_of(history(stepped(ratio=0.6)))])
    assert judge_trends(trends)[0] is Verdict.MET
    assert any(trend.changes.steps for trend in trends.trends)


def test_a_step_of_long_ago_is_reported_and_no_longer_counts() -> None:
    entries = [entry_of(run) for run in runs_of(history(stepped(runs=60, at=20)))]
    assert judge_trends(find_trends(entries, recent=10))[0] is Verdict.MET
    assert judge_trends(find_trends(entries, recent=50))[0] is Verdict.BROKEN


def test_a_slow_drift_is_broken_as_long_as_it_lasts() -> None:
    values = np.exp(np.random.default_rng(2).normal(0, 0.01, 40) + np.linspace(0, 0.3, 40))
    trends = find_trends([entry_of(run) for run in runs_of(history([float(one) for one in values]))])
    verdict, reasons = judge_trends(trends)
    assert verdict is Verdict.BROKEN
    assert "over 40 runs" in reasons[0]


def test_a_figure_is_worse_in_its_own_direction() -> None:
    results = [
        msgspec.structs.replace(one, figures={"rate": Figure(value=value, unit="appends/s", better="more")})
        for one, value in zip(history([1.0] * 24), stepped(ratio=0.7), strict=True)
    ]
    verdict, reasons = judge_trends(find_trends([entry_of(run) for run in runs_of(results)]))
    assert (verdict, reasons[0][:5]) == (Verdict.BROKEN, "rate:")


def test_counters_alone_can_be_asked() -> None:
    entries = [entry_of(run) for run in runs_of(history(stepped()))]
    assert judge_trends(find_trends(entries), FailOn.COUNTERS)[0] is Verdict.MET
    assert judge_trends(find_trends(entries), FailOn.SLOWER)[0] is Verdict.BROKEN
    assert judge_trends(find_trends(entries), FailOn.NEVER)[0] is Verdict.MET


def test_too_few_runs_cannot_tell() -> None:
    verdict, reasons = judge_trends(find_trends([entry_of(run) for run in runs_of(history([1.0, 5.0, 1.0]))]))
    assert verdict is Verdict.INCONCLUSIVE
    assert "3 comparable runs" in reasons[0]


def test_what_is_not_comparable_with_the_last_run_is_left_out() -> None:
    results = history([1.0] * 20)
    results[3] = msgspec.structs.replace(results[3], corpus=corpus(1_000_000))
    results[5] = changed(results[5], "host", cpu_model="Another")
    trends = find_trends([entry_of(run) for run in runs_of(results)])
    lengths = {
        trend.label: len(trend.values) for trend in trends.trends
    }  # of others with what tells them apart
    assert lengths[f"{APPEND} p50"] == 18
    assert lengths[f"{APPEND} rows"] == 19  # counters of another machine stay
    assert any("Fewer than 8 runs, and not judged: " in note and "1,000,000" in note for note in trends.notes)
    assert any("Another" in note for note in trends.notes)


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find_trends([])
    with pytest.raises(UsageError, match="no result"):
        read_runs(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        read_runs(tmp_path / "none")


def test_a_folder_is_read_in_the_order_of_time_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for number, one in enumerate(reversed(history([1.0, 2.0, 3.0]))):
        write_result(one, tmp_path / f"at{number}" / "result.json")
    (tmp_path / "jmh.json").write_text("[]")
    (tmp_path / "broken.json").write_text('{"format": "eventmark-result"')
    found = read_runs(tmp_path)
    assert [run.result.run_id for run in found.runs] == ["run-0", "run-1", "run-2"]
    assert list(found.damaged) == [
        str(tmp_path / "broken.json")
    ]  # ours once, and not to be passed over in silence
    trends = find_trends([entry_of(run) for run in found.runs], damaged=found.damaged)
    assert any("broken.json is damaged" in reason for reason in judge_trends(trends)[1])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A result written anew with each commit, and one that was removed again."""
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    for number, one in enumerate(history([1.0, 2.0, 3.0])):
        one = changed(one, "host", revision="" if number == 1 else f"{number:040x}")
        write_result(one, place / "results" / "latest.json")
        (place / "results" / "notes.txt").write_text(str(number))
        git(place, "add", "-A")
        git(place, "commit", "-q", "-m", f"run {number}")
    git(place, "rm", "-q", "-r", "results")
    git(place, "commit", "-q", "-m", "moved away")
    return place


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(place), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_branch_is_a_history_with_the_commit_of_each_result(repository: Path) -> None:
    runs = read_branch(repository, "main:results").runs
    assert [run.result.run_id for run in runs] == ["run-0", "run-1", "run-2"]
    assert runs[0].commit == f"{0:040x}"
    assert runs[1].commit == git(repository, "rev-parse", "main~2")  # the result does not tell: who wrote it
    assert [run.commit for run in read_branch(repository, "main:results/latest.json").runs] == [
        run.commit for run in runs
    ]


@pytest.mark.parametrize("named", ["main", "none:results", "main:nothing", "--all:results"])
def test_what_is_no_branch_or_holds_no_result_is_refused(repository: Path, named: str) -> None:
    with pytest.raises(UsageError):
        read_branch(repository, named)


def test_an_old_commit_that_was_measured_late_is_old(tmp_path: Path) -> None:
    """Backfilled: the newest commits are slower, and measured before the older ones."""
    git(tmp_path, "init", "-q", "-b", "main")
    for number in range(24):
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", f"{number}")
    commits = git(tmp_path, "rev-list", "--reverse", "HEAD").split()
    runs = runs_of(history([*stepped()[16:], *stepped()[:16]]))
    entries = [
        dataclasses.replace(entry_of(run), commit=commit)
        for run, commit in zip(runs, [*commits[16:], *commits[:16]], strict=True)
    ]
    assert judge_trends(find_trends(entries))[0] is Verdict.MET  # by time, it became faster
    found = find_trends(entries, commits=commit_places(tmp_path))
    verdict, reasons = judge_trends(found)
    assert verdict is Verdict.BROKEN
    assert commits[16][:12] in reasons[0]
    assert any("in the order of their commits" in note for note in found.notes)
    short = [dataclasses.replace(entry, commit=entry.commit[:9]) for entry in entries]
    assert judge_trends(find_trends(short, commits=commit_places(tmp_path)))[0] is Verdict.BROKEN
    short[3] = dataclasses.replace(short[3], commit="f" * 40)
    found = find_trends(short, commits=commit_places(tmp_path))
    assert judge_trends(found)[0] is Verdict.MET
    assert "1 of 24 commits are not in this repository" in found.notes[0]


def test_an_operation_that_is_gone_is_named_while_that_is_recent() -> None:
    results = [
        msgspec.structs.replace(
            one, operations=one.operations | ({"old": operation()} if number < 17 else {})
        )
        for number, one in enumerate(history([1.0] * 20))
    ]
    verdict, reasons = judge_trends(find_trends([entry_of(run) for run in runs_of(results)]))
    assert verdict is Verdict.INCONCLUSIVE
    assert reasons[0].startswith(
        "old p50: not measured in the last 3 of 20 runs; last on 2026-11-01 16:00:00, commit"
    )
    assert judge_trends(find_trends([entry_of(run) for run in runs_of(results)], recent=2))[0] is Verdict.MET


def test_a_run_that_lacks_an_operation_is_named_while_it_is_recent() -> None:
    for place, expected in ((18, Verdict.INCONCLUSIVE), (2, Verdict.MET)):
        results = history([1.0] * 20)
        results[place] = msgspec.structs.replace(results[place], operations={"other": operation()})
        verdict, reasons = judge_trends(
            find_trends([entry_of(run) for run in runs_of(results)]), FailOn.SLOWER
        )
        assert verdict is expected or place == 2
        assert any(f"run-{place}.json" in reason for reason in reasons) is (place == 18)


def test_every_report_shows_the_trends() -> None:
    results = history(stepped())
    trends = find_trends([entry_of(run) for run in runs_of(results)])
    shown = trend_result(results[-1], trends, command="eventmark trend results")
    assert shown.verdict is Verdict.BROKEN
    assert "confidence" in render_markdown(shown)
    assert '"mark"' in render_html(shown)


def test_otava_is_given_a_table_without_holes_and_reads_it_back(tmp_path: Path) -> None:
    results = history(stepped())
    results[4] = msgspec.structs.replace(results[4], operations={APPEND: operation()})  # without its counters
    entries = [entry_of(run) for run in runs_of(results)]
    table, settings = write_otava(entries, tmp_path)
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert len(rows) == 24
    assert set(rows[0]) == {"time", "commit", f"{APPEND} p50", f"{APPEND} p95"}
    assert all(all(row.values()) for row in rows)
    assert f'"{APPEND} p50"' in settings.read_text(encoding="utf-8")
    again = read_table(table)
    assert [entry.commit for entry in again] == [entry.commit for entry in entries]
    assert judge_trends(find_trends(again))[0] is Verdict.BROKEN


@pytest.mark.long
def test_otava_itself_finds_the_step_at_the_same_commit(tmp_path: Path) -> None:
    """In an environment of its own: it pins the version of numpy that it needs."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    programs = tmp_path / "venv" / "bin"
    installed = subprocess.run(
        [programs / "pip", "install", "-q", "apache-otava==0.8.0"], capture_output=True, check=False
    )
    if installed.returncode:
        pytest.skip("apache-otava cannot be installed here")
    _, settings = write_otava([entry_of(run) for run in runs_of(history(stepped()))], tmp_path)
    done = subprocess.run(
        [programs / "otava", "analyze", "eventmark", "--since", "2020-01-01"], capture_output=True, text=True,
        check=True, env={**os.environ, "OTAVA_CONFIG": str(settings)},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    step = next(place for place, line in enumerate(lines) if "+38" in line or "+39" in line)
    assert f"{16:040x}" in lines[step + 2]


def test_a_table_of_otavas_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("commit,metric\nabc,1\n")
    with pytest.raises(UsageError, match="column called time"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path / "none.csv")


def test_what_we_write_for_jmhs_readers_is_read_as_theirs(tmp_path: Path) -> None:
    (tmp_path / "jmh.json").write_text(render_jmh(history([1.0])[0]))
    entry = read_jmh(tmp_path / "jmh.json")
    (p50, p95) = (one for name, one in entry.measurements.items() if name.endswith(("p50", "p95")))
    assert (p50.unit, p50.better) == ("ms/op", "less")
    assert p50.value < p95.value


def test_a_benchmark_of_jmhs_own_is_read_by_its_mode(tmp_path: Path) -> None:
    metric = (
        '{"score": 812.5, "scoreError": "NaN", "scoreUnit": "ops/s", "scorePercentiles": {"50.0": 811.0}}'
    )
    (tmp_path / "a.json").write_text(
        f'[{{"benchmark": "com.acme.Append.one", "mode": "thrpt", "params": {{"n": "10"}}, "primaryMetric": {metric}}}]'
    )
    (measurement,) = read_jmh(tmp_path / "a.json").measurements.items()
    assert measurement[0] == "com.acme.Append.one(n=10) thrpt"
    assert (measurement[1].value, measurement[1].better) == (812.5, "more")


@pytest.mark.parametrize("content", ["{}", "[]", "nonsense", '[{"benchmark": 1}]'])
def test_what_is_no_result_of_jmhs_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UsageError):
        read_jmh(tmp_path / "a.json")

"""compare, trend and a run's baseline on the command line: exit codes, files, what a CI is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from eventmark.cli.main import run_command
from eventmark.cli.publish import announce, check_published, held_against_baseline
from eventmark.config import Settings
from eventmark.errors import CannotRunError, UsageError
from eventmark.report.annotations import ANNOTATIONS_MAX, render_annotations
from eventmark.results.files import read_result, write_result
from eventmark.results.results import RunResult, Verdict
from tests.history.builders import APPEND, changed, operation, plan, result
from tests.history.imported import benchmark, jmh_files, levels, table
from tests.history.test_trends import history, stepped


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def eventmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command line in this process, in a folder."""

    def run(*arguments: str, at: Path, github: str = "") -> Done:
        monkeypatch.chdir(at)
        monkeypatch.setenv("GITHUB_ACTIONS", github)
        code = run_command(arguments)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


Eventmark = Callable[..., Done]


def written(at: Path, name: str, one: RunResult) -> str:
    write_result(one, at / name)
    return name


@pytest.fixture
def files(tmp_path: Path) -> Path:
    steady = (1.0, 1.004, 0.996, 1.002, 0.998)
    written(tmp_path, "base.json", result({APPEND: operation(steady)}))
    written(tmp_path, "same.json", result({APPEND: operation(steady)}, run_id="two"))
    written(
        tmp_path, "slower.json", result({APPEND: operation(tuple(2 * one for one in steady))}, run_id="two")
    )
    written(tmp_path, "noisy.json", result({APPEND: operation((1.0, 2.0, 0.5, 1.5, 0.7))}, run_id="two"))
    written(tmp_path, "other.json", result({APPEND: operation(steady)}, seed=7))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("base.json", "same.json"), 0, "same"),
        (("base.json", "slower.json"), 1, "slower"),
        (("base.json", "slower.json", "--fail-on", "counters"), 3, "nothing was measured"),
        (("base.json", "slower.json", "--fail-on", "never"), 0, "slower"),
        (("base.json", "slower.json", "--slowdown", "300%"), 0, "same"),
        (("base.json", "noisy.json"), 3, "cannot tell"),
        (("base.json", "other.json"), 2, "not comparable: seed: 1 before, 7 now"),
        (("base.json", "none.json"), 2, "none.json"),
        (("base.json", "same.json", "--fail-on", "sometimes"), 2, "any, slower, counters, never"),
        (("base.json", "same.json", "--slowdown", "-3"), 2, "not a share"),
    ],
)
def test_compare_has_an_exit_code_for_each_ending(
    eventmark: Eventmark, files: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = eventmark("compare", *arguments, at=files)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_a_comparison_is_written_beside_nothing_of_a_runs_own_and_printed_as_json(
    eventmark: Eventmark, files: Path
) -> None:
    done = eventmark("compare", "base.json", "slower.json", "--out", "compared", "--json", at=files)
    document = json.loads(done.stdout)
    assert document["operations"][APPEND]["outcome"] == "slower"
    assert json.loads((files / "compared" / "comparison.json").read_text()) == document
    assert not (files / "compared" / "result.json").exists()
    assert "slower" in (files / "compared" / "report.html").read_text()
    assert 'failures="1"' in (files / "compared" / "junit.xml").read_text()
    reported = eventmark("report", "compared/comparison.json", at=files)
    assert (reported.returncode, "its pages stand next to it: eventmark compare" in reported.stderr) == (
        2,
        True,
    )


def test_a_ci_gets_a_summary_added_to_its_file_and_annotations(eventmark: Eventmark, files: Path) -> None:
    (files / "summary.md").write_text("before\n")
    done = eventmark(
        "compare", "base.json", "slower.json", "--summary", "summary.md", at=files, github="true"
    )
    summary = (files / "summary.md").read_text()
    assert summary.startswith("before\n")
    assert "BROKEN" in summary
    assert f"::error title=Eventmark%3A BROKEN::{APPEND}: p50 is 2.00 × the base's" in done.stdout
    beside = eventmark("compare", "base.json", "slower.json", "--json", at=files, github="true")
    assert json.loads(beside.stdout)
    assert "::error" in beside.stderr


def test_an_annotation_cannot_begin_a_command_of_its_own() -> None:
    hostile = result(verdict=Verdict.BROKEN, reasons=["100% slow\n::set-output name=x::y\r", *["x"] * 20])
    text = render_annotations(hostile)
    assert text.count("\n") == ANNOTATIONS_MAX
    assert all(line.startswith("::error title=Eventmark%3A BROKEN::") for line in text.splitlines())
    assert "100%25 slow ::set-output" in text
    assert "and 12 more" in text
    assert render_annotations(result(verdict=Verdict.MET)).startswith("::notice")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for one in history(stepped()):
        write_result(one, tmp_path / "results" / f"{one.run_id}.json")
    return tmp_path


def test_trend_shows_the_commit_and_writes_what_otava_reads(eventmark: Eventmark, folder: Path) -> None:
    done = eventmark("trend", "results", "--otava", "otava", "--out", "trends", at=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"commit {16:040x}"[:19] in done.stdout
    assert {path.name for path in (folder / "otava").iterdir()} == {"eventmark.csv", "otava.yaml"}
    assert json.loads((folder / "trends" / "trends.json").read_text())["runs"] == 24
    again = eventmark("trend", "--import", "otava/eventmark.csv", at=folder)
    assert again.returncode == 1
    assert "verdict: BROKEN" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("results", "--fail-on", "never"), 0, "step"),
        (("results", "--recent", "2"), 0, "step"),
        (("results", "--recent", "0"), 2, "--recent"),
        (("none",), 2, "is not a folder"),
        ((), 2, "history is empty"),
        (("results", "--branch", "main:results"), 2, "a folder and a branch"),
        (("--branch", "main:results"), 2, "no git repository"),
        (("--import", "none.csv"), 2, "none.csv"),
    ],
)
def test_trend_has_an_exit_code_for_each_ending(
    eventmark: Eventmark, folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = eventmark("trend", *arguments, at=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_files_a_folder_and_a_branch_of_a_table_are_imported(eventmark: Eventmark, tmp_path: Path) -> None:
    files = jmh_files(tmp_path / "jmh", [[benchmark(value)] for value in levels((9, 1.0), (5, 1.3))])
    for arguments in (["--import", *map(str, files)], ["--import", "jmh"]):
        done = eventmark("trend", *arguments, at=tmp_path)
        assert (done.returncode, "since jmh-9.json" in done.stdout) == (1, True)
    columns = {"branch": ["main", "x"] * 30, "append_ms": levels((44, 1.0), (16, 1.5))}
    table(tmp_path / "a.csv", columns)
    done = eventmark("trend", "--import", "a.csv", "--branch", "main", at=tmp_path)
    assert (done.returncode, "\n  append_ms: " in done.stdout) == (1, True)
    done = eventmark("trend", "--import", "a.csv", "--branch", "dev", at=tmp_path)
    assert (done.returncode, "branches are main, x" in done.stderr) == (2, True)


def test_a_rename_is_shown_by_a_flag_or_the_settings_file(eventmark: Eventmark, tmp_path: Path) -> None:
    values = levels((8, 1.0), (22, 1.5))
    columns = {"my-append(n=1)": [*values[:15], *[""] * 15], "append": [*[""] * 15, *values[15:]]}
    table(tmp_path / "a.csv", columns)
    plain = eventmark("trend", "--import", "a.csv", "--recent", "25", at=tmp_path)
    assert (plain.returncode, "not measured in the last 15 of 30 runs" in plain.stdout) == (1, False)
    assert eventmark("trend", "--import", "a.csv", at=tmp_path).returncode == 0
    told = ("trend", "--import", "a.csv", "--json")
    by_flag = eventmark(*told, "--rename", "my-append(n=1)=append", at=tmp_path)
    (tmp_path / "eventmark.toml").write_text('[renames]\n"my-append(n=1)" = "append"\n')
    by_file = eventmark(*told, at=tmp_path)
    for done in (by_flag, by_file):
        assert [len(trend["values"]) for trend in json.loads(done.stdout)["trends"]] == [30]
    (tmp_path / "eventmark.toml").write_text('[renames]\n"old" = 1\n')
    assert "[renames]" in eventmark(*told, at=tmp_path).stderr


def test_a_short_history_passes_where_that_is_asked_for(eventmark: Eventmark, tmp_path: Path) -> None:
    for one in history([1.0, 1.0]):
        write_result(one, tmp_path / "results" / f"{one.run_id}.json")
    assert eventmark("trend", "results", at=tmp_path).returncode == 3
    done = eventmark("trend", "results", "--few-ok", at=tmp_path)
    assert (done.returncode, "nothing to compare yet: 2 comparable runs" in done.stdout) == (0, True)


def test_a_run_is_held_against_its_baseline(tmp_path: Path) -> None:
    base = result(plans=[plan()])
    settings = Settings(baseline=str(tmp_path / written(tmp_path, "base.json", base)))
    worse = result(run_id="two", plans=[plan(seq_scans=1.0)])
    held = held_against_baseline(settings, worse)
    assert held.verdict is Verdict.BROKEN
    assert held.sections[-1].name == "comparison"
    assert any(reason.startswith("baseline: plans of load_aggregate") for reason in held.reasons)
    assert held_against_baseline(settings, msgspec.structs.replace(base, run_id="two")).verdict is Verdict.MET
    assert held_against_baseline(Settings(), worse) is worse


def test_what_is_undecided_fails_unless_only_what_is_slower_is_to_fail(
    eventmark: Eventmark, tmp_path: Path
) -> None:
    noisy = (1.0, 1.6, 0.7, 1.3, 0.9)
    written(tmp_path, "base.json", result({APPEND: operation(noisy)}))
    written(
        tmp_path, "now.json", result({APPEND: operation(tuple(1.1 * one for one in noisy))}, run_id="two")
    )
    codes = {
        how: eventmark("compare", "base.json", "now.json", "--fail-on", how, at=tmp_path).returncode
        for how in ("any", "slower", "never")
    }
    assert codes == {"any": 3, "slower": 0, "never": 0}
    assert eventmark("compare", "base.json", "base.json", at=tmp_path).returncode == 0
    now = read_result(tmp_path / "now.json")
    for how, verdict in (("any", Verdict.INCONCLUSIVE), ("slower", Verdict.MET)):
        settings = Settings(baseline=str(tmp_path / "base.json"), fail_on=how)
        assert held_against_baseline(settings, now).verdict is verdict


def test_a_baseline_that_is_not_comparable_takes_the_certainty_and_keeps_the_run(tmp_path: Path) -> None:
    base = changed(result(), "server", version_num=150004)
    settings = Settings(baseline=str(tmp_path / written(tmp_path, "base.json", base)))
    held = held_against_baseline(settings, result(run_id="two"))
    assert held.verdict is Verdict.INCONCLUSIVE
    assert "PostgreSQL: 15 before, 18 now" in held.reasons[-1]
    write_result(held, tmp_path / "held.json")
    assert read_result(tmp_path / "held.json").operations.keys() == {APPEND}


def test_what_is_wrong_with_a_baseline_is_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.json"):
        check_published(Settings(baseline=str(tmp_path / "none.json")))
    with pytest.raises(UsageError, match="--fail-on"):
        check_published(Settings(fail_on="sometimes"))
    with pytest.raises(CannotRunError, match="--summary"):
        announce(Settings(summary=str(tmp_path / "no" / "summary.md")), result())

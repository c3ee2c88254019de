"""Tables and JMH's files as histories: what belongs together is one course, and nothing passes unjudged."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventmark.errors import UsageError
from eventmark.history import Entry, FailOn, Trends, find_trends, judge_trends, read_jmh_files, read_table
from eventmark.history.times import read_times
from eventmark.history.trend_section import trend_section
from eventmark.history.trends import trends_exit_code
from eventmark.results.results import Verdict
from tests.history.imported import BENCHMARK, benchmark, jmh_files, levels, table

STEADY = [(40, 1.0)]
DOUBLED = [(30, 1.0), (10, 2.0)]
NO_NUMBERS = ["NaN", "nan", "Infinity", "-inf", "n/a", "null", "1e400", "1_000", "-"]


def verdict_of(entries: list[Entry], **how: object) -> tuple[Verdict, str]:
    verdict, reasons = judge_trends(find_trends(entries, **how))  # type: ignore[arg-type]
    return verdict, "\n".join(reasons)


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_a_cell_that_is_no_number_is_named_and_hides_no_step(tmp_path: Path, cell: str) -> None:
    for parts, expected in ((STEADY, Verdict.INCONCLUSIVE), (DOUBLED, Verdict.BROKEN)):
        values: list[object] = list(levels(*parts))
        values[12] = cell
        verdict, said = verdict_of(read_table(table(tmp_path / "a.csv", {"append_ms": values})))
        assert verdict is expected
        assert "append_ms" in said
        assert f"{cell!r} is not a number" in said
        assert "a.csv, line 14" in said


def test_an_empty_cell_and_a_row_that_ends_early_are_named(tmp_path: Path) -> None:
    values: list[object] = list(levels(*STEADY))
    values[12] = ""
    verdict, said = verdict_of(read_table(table(tmp_path / "a.csv", {"append_ms": values})))
    assert (verdict, said) == (Verdict.INCONCLUSIVE, f"append_ms: no value ({tmp_path / 'a.csv'}, line 14)")
    lines = table(tmp_path / "b.csv", {"append_ms": levels(*STEADY)}).read_text().splitlines()
    lines[5] = lines[5].rpartition(",")[0]
    (tmp_path / "b.csv").write_text("\n".join(lines))
    assert "line 6" in verdict_of(read_table(tmp_path / "b.csv"))[1]


def test_a_column_without_any_number_that_can_be_judged_is_named(tmp_path: Path) -> None:
    made = table(tmp_path / "a.csv", {"append_ms": ["NaN"] * 40, "load_ms": levels(*STEADY)})
    verdict, said = verdict_of(read_table(made))
    assert verdict is Verdict.INCONCLUSIVE
    assert "append_ms: 'NaN' is not a number" in said
    assert "and 39 more" in said


def test_a_huge_number_is_a_number(tmp_path: Path) -> None:
    made = table(tmp_path / "a.csv", {"append_ms": [*levels((30, 1.0)), *[1e300] * 10]})
    assert verdict_of(read_table(made))[0] is Verdict.BROKEN


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("time,a,a\n2025-01-01,1,2\n", "two columns called 'a'"),
        ("Time,time,a\n2025-01-01,2025-01-01,2\n", "two columns called 'time'"),
        ("time,a\n2025-01-01,1,5\n", "line 2: 3 cells"),
        ("time,a\nyesterday,1\n", "line 2: 'yesterday' is not a time"),
        ("time,a\n,1\n", "line 2: '' is not a time"),
        ("time,a\n03/04/2025,1\n", "ambiguous"),
        ("time,a\n2025-01-01,x\n", "no column of numbers"),
        ("time,a\n", "no rows"),
        ("", "no rows"),
        ("\0", "no"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UsageError) as refused:
        read_table(tmp_path / "a.csv")
    assert said in refused.value.message
    assert "a.csv" in refused.value.message
    assert refused.value.remedy


def test_texts_an_index_and_a_runs_own_name_are_passed_over(tmp_path: Path) -> None:
    columns = {
        "": range(40),
        "message": [f"fix {n}" for n in range(40)],
        "name": [f"run {n}" for n in range(40)],
    }
    made = table(tmp_path / "a.csv", {**columns, "append_ms": levels(*DOUBLED)})
    found = find_trends(read_table(made))
    assert [trend.label for trend in found.trends] == ["append_ms"]
    assert judge_trends(found)[0] is Verdict.BROKEN


def test_a_table_with_semicolons_is_read_and_its_commas_are_named(tmp_path: Path) -> None:
    made = table(tmp_path / "a.csv", {"append_ms": levels(*DOUBLED)})
    made.write_text(made.read_text().replace(",", ";"), encoding="utf-8-sig")
    assert verdict_of(read_table(made))[0] is Verdict.BROKEN
    made.write_text(made.read_text("utf-8-sig").replace(".", ","))
    with pytest.raises(UsageError, match="no column of numbers"):
        read_table(made)


def in_turns(*columns: list[float]) -> list[float]:
    return [value for row in zip(*columns, strict=True) for value in row]


@pytest.mark.parametrize("column", ["branch", "machine", "host", "benchmark", "profile", "Store"])
def test_runs_that_a_column_distinguishes_are_courses_of_their_own(tmp_path: Path, column: str) -> None:
    """One is 30% slower of late, the other wanders between the two."""
    wandering = [1.6 + 0.05 * (-1) ** run for run in range(30)]
    mine = levels((22, 1.0), (8, 1.3))
    made = table(tmp_path / "a.csv", {column: ["other", "main"] * 30, "append_ms": in_turns(wandering, mine)})
    verdict, said = verdict_of(read_table(made))
    assert verdict is Verdict.BROKEN
    assert said.count("append_ms") == 1
    assert "+3" in said
    assert "commit c002d" in said


def test_a_branch_that_is_no_longer_run_is_reported_and_does_not_count(tmp_path: Path) -> None:
    branches = ["feature"] * 30 + ["main"] * 30
    values = levels((22, 1.0), (8, 2.0)) + levels((30, 1.0))
    found = find_trends(read_table(table(tmp_path / "a.csv", {"branch": branches, "append_ms": values})))
    assert judge_trends(found) == (Verdict.MET, [])
    assert "No longer run, and not judged: 1 of CSV, feature, CSV." in found.notes


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [("us/op", "ns/op", 1e-3), ("us/op", "ms/op", 1e3), ("ops/s", "ops/ms", 1e3), ("s/op", "us/op", 1e-6)],
)
def test_units_are_converted_and_hide_no_step(tmp_path: Path, before: str, after: str, share: float) -> None:
    mode = "thrpt" if before.startswith("ops") else "avgt"
    worse = 0.5 if mode == "thrpt" else 2.0
    for factor, expected in ((1.0, Verdict.MET), (worse, Verdict.BROKEN)):
        values = levels((20, 850.0), (6, 850.0 * factor))
        runs = [
            [benchmark(value if run < 20 else value / share, unit=before if run < 20 else after, mode=mode)]
            for run, value in enumerate(values)
        ]
        verdict, said = verdict_of(read_jmh_files(jmh_files(tmp_path / f"{factor}", runs)))
        assert verdict is expected, said


def test_a_table_with_a_column_of_units_is_converted(tmp_path: Path) -> None:
    values = [value if run < 30 else 1000 * value for run, value in enumerate(levels(*STEADY))]
    made = table(tmp_path / "a.csv", {"value": values, "unit": ["ms"] * 30 + ["us"] * 10})
    assert verdict_of(read_table(made)) == (Verdict.MET, "")


def test_modes_of_one_benchmark_are_distinguished_each_in_its_own_direction(tmp_path: Path) -> None:
    slower = levels((14, 1.0), (6, 2.0))
    runs = [
        [
            benchmark(10_000 / value, unit="ops/s", mode="thrpt"),
            benchmark(90 * value, mode="sample"),
            benchmark(12 * value, unit="ms/op", mode="ss"),
        ]
        for value in slower
    ]
    found = find_trends(read_jmh_files(jmh_files(tmp_path / "modes", runs)))
    verdict, reasons = judge_trends(found)
    assert verdict is Verdict.BROKEN
    assert {reason.partition(":")[0].rpartition(" ")[2] for reason in reasons} == {
        "thrpt",
        "p50",
        "p95",
        "ss",
    }


@pytest.mark.parametrize("score", ["NaN", float("nan"), float("inf"), None, "", "fast", True, 10**400])
def test_a_score_that_is_no_number_is_passed_over_and_named(tmp_path: Path, score: object) -> None:
    for parts, expected in (
        (((13, 1.0), (7, 1.0)), Verdict.INCONCLUSIVE),
        (((13, 1.0), (7, 2.0)), Verdict.BROKEN),
    ):
        runs = [[benchmark(score if run == 4 else value)] for run, value in enumerate(levels(*parts))]
        verdict, said = verdict_of(read_jmh_files(jmh_files(tmp_path / expected, runs)))
        assert verdict is expected
        assert "jmh-4.json" in said
        assert "is not a number" in said


def test_a_score_that_is_not_there_or_there_twice_is_named(tmp_path: Path) -> None:
    runs = [[benchmark(value)] for value in levels((20, 1.0))]
    del runs[4][0]["primaryMetric"]["score"]
    runs[7] *= 2
    assert verdict_of(read_jmh_files(jmh_files(tmp_path / "files", runs)))[0] is Verdict.INCONCLUSIVE
    found = find_trends(read_jmh_files(sorted((tmp_path / "files").iterdir())))
    assert [Path(one.place).name for one in found.unjudged] == ["jmh-4.json", "jmh-7.json"]
    (tmp_path / "files" / "jmh-3.json").write_text('[{"benchmark": "a", "benchmark": "b"}]')
    with pytest.raises(UsageError, match="'benchmark' is there twice"):
        read_jmh_files(sorted((tmp_path / "files").iterdir()))


def vanishing(folder: Path, runs: int, last: int) -> list[Entry]:
    both = zip(levels((runs, 12.0)), levels((runs, 850.0), seed=2), strict=True)
    made = [
        [benchmark(load, name="org.acme.load"), *([benchmark(append)] if run <= last else [])]
        for run, (load, append) in enumerate(both)
    ]
    return read_jmh_files(jmh_files(folder, made))


def test_a_benchmark_that_is_gone_is_named_and_not_met_while_that_is_recent(tmp_path: Path) -> None:
    verdict, said = verdict_of(vanishing(tmp_path / "late", 20, 16))
    assert verdict is Verdict.INCONCLUSIVE
    assert said == f"{BENCHMARK} avgt: not measured in the last 3 of 20 runs; last on jmh-16.json"
    found = find_trends(vanishing(tmp_path / "long", 40, 16))
    assert judge_trends(found) == (Verdict.MET, [])
    assert found.notes == [f"{BENCHMARK} avgt: not measured in the last 23 of 40 runs; last on jmh-16.json."]


def renamed_table(tmp_path: Path) -> Path:
    """50% slower at run 25, another name since run 30, and steady for 60 runs."""
    values = levels((25, 1.0), (65, 1.5))
    return table(
        tmp_path / "a.csv",
        {"append_ms": [*values[:30], *[""] * 60], "append_events_ms": [*[""] * 30, *values[30:]]},
    )


def test_a_step_of_a_name_that_ended_long_ago_no_longer_counts(tmp_path: Path) -> None:
    found = find_trends(read_table(renamed_table(tmp_path)))
    assert judge_trends(found) == (Verdict.MET, [])
    assert any(note.startswith("append_ms: not measured in the last 60 of 90 runs") for note in found.notes)


def test_a_rename_joins_a_name_that_ended_with_the_one_that_began(tmp_path: Path) -> None:
    entries = read_table(renamed_table(tmp_path))
    found = find_trends(entries, renames=[("append_ms", "append_events_ms")])
    (trend,) = found.trends
    assert (trend.name, len(trend.values), len(trend.changes.steps)) == ("append_events_ms", 90, 1)
    assert judge_trends(find_trends(entries, renames=[("append_ms", "append_events_ms")], recent=70))[0] is (
        Verdict.BROKEN
    )
    with pytest.raises(UsageError, match="would join them"):
        find_trends(read_table(table(tmp_path / "b.csv", {"a": [1, 2], "b": [1, 2]})), renames=[("a", "b")])
    assert "Renamed, and not in the history: aged." in find_trends(entries, renames=[("aged", "b")]).notes


def order(tmp_path: Path) -> list[Path]:
    """In the shell's order; 30% slower since jmh-9."""
    return jmh_files(tmp_path / "order", [[benchmark(value)] for value in levels((9, 850.0), (5, 1100.0))])


def test_files_are_in_the_order_of_their_numbers_whatever_their_times(tmp_path: Path) -> None:
    files = order(tmp_path)
    assert [path.name for path in files[:4]] == ["jmh-0.json", "jmh-1.json", "jmh-10.json", "jmh-11.json"]
    for times in (lambda place: 1735700000, lambda place: 1735700000 - place):
        for place, path in enumerate(files):
            os.utime(path, (times(place),) * 2)
        verdict, said = verdict_of(read_jmh_files(files))
        assert verdict is Verdict.BROKEN
        assert "since jmh-9.json" in said


def test_files_of_other_names_are_in_the_order_of_their_times_else_in_that_given(tmp_path: Path) -> None:
    files = order(tmp_path)
    named = [
        path.rename(path.with_name(f"{'abcdefghijklmn'[place]}.json")) for place, path in enumerate(files)
    ]
    for path, original in zip(named, files, strict=True):
        moment = 1735700000 + 86400 * int(original.stem.partition("-")[2])
        os.utime(path, (moment, moment))
    assert "since 2025-01-10" in verdict_of(read_jmh_files(named))[1]
    for path in named:
        os.utime(path, (1735700000,) * 2)
    assert [Path(entry.file) for entry in read_jmh_files(named)] == named


FORMS = {
    "ISO": ["2025-01-31T03:00:00Z", "2025-02-01T03:00:00+02:00"],
    "US": ["01/31/2025 3:00 AM", "02/01/2025 1:00 AM"],
    "Europe": ["31/01/2025 03:00", "01/02/2025 01:00"],
    "Germany": ["31.01.2025 03:00:00", "1.2.2025 01:00"],
    "seconds": ["1738292400", "1738371600"],
    "milliseconds": ["1738292400000", "1738371600000"],
    "git": ["Fri Jan 31 03:00:00 2025 +0000", "Sat Feb 1 03:00:00 2025 +0200"],
    "mixed": ["20250131T030000Z", "1738371600"],
}


@pytest.mark.parametrize("form", FORMS)
def test_times_of_every_form_are_read(form: str) -> None:
    times = read_times(FORMS[form], lambda number: f"row {number}")
    assert [f"{time:%d %H}" for time in times] == ["31 03", "01 01"]


@pytest.mark.parametrize(
    "cells",
    [["01/02/2025", "03/02/2025"], ["31/01/2025", "01/31/2025"], ["1/2/25"], ["45658.1"], ["31/02/2025"]],
)
def test_a_time_that_can_be_two_or_none_is_refused(cells: list[str]) -> None:
    with pytest.raises(UsageError, match="row 0"):
        read_times(cells, lambda number: f"row {number}")


@pytest.mark.parametrize("form", ["us", "europe", "seconds"])
def test_rows_are_in_the_order_of_time_not_of_text(tmp_path: Path, form: str) -> None:
    """Months that sort one after the other as texts, and a step in the middle of them."""
    written = {"us": "{m:02d}/{d:02d}/{y}", "europe": "{d:02d}/{m:02d}/{y}", "seconds": "{s}"}[form]
    days = [datetime(2024, 12, 20, tzinfo=UTC) + timedelta(days=run) for run in range(40)]
    times = [written.format(m=day.month, d=day.day, y=day.year, s=int(day.timestamp())) for day in days]
    made = table(tmp_path / "a.csv", {"append_ms": levels((32, 1.0), (8, 1.5))}, times=times)
    lines = made.read_text().splitlines()
    made.write_text("\n".join([lines[0], *sorted(lines[1:])]))
    verdict, said = verdict_of(read_table(made))
    assert verdict is Verdict.BROKEN
    assert f"since {days[32]:%Y-%m-%d}" in said


def test_a_drift_or_a_step_that_is_small_breaks_nothing(tmp_path: Path) -> None:
    small = [value * (1 + 0.06 * run / 40) for run, value in enumerate(levels((40, 1.0)))]
    entries = read_table(
        table(tmp_path / "a.csv", {"append_ms": small, "load_ms": levels((34, 1.0), (6, 1.06))})
    )
    found = find_trends(entries)
    assert judge_trends(found) == (Verdict.MET, [])
    assert all(trend.changes.drift or trend.changes.steps for trend in found.trends)
    assert judge_trends(find_trends(entries, slowdown=0.02))[0] is Verdict.BROKEN


def test_a_step_that_was_taken_back_is_met_and_one_half_taken_back_is_not(tmp_path: Path) -> None:
    back = table(tmp_path / "a.csv", {"append_ms": levels((30, 1.0), (5, 1.5), (5, 1.0))})
    assert verdict_of(read_table(back)) == (Verdict.MET, "")
    half = table(tmp_path / "b.csv", {"append_ms": levels((30, 1.0), (5, 1.8), (5, 1.4))})
    assert verdict_of(read_table(half))[0] is Verdict.BROKEN


def found_in(tmp_path: Path, values: list[object]) -> Trends:
    return find_trends(read_table(table(tmp_path / "a.csv", {"append_ms": values})))


def test_what_is_undecided_passes_only_where_that_is_asked_for(tmp_path: Path) -> None:
    short, gap = found_in(tmp_path, [1.0, 5.0, 1.0]), found_in(tmp_path, [*levels((12, 1.0)), "NaN"])
    codes = [
        trends_exit_code(short, how, few_ok=few)
        for how in (FailOn.ANY, FailOn.SLOWER)
        for few in (False, True)
    ]
    assert codes == [3, 0, 0, 0]
    assert trends_exit_code(gap, FailOn.ANY, few_ok=True) == 3
    assert judge_trends(short)[1] == ["nothing to compare yet: 3 comparable runs, and at least 8 are needed"]


def test_the_remedy_names_the_commits(tmp_path: Path) -> None:
    section = trend_section(found_in(tmp_path, list(levels(*DOUBLED))))
    assert "eventmark gate --base c001d --candidate c001e" in section.findings[0].remedy
    drift = [value * (1 + 0.5 * run / 40) for run, value in enumerate(levels((40, 1.0)))]
    section = trend_section(found_in(tmp_path, list(drift)))
    assert "no single commit" in section.findings[0].remedy
    assert [chart.title for chart in section.charts] == ["append_ms"]

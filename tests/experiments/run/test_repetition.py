"""Repeated plans: a verdict that changes is found, and one that stays is no finding."""

from __future__ import annotations

from eventmark.experiments.run.repetition import figures_of_runs, repetition_section
from eventmark.results.results import Finding, PlanResult, Verdict


def plan(
    condition: str, verdict: Verdict = Verdict.MET, *, buffers: float = 10, ms: float = 1.0
) -> PlanResult:
    return PlanResult(
        statement="load_aggregate", condition=condition, plan_kind="custom", verdict=verdict,
        findings=[Finding(name="pages", verdict=verdict, observed="", expected="")], parameters={}, query="",
        expected_index="", work={"buffers": buffers, "execution_ms": ms}, plan={},
    )  # fmt: skip


def test_one_verdict_every_time_is_met_whatever_the_clock_states() -> None:
    runs = [[plan("a", ms=1.0), plan("b")], [plan("a", ms=90.0), plan("b")]]
    section = repetition_section(runs)
    assert section.verdict is Verdict.MET
    figures = figures_of_runs(runs)
    assert figures["plan_verdicts_changed"].value == 0
    assert figures["plan_pages_spread_most"].value == 1.0
    assert figures["plan_time_spread_most"].value == 90.0


def test_a_plan_that_is_always_broken_is_stable_and_shown_as_broken() -> None:
    section = repetition_section([[plan("a", Verdict.BROKEN)], [plan("a", Verdict.BROKEN)]])
    assert section.verdict is Verdict.MET
    assert section.tables[0].rows[0][2] == "BROKEN"


def test_a_verdict_that_changes_once_is_found() -> None:
    runs = [[plan("a"), plan("b")] for _ in range(19)] + [[plan("a", Verdict.BROKEN, buffers=90), plan("b")]]
    section = repetition_section(runs)
    assert section.verdict is Verdict.BROKEN
    assert section.findings[0].observed == "a: 19 MET, 1 BROKEN"
    assert figures_of_runs(runs)["plan_verdicts_changed"].value == 1


def test_a_plan_that_was_missing_in_one_run_is_found() -> None:
    assert repetition_section([[plan("a"), plan("b")], [plan("a")]]).verdict is Verdict.BROKEN

"""Two results: what is not comparable is refused, counters count, times are judged by forks."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from eventmark.errors import UsageError
from eventmark.history import ChangeOutcome, FailOn, compare_results, encode_comparison, judge, result_of
from eventmark.history.comparison import Comparison
from eventmark.report.html import render_html
from eventmark.report.junit import render_junit
from eventmark.report.markdown import render_markdown
from eventmark.report.summary import verdict_sentence
from eventmark.results.results import Figure, RunResult, Verdict
from tests.history.builders import APPEND, changed, corpus, operation, plan, result

STEADY = (1.0, 1.004, 0.996, 1.002, 0.998)


def scaled(factor: float, forks: tuple[float, ...] = STEADY) -> tuple[float, ...]:
    return tuple(factor * one for one in forks)


def compared(base: RunResult, candidate: RunResult, **how: object) -> Comparison:
    return compare_results(base, candidate, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (result(corpus=corpus(100_000)), "events: 50,000 before, 100,000 now"),
        (result(corpus=None), "events"),
        (result(seed=2), "seed: 1 before, 2 now"),
        (result(profile="full"), "profile: quick before, full now"),
        (changed(result(), "store", schema_sha256="cd" * 32), "schema: abababababab before"),
        (changed(result(), "store", name="other"), "store: my-store before, other now"),
        (changed(result(), "server", version_num=150004), "PostgreSQL: 18 before, 15 now"),
        (result({"load_aggregate[1000]": operation()}), "nothing measured in common"),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(candidate: RunResult, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        compared(result(), candidate)
    assert said in refused.value.message
    assert refused.value.remedy


def test_everything_that_differs_is_named_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        compared(result(), changed(result(seed=3, profile="full"), "server", version_num=150004))
    assert all(part in refused.value.message for part in ("seed", "profile", "PostgreSQL"))


def test_another_schema_is_compared_on_purpose() -> None:
    other = changed(result(), "store", schema_sha256="cd" * 32, name="other")
    assert compared(result(), other, across_schemas=True).operations[APPEND].outcome is ChangeOutcome.SAME


def test_another_text_of_a_statement_is_refused_by_its_name_or_noted() -> None:
    base, other = (
        changed(result(), "store", own_statements={"orders.sql": sha * 32}) for sha in ("ab", "cd")
    )
    with pytest.raises(UsageError, match=r"text of orders\.sql: abababababab before, cdcdcdcdcdcd now"):
        compared(base, other)
    noted = "text of orders.sql: abababababab before, cdcdcdcdcdcd now"
    assert noted in compared(base, other, across_schemas=True).differences
    assert (
        compared(base, base).differences
        == compared(base, changed(base, "store", own_statements={})).differences
        == []
    )


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [
        (1.0, ChangeOutcome.SAME),
        (1.5, ChangeOutcome.SLOWER),
        (0.6, ChangeOutcome.FASTER),
        (1.02, ChangeOutcome.SAME),
    ],
)
def test_the_interval_of_the_ratio_decides(factor: float, outcome: ChangeOutcome) -> None:
    candidate = result({APPEND: operation(scaled(factor))}, run_id="two")
    assert compared(result({APPEND: operation(STEADY)}), candidate).operations[APPEND].outcome is outcome


def test_forks_that_lie_far_apart_cannot_tell_and_say_what_they_could_have() -> None:
    noisy = operation((1.0, 1.6, 0.7, 1.3, 0.9))
    change = compared(
        result({APPEND: noisy}), result({APPEND: operation(scaled(1.1, (1.0, 1.6, 0.7, 1.3, 0.9)))})
    )
    found = change.operations[APPEND]
    assert found.outcome is ChangeOutcome.CANNOT_TELL
    detectable = found.effects["p50"].detectable
    assert detectable is not None and detectable > 1.5
    assert f"only a slowdown to {detectable:.2f} × or more would have shown" in found.reason


def test_a_tail_that_grew_makes_an_operation_slower_though_its_middle_stayed() -> None:
    candidate = result({APPEND: operation(STEADY, p95=4.0)})
    found = compared(result({APPEND: operation(STEADY)}), candidate).operations[APPEND]
    assert found.outcome is ChangeOutcome.SLOWER
    assert found.reason.startswith("p95 is 2.00 × the base's")


def test_two_forks_a_side_find_what_is_large_and_one_finds_nothing() -> None:
    two, one = operation((1.0, 1.01)), operation((1.0,))
    assert (
        compared(result({APPEND: two}), result({APPEND: operation((2.0, 2.02))})).operations[APPEND].outcome
        is ChangeOutcome.SLOWER
    )
    single = compared(result({APPEND: one}), result({APPEND: operation((9.0,))})).operations[APPEND]
    assert single.outcome is ChangeOutcome.CANNOT_TELL
    assert "forks" in single.reason


def test_operations_alike_are_called_slower_no_more_often_than_all_intervals_together_allow() -> None:
    random = np.random.default_rng(3)

    def run() -> RunResult:
        return result({f"op{n}": operation(tuple(np.exp(random.normal(0, 0.05, 5)))) for n in range(10)})

    wrong = sum(
        any(
            one.outcome in (ChangeOutcome.SLOWER, ChangeOutcome.FASTER)
            for one in compared(run(), run()).operations.values()
        )
        for _ in range(150)
    )
    assert wrong <= 150 * 0.05 + 3 * np.sqrt(150 * 0.05)


def test_times_of_another_machine_are_left_alone_and_counters_are_not() -> None:
    work = {"rows": 1000.0, "shared_hit_buffers": 900.0}
    base = result({APPEND: operation(STEADY, work=work)})
    slower = operation(scaled(3.0), work=work | {"shared_hit_buffers": 2000.0})
    found = compared(base, changed(result({APPEND: slower}), "host", cpu_model="Another"))
    assert found.times_not_compared == ["processor: A processor before, Another now"]
    assert found.operations[APPEND].outcome is ChangeOutcome.NOT_COMPARED
    assert judge(found)[0] is Verdict.BROKEN
    assert "buffers 900 before, 2000 now" in judge(found)[1][0]
    assert judge(found, FailOn.SLOWER)[0] is Verdict.INCONCLUSIVE


def test_a_client_that_was_the_bottleneck_cannot_tell() -> None:
    found = compared(result(), result({APPEND: operation(scaled(3.0), bottleneck=True)}))
    assert found.operations[APPEND].outcome is ChangeOutcome.CANNOT_TELL
    assert "client" in found.operations[APPEND].reason


def test_operations_that_fail_now_are_worse_whatever_their_times() -> None:
    found = compared(result(), result({APPEND: operation(scaled(0.2), failed=3)}))
    assert found.operations[APPEND].outcome is ChangeOutcome.SLOWER


def test_another_mode_is_another_measurement() -> None:
    found = compared(result(), result({APPEND: operation(mode="open loop")}))
    assert found.operations[APPEND].outcome is ChangeOutcome.CANNOT_TELL


@pytest.mark.parametrize(
    ("candidate", "worse"),
    [
        (plan(), False),
        (plan(Verdict.BROKEN), True),
        (plan(seq_scans=1.0), True),
        (plan(buffers_per_row=1.2), False),
        (plan(buffers_per_row=40.0), True),
    ],
)
def test_a_plan_is_worse_by_what_it_does_or_by_what_the_judge_finds(candidate: object, worse: bool) -> None:
    found = compared(result(plans=[plan()]), result(plans=[candidate]))
    assert [one.worse for one in found.plans] == [worse]
    verdict, reasons = judge(found, FailOn.COUNTERS)
    assert verdict is (Verdict.BROKEN if worse else Verdict.MET)
    assert all("load_aggregate" in reason for reason in reasons)


def test_a_plan_that_was_broken_before_is_not_the_candidates_fault() -> None:
    found = compared(result(plans=[plan(Verdict.BROKEN)]), result(plans=[plan(Verdict.BROKEN)]))
    assert not found.plans[0].worse


def test_what_is_no_longer_measured_is_missed_and_what_is_new_is_reported() -> None:
    base = result({APPEND: operation(), "old": operation()})
    found = compared(base, result({APPEND: operation(), "new": operation()}))
    assert (found.gone, found.added) == (["old"], ["new"])
    assert judge(found)[0] is Verdict.BROKEN
    assert judge(found, FailOn.SLOWER)[0] is not Verdict.BROKEN


@pytest.mark.parametrize(
    ("base", "now", "outcome"),
    [
        (Figure(value=100, unit="rows", better="less", exact=True), 101, ChangeOutcome.SLOWER),
        (Figure(value=100, unit="rows", better="less", exact=True), 100, ChangeOutcome.SAME),
        (Figure(value=100, unit="rows", better="more", exact=True), 101, ChangeOutcome.FASTER),
        (Figure(value=100, unit="rows", exact=True), 150, ChangeOutcome.SAME),
        (Figure(value=100, unit="appends/s", better="more"), 150, ChangeOutcome.CANNOT_TELL),
        (Figure(value=100, unit="appends/s"), 150, ChangeOutcome.NOT_COMPARED),
        (Figure(value=100, unit="appends/s", low=98, high=102, better="more"), 50, ChangeOutcome.SLOWER),
        (Figure(value=100, unit="appends/s", low=98, high=102, better="more"), 200, ChangeOutcome.FASTER),
        (Figure(value=100, unit="ms", low=98, high=102, better="less"), 101, ChangeOutcome.SAME),
    ],
)
def test_figures_are_judged_by_their_direction_and_interval(
    base: Figure, now: float, outcome: ChangeOutcome
) -> None:
    share = now / base.value
    candidate = msgspec.structs.replace(
        base, value=now, low=base.low and base.low * share, high=base.high and base.high * share
    )
    found = compared(result(figures={"it": base}), result(figures={"it": candidate}))
    assert found.figures["it"].outcome is outcome, found.figures["it"].reason


@pytest.mark.parametrize("noisy", [(1.0, 1.6, 0.7, 1.3, 0.9), (1.0,)])
def test_a_result_compared_with_itself_is_met_however_noisy(noisy: tuple[float, ...]) -> None:
    figures = {"rate": Figure(value=100, unit="appends/s", better="more"), "note": Figure(value=1, unit="x")}
    base = result({APPEND: operation(noisy, failed=2)}, plans=[plan(Verdict.BROKEN)], figures=figures)
    for fail_on in (FailOn.ANY, FailOn.SLOWER, FailOn.COUNTERS):
        assert judge(compared(base, base), fail_on) == (Verdict.MET, [])
    assert compared(base, base).operations[APPEND].reason == "identical to the base"


def test_counters_and_plans_that_are_gone_are_named_and_not_met() -> None:
    base = result(
        {APPEND: operation(work={"rows": 1.0, "wal_bytes": 9.0})}, plans=[plan(), plan(condition="other")]
    )
    now = result({APPEND: operation(work={"rows": 1.0})}, plans=[plan()], run_id="two")
    verdict, reasons = judge(compared(base, now))
    assert verdict is Verdict.INCONCLUSIVE
    assert reasons == [
        f"work of {APPEND}: wal_bytes counted before, not now",
        "plans of load_aggregate: examined before under 2 conditions, now under 1 of them",
    ]


def test_what_is_undecided_stands_apart_from_what_broke() -> None:
    noisy = (1.0, 1.6, 0.7, 1.3, 0.9)
    base = result({"slow": operation(STEADY), "noisy": operation(noisy)})
    now = result({"slow": operation(scaled(2.0)), "noisy": operation(scaled(1.1, noisy))}, run_id="two")
    verdict, reasons = judge(compared(base, now))
    assert verdict is Verdict.BROKEN
    assert [reason.partition(" is ")[0] for reason in reasons] == ["slow: p50", "undecided: noisy: p50"]


def test_what_is_undecided_is_counted_among_all_that_was_compared() -> None:
    noisy = (1.0, 1.6, 0.7, 1.3, 0.9)
    base = result({"quiet": operation(STEADY), "noisy": operation(noisy)})
    now = result({"quiet": operation(scaled(1.001)), "noisy": operation(scaled(1.1, noisy))}, run_id="two")
    shown = result_of(now, compared(base, now), command="eventmark compare")
    assert verdict_sentence(shown) == "The evidence does not decide 1 of 2 checks; nothing is broken."


@pytest.mark.parametrize("value", [1e-300, 1e300, 0.0, -1.0])
def test_figures_far_apart_are_reported_without_an_exception(value: float) -> None:
    base = Figure(value=1e300, unit="ms", low=1e299, high=1e301, better="less")
    other = msgspec.structs.replace(base, value=value, low=min(value, 0.0), high=max(value, 1.0))
    for pair in ((base, other), (other, base)):
        found = compared(*(result(figures={"it": one}) for one in pair))
        assert found.figures["it"].outcome in (ChangeOutcome.CANNOT_TELL, ChangeOutcome.NOT_COMPARED)


def test_never_fails_and_still_reports() -> None:
    found = compared(result({APPEND: operation(STEADY)}), result({APPEND: operation(scaled(2.0))}))
    assert judge(found, FailOn.NEVER) == (Verdict.MET, [])
    assert found.operations[APPEND].outcome is ChangeOutcome.SLOWER


def test_what_else_differs_is_noted() -> None:
    other = changed(
        changed(result(), "server", settings={"work_mem": "64MB"}), "host", libraries={"asyncpg": "0.32"}
    )
    differences = compared(result(), other).differences
    assert "library asyncpg: 0.31 before, 0.32 now" in differences
    assert "setting work_mem: 4MB before, 64MB now" in differences


def test_a_comparison_is_a_document_and_every_report_shows_it() -> None:
    base, now = result({APPEND: operation(STEADY)}), result({APPEND: operation(scaled(2.0))}, run_id="two")
    found = compared(base, now, base_file="old.json", candidate_file="new.json")
    document = json.loads(encode_comparison(found))
    assert document["operations"][APPEND]["outcome"] == "slower"
    assert document["operations"][APPEND]["effects"]["p50"]["ratio"] == pytest.approx(2.0)
    shown = result_of(now, found, command="eventmark compare old.json new.json")
    assert verdict_sentence(shown) == "1 check failed."
    assert shown.verdict is Verdict.BROKEN
    for text in (render_markdown(shown), render_html(shown), render_junit(shown)):
        assert "slower" in text
        assert "append" in text
    assert "old.json" in render_markdown(shown)

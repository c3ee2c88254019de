"""How the verdicts of parts make those of criteria: by rules alone, on findings that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from eventmark.certify.certification import NOT_IN_USE
from eventmark.certify.criteria import EXAMINE, QUESTIONS, Done, Part, criteria, verdict_of
from eventmark.jobs.bottleneck import to_try
from eventmark.judgement.bottleneck import ADVICE
from eventmark.judgement.symptoms import Limit
from eventmark.results.files import read_result
from eventmark.results.results import Criterion, RunResult, Section, Verdict
from tests.certify.conftest import (
    BROKEN,
    INCONCLUSIVE,
    MET,
    all_met,
    done,
    finding,
    growth,
    operation,
    ordering,
    part_result,
    plan,
    section,
    sweep,
)


def answered(of: Done) -> dict[str, Criterion]:
    return {one.name: one for one in criteria(of)}


def test_all_is_met_where_every_part_was_done_and_everything_in_it_is() -> None:
    found = criteria(done())
    assert {one.verdict for one in found} == {MET}
    assert all(one.figure and one.evidence and not one.reason for one in found)
    assert verdict_of(found, done()) == (MET, [])


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.name)
def test_a_criterion_whose_part_was_not_done_is_never_met(question) -> None:  # type: ignore[no-untyped-def]
    for part in question.needs:
        found = answered(done(**{part.value: None}))[question.name]
        assert found.verdict is INCONCLUSIVE
        assert found.reason == f"{part}: not done in 5 minutes"
        assert "--minutes" in found.remedy


@pytest.mark.parametrize(
    ("part", "result", "criterion"),
    [
        (Part.VERIFY, part_result("verify", verdict=BROKEN, orderings=[ordering("naive", BROKEN, 9)]), "no-event-lost"),
        (Part.OPERATIONS, part_result("run", operations={"append_events[1]": operation(BROKEN)}), "targets-under-load"),
        (Part.LOAD, part_result("load", operations={"append_events[1]": operation(BROKEN)}), "targets-under-load"),
        (Part.LOAD, part_result("load", operations={"stream_events[1000]": operation(BROKEN)}), "streaming"),
        (Part.CAPACITY, part_result("capacity", sections=[section("capacity", finding("x", BROKEN))]), "targets-under-load"),
        (Part.SOAK, part_result("soak", sections=[section("soak", finding("rate held", BROKEN))]), "targets-under-load"),
        (Part.SOAK, part_result("soak", sections=[section("soak", finding("memory of x", BROKEN))]), "memory"),
        (Part.OPERATIONS, part_result("run", plans=[plan(BROKEN)]), "indexes"),
        (Part.CLIFFS, part_result("plan cliffs", sections=[section("cliffs", finding("a", BROKEN))]), "indexes"),
        (Part.SWEEP, sweep(Limit.LOCKS), "concurrency"),
        (Part.ISOLATION, part_result("isolation", sections=[section("b", finding("inflated", BROKEN))]), "tenants-isolated"),
        (Part.GROWTH, growth(verdict=BROKEN), "growth"),
        (Part.STRESS, part_result("stress", sections=[section("s", finding("stored", BROKEN))]), "stress"),
    ],
)  # fmt: skip
def test_what_is_broken_breaks_the_criterion_it_answers_and_all_of_it(
    part: Part, result: RunResult, criterion: str
) -> None:
    of = done(**{part.value: result})
    found = criteria(of)
    one = next(one for one in found if one.name == criterion)
    assert one.verdict is BROKEN
    assert one.reason and one.evidence
    verdict, reasons = verdict_of(found, of)
    assert verdict is BROKEN
    assert any(reason.startswith(one.question) for reason in reasons)


def test_what_is_broken_counts_though_another_part_was_not_done() -> None:
    broken = part_result("run", operations={"append_events[1]": operation(BROKEN, "too slow")})
    found = answered(done(operations=broken, load=None))["targets-under-load"]
    assert found.verdict is BROKEN
    assert "too slow" in found.reason


def test_one_that_is_undecided_leaves_its_criterion_undecided() -> None:
    unsure = part_result(
        "load", verdict=INCONCLUSIVE, operations={"append_events[1]": operation(INCONCLUSIVE, "few")}
    )
    assert answered(done(load=unsure))["targets-under-load"].verdict is INCONCLUSIVE
    assert answered(done(load=unsure))["indexes"].verdict is MET


@pytest.mark.parametrize(
    "reason", ["machine: it makes the store look quicker than it is", "interrupted after 3 s: this is what"]
)
def test_a_doubt_about_a_whole_part_leaves_every_criterion_of_its_undecided(reason: str) -> None:
    load = msgspec.structs.replace(all_met()[Part.LOAD], verdict=INCONCLUSIVE, reasons=[reason])
    found = answered(done(load=load))
    assert {found[name].verdict for name in ("targets-under-load", "streaming")} == {INCONCLUSIVE}
    assert found["indexes"].verdict is MET


@pytest.mark.parametrize(("verdict", "expected"), [(BROKEN, BROKEN), (INCONCLUSIVE, MET)])
def test_a_latency_that_may_drift_leaves_targets_decided_and_one_that_does_breaks_them(
    verdict: Verdict, expected: Verdict
) -> None:
    soak = part_result("soak", sections=[section("soak", finding("append_events[1] over time", verdict))])
    assert answered(done(soak=soak))["targets-under-load"].verdict is expected


def test_the_costliest_index_is_named_beside_the_plans() -> None:
    """As the adviser found it, from a committed result."""
    advice = read_result(Path(__file__).parents[2] / "docs" / "results" / "advice-eaf-v3-postgresql-18.json")
    assert (
        "costliest index: idx_events_aggregate (without it: WAL -5%"
        in answered(done(advice=advice))["indexes"].figure
    )


def test_a_search_for_capacity_goes_on_until_operations_break_and_that_breaks_nothing() -> None:
    assert all_met()[Part.CAPACITY].operations["append_events[1]"].verdict is BROKEN
    assert answered(done())["targets-under-load"].verdict is MET


def test_a_control_that_was_not_caught_takes_the_certainty_out_of_no_event_lost() -> None:
    missed = part_result(
        "verify", verdict=INCONCLUSIVE, reasons=["naive was not caught losing events"],
        orderings=[ordering("horizon"), ordering("naive", MET, lossless=False)],
    )  # fmt: skip
    found = answered(done(verify=missed))["no-event-lost"]
    assert (found.verdict, found.reason) == (INCONCLUSIVE, "verify: naive was not caught losing events")


def test_lost_events_say_why_and_what_to_do() -> None:
    found = answered(
        done(verify=part_result("verify", verdict=BROKEN, orderings=[ordering("shop", BROKEN, 3475)]))
    )
    one = found["no-event-lost"]
    assert "3,475 lost of 1,000 events" in one.figure
    assert one.reason.startswith(
        "shop: Your consumers miss events: 3,475 of them. Cause: it reads by number."
    )
    assert one.remedy == "Read below the oldest transaction."


@pytest.mark.parametrize("limit", list(Limit))
def test_a_broken_operation_has_the_remedy_of_its_bottleneck_or_is_to_be_examined(limit: Limit) -> None:
    limited = Section(name="bottleneck", title="Bottleneck", text=[to_try(limit)])
    load = part_result(
        "load", verdict=BROKEN, operations={"append_events[1]": operation(BROKEN)}, sections=[limited]
    )
    remedy = answered(done(load=load))["targets-under-load"].remedy
    expected = EXAMINE if limit in (Limit.NONE, Limit.UNKNOWN) else "; ".join(ADVICE[limit]) + "."
    assert remedy == expected


def test_a_machine_that_is_not_fit_takes_nothing_from_what_no_clock_decides() -> None:
    unfit = {
        part.value: msgspec.structs.replace(
            all_met()[part], verdict=INCONCLUSIVE, reasons=["machine: it is too quick"]
        )
        for part in (Part.OPERATIONS, Part.SOAK)
    }
    found = answered(done(**unfit))
    assert {found[name].verdict for name in ("indexes", "memory")} == {MET}
    assert found["targets-under-load"].verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        (Limit.SERVER_CPU, MET), (Limit.WAL_FLUSH, MET), (Limit.LOCKS, BROKEN), (Limit.STATEMENT, BROKEN),
        (Limit.CLIENT, INCONCLUSIVE), (Limit.NONE, INCONCLUSIVE), (Limit.UNKNOWN, INCONCLUSIVE),
    ],
)  # fmt: skip
def test_throughput_has_to_end_at_the_hardware(limit: Limit, verdict: Verdict) -> None:
    assert answered(done(sweep=sweep(limit)))["concurrency"].verdict is verdict


def test_growth_that_was_measured_short_of_ten_million_is_reported_as_a_forecast() -> None:
    found = answered(done(growth=growth(1_000_000)))["growth"]
    assert found.verdict is INCONCLUSIVE
    assert "measured up to 1,000,000 events" in found.reason
    assert "forecast" in found.reason


@pytest.mark.parametrize(
    ("lacks", "names"), [("tokens", {"no-event-lost", "streaming"}), ("tenants", {"tenants-isolated"})]
)
def test_what_a_store_lacks_is_not_asked_and_states_why(lacks: str, names: set[str]) -> None:
    of = replace(done(), lacking={lacks: "the store has no stream_events.sql"})
    found = criteria(of)
    assert {one.name for one in found if one.verdict is None} == names
    assert all("no stream_events.sql" in one.reason for one in found if one.verdict is None)
    assert verdict_of(found, of) == (MET, [])


def test_what_a_store_lacks_does_not_hide_what_is_broken() -> None:
    broken = part_result("verify", verdict=BROKEN, orderings=[ordering("shop", BROKEN)])
    found = answered(replace(done(verify=broken), lacking={"tokens": "none"}))
    assert found["no-event-lost"].verdict is BROKEN


def test_nothing_done_decides_nothing() -> None:
    assert {one.verdict for one in criteria(Done(parts={}))} == {INCONCLUSIVE}


def in_use(**changed: RunResult) -> Done:
    """What data in use is asked: operations one by one, plans, cliffs."""
    parts = {part: one for part, one in all_met().items() if part in (Part.OPERATIONS, Part.CLIFFS)}
    return Done(parts=parts | {Part(name): one for name, one in changed.items()}, ruled_out=NOT_IN_USE)


def test_data_in_use_decides_what_reads_and_states_why_the_rest_is_not_asked() -> None:
    found = answered(in_use())
    decided = {name for name, one in found.items() if one.verdict is not None}
    assert decided == {"targets-under-load", "streaming", "indexes"}
    assert {found[name].verdict for name in decided} == {MET}
    assert "load" not in found["targets-under-load"].question
    assert found["targets-under-load"].figure == "append_events[1]: p95 2 ms, target 10 ms"
    assert found["no-event-lost"].reason.startswith("not asked: nothing is written with --existing")
    assert "eventmark soak" in found["memory"].reason
    assert verdict_of(criteria(in_use()), in_use()) == (MET, [])


def test_data_in_use_breaks_what_was_measured_and_is_undecided_where_that_is_missing() -> None:
    broken = part_result(
        "run", operations={"append_events[1]": operation(BROKEN, "too slow")}, plans=[plan()]
    )
    found = answered(in_use(operations=broken))
    assert found["targets-under-load"].verdict is BROKEN
    assert found["no-event-lost"].verdict is None
    nothing = Done(parts={}, ruled_out=NOT_IN_USE)
    assert answered(nothing)["indexes"].verdict is INCONCLUSIVE
    assert verdict_of(criteria(nothing), nothing)[0] is INCONCLUSIVE

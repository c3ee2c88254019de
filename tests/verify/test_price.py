"""The price of an ordering: only what was measured."""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from eventmark.experiments.hunt.verification import note_left_out
from eventmark.results.results import Verdict
from eventmark.verify import Fault, Outcome, check, engine_subject
from eventmark.verify.findings import Reader, described_fault, findings
from eventmark.verify.forced import NOTHING_FORCED, Forced
from eventmark.verify.invariants import invariants_section
from eventmark.verify.price import FullSpeed, hunt_figures, ordering_result
from tests.verify.conftest import consumption, history

ATTEMPTS = [(Outcome.OK, 8, 1, 1, 1), (Outcome.OK, 9, 2, 1, 3), (Outcome.CONFLICT, 8, 5, 1, 1)]


def priced(paced: int, *more, attempts=ATTEMPTS, ordering="horizon", forced=NOTHING_FORCED):  # type: ignore[no-untyped-def]
    one = history(attempts, consumptions=[consumption([1, 2, 3, 4])])
    for attempt, invoked_ns, ended_ns in more:
        one.attempts[attempt]["invoked_ns"], one.attempts[attempt]["ended_ns"] = invoked_ns, ended_ns
    return ordering_result(
        engine_subject(ordering),
        one,
        check(one),
        FullSpeed(paced, seconds=2.0, cpu_s=1.0),
        forced=forced,
        replay="",
    )


def test_rates_are_of_what_came_after_the_paced_appends() -> None:
    result = priced(paced=1)
    assert (result.committed, result.conflicts, result.lost) == (4, 1, 0)
    assert (result.appends_per_s, result.events_per_s, result.client_cpu_share) == (0.5, 1.5, 0.5)
    assert result.append_ms is not None
    assert result.visible_ms is not None


def test_a_latency_that_nobody_measured_is_none() -> None:
    result = priced(paced=0)
    assert result.append_ms is result.visible_ms is result.handled_ms is None


def verdicts(result) -> dict[str, Verdict]:  # type: ignore[no-untyped-def]
    return {finding.name: finding.verdict for finding in result.findings}


def test_a_hunt_without_a_race_and_without_transactions_that_overlap_is_not_met() -> None:
    result = priced(0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "races were not hunted" in result.reason
    assert "too little happened at once" in result.reason
    assert (result.raced, result.overtaken) == (0, 0)
    told = verdicts(result)
    assert (told.pop("I5"), told.pop("I7")) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert set(told.values()) == {Verdict.MET}


def test_an_append_that_lost_a_version_while_its_winner_ran_is_a_race() -> None:
    result = priced(0, (0, 0, 10), (2, 5, 12))
    assert result.raced == 1
    assert verdicts(result)["I5"] is Verdict.MET
    assert priced(0, (0, 0, 4), (2, 5, 12)).raced == 0  # stale, and no race
    forced = priced(0, forced=Forced(faults=[], raced=1))
    assert (forced.raced, verdicts(forced)["I5"]) == (1, Verdict.MET)


def test_transactions_that_end_after_one_that_began_later_are_counted() -> None:
    assert priced(0, (0, 0, 10), (1, 5, 8)).overtaken == 1
    assert priced(0, (0, 0, 10), (1, 5, 12)).overtaken == 0


def test_what_was_forced_breaks_a_store_and_does_not_stand_for_the_hunt_of_a_control() -> None:
    lost = Fault("I7", "lost of tail", 1, consumer="tail, all tenants", due=4, passed=1)
    broken = priced(0, forced=Forced(faults=[lost], raced=0))
    assert broken.verdict is Verdict.BROKEN
    assert broken.lost == 0  # what is counted is what the hunt lost
    assert (
        "Your consumers miss events: a consumer that reads from the log's start (all tenants)"
        in broken.reason
    )
    assert priced(0, ordering="naive", forced=Forced(faults=[lost], raced=0)).verdict is not Verdict.BROKEN


def test_lost_events_come_with_their_cause_and_what_to_do() -> None:
    lost = Fault(
        "I7", "lost of tail, all tenants", 3475, ("event 1",), "tail, all tenants", due=5869, passed=3475
    )
    (finding,) = (
        one
        for one in findings([lost], reader=Reader(by_number=True, statement="stream_events.sql"))
        if one.verdict is Verdict.BROKEN
    )
    assert "never received 3,475 of 5,869 committed events. They are in the table." in finding.observed
    assert "Cause: `stream_events.sql` reads by number" in finding.observed
    assert "docs/ordering.md, 'In a store of SQL files'" in finding.remedy
    head = Fault("I7", "lost of head", 1, consumer="head, all tenants", due=1, begun_beyond=1)
    assert "first token was beyond a transaction" in described_fault(head, Reader(by_number=False))
    unknown = Fault("I7", "lost of tail", 1, consumer="tail", due=1)
    assert "Cause" not in described_fault(unknown, Reader(by_number=False))


def test_an_invariant_that_was_not_asked_is_never_met() -> None:
    result = replace(engine_subject("horizon"), not_asked={"I11": "the store has no snapshots"})
    found = findings([], not_asked=result.not_asked)
    assert "I11" not in {one.name for one in found}
    one = history(ATTEMPTS, consumptions=[consumption([1, 2, 3, 4])])
    told = ordering_result(result, one, [], FullSpeed(0, seconds=1.0, cpu_s=0.0), replay="")
    section = invariants_section([told])
    rows = {str(row[0]).partition(":")[0]: row[1] for row in section.tables[0].rows}
    assert (rows["I1"], rows["I5"], rows["I11"]) == ("MET", "INCONCLUSIVE", "not asked")
    assert section.tables[1].rows == [["I11", "horizon", "the store has no snapshots"]]


def test_what_was_not_hunted_is_counted_until_a_longer_hunt_has_done_it() -> None:
    skipped: dict[str, str] = {}
    note_left_out(skipped, priced(0), 10_000, "60 s were over")
    assert skipped == {"events of horizon": "9,996 of 10,000 were not hunted: 60 s were over"}
    note_left_out(skipped, priced(0), 4, "60 s were over")
    assert skipped == {}


def test_a_hunt_leaves_figures_of_what_promises_to_lose_nothing_and_none_of_its_control() -> None:
    own, control = priced(paced=1), priced(paced=1, ordering="naive")
    figures = hunt_figures([structs.replace(own, lost=7), control])
    assert set(figures) == {
        "lost_events[horizon]", "events_per_s[horizon]", "append_ms_p95[horizon]", "visible_ms_p95[horizon]",
    }  # fmt: skip
    assert (figures["lost_events[horizon]"].value, figures["lost_events[horizon]"].exact) == (7.0, True)
    assert figures["events_per_s[horizon]"].value == own.events_per_s > 0

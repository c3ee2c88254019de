"""What a probe of the search for capacity says of its rate, on records with a lag or a slowness planted in them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eventmark.experiments.load.capacity import _answer_of
from eventmark.experiments.load.search import Answer
from eventmark.loadgen.judge import to_results
from eventmark.loadgen.outcome import LATE_MS_MAX, merged
from eventmark.loadgen.plan import CLIENT
from tests.loadgen.test_judge import PLAN, READ, TARGETS, records


def answer(
    *,
    service_ms: float,
    lag_ms: float,
    through: str = PLAN.through,
    confirming: bool = True,
    calls: int = 4000,
) -> tuple[Answer, str]:
    part = records(calls, service_ms=service_ms, lag_ms=lag_ms)
    outcome = merged(replace(PLAN, through=through), [part], 0.0)
    return _answer_of(outcome, to_results(outcome, TARGETS), TARGETS, confirming=confirming)


def test_the_generators_own_lag_is_not_held_against_the_store() -> None:
    assert answer(service_ms=3.0, lag_ms=3.0) == (Answer.HELD, "")
    assert answer(service_ms=3.0, lag_ms=3.0, through=CLIENT)[0] is Answer.GENERATOR


@pytest.mark.parametrize("lag_ms", [0.05, 3.0])
def test_a_slow_store_breaks_with_or_without_a_lag_of_the_generator(lag_ms: float) -> None:
    found, reason = answer(service_ms=6.0, lag_ms=lag_ms)
    assert found is Answer.BROKE
    assert reason.startswith(READ)


def test_what_seems_to_hold_in_a_short_probe_has_to_be_shown_in_the_one_that_confirms() -> None:
    few = {"service_ms": 4.0, "lag_ms": 0.05, "calls": 120}
    assert answer(**few, confirming=False) == (Answer.HELD, "")
    assert answer(**few, confirming=True)[0] is Answer.UNDECIDED
    assert answer(service_ms=4.9, lag_ms=0.05, calls=120, confirming=False)[0] is not Answer.HELD


def test_a_generator_too_late_to_offer_the_rate_states_nothing_of_the_store() -> None:
    assert answer(service_ms=1.0, lag_ms=2 * LATE_MS_MAX)[0] is Answer.GENERATOR


def test_without_lag_every_call_keeps_its_answer_and_its_accounts() -> None:
    outcome = merged(PLAN, [records(lag_ms=3.0, answer_lag_ms=0.5)], 0.0)
    for name, one in outcome.judged.items():
        before = outcome.operations[name]
        assert one.offered == before.offered and one.succeeded == before.succeeded
        assert before.answer_lag_ns is not None
        assert (one.latency_ns == before.service_ns + before.pool_wait_ns - before.answer_lag_ns).all()
        read_s = (before.latency_ns - before.answer_lag_ns) / 1e9
        assert one.at_s + one.latency_ns / 1e9 == pytest.approx(before.at_s + read_s)
        assert one.without_lag().latency_ns.tolist() == one.latency_ns.tolist()

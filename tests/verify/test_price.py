"""The price of an ordering: only what was measured."""

from __future__ import annotations

from eventmark.results.results import Verdict
from eventmark.verify import Outcome, check, engine_subject
from eventmark.verify.price import FullSpeed, ordering_result
from tests.verify.conftest import consumption, history

ATTEMPTS = [(Outcome.OK, 8, 1, 1, 1), (Outcome.OK, 9, 2, 1, 3), (Outcome.CONFLICT, 8, 5, 1, 1)]


def priced(paced: int):  # type: ignore[no-untyped-def]
    one = history(ATTEMPTS, consumptions=[consumption([1, 2, 3, 4])])
    return ordering_result(
        engine_subject("horizon"), one, check(one), FullSpeed(paced, seconds=2.0, cpu_s=1.0), replay=""
    )


def test_rates_are_of_what_came_after_the_paced_appends() -> None:
    result = priced(paced=1)
    assert result.verdict is Verdict.MET
    assert (result.committed, result.conflicts, result.lost) == (4, 1, 0)
    assert (result.appends_per_s, result.events_per_s, result.client_cpu_share) == (0.5, 1.5, 0.5)
    assert result.append_ms is not None
    assert result.visible_ms is not None


def test_a_latency_that_nobody_measured_is_none() -> None:
    result = priced(paced=0)
    assert result.append_ms is result.visible_ms is result.handled_ms is None

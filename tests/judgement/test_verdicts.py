"""Verdicts: the interval decides; what weakens the evidence can only make a verdict inconclusive."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmark.judgement.machine import Machine, doubted
from eventmark.judgement.verdicts import exit_code, judge_latency, overall, worst
from eventmark.results.results import (
    ClientHealth,
    Finding,
    Latency,
    LatencyInterval,
    OperationResult,
    Verdict,
)
from eventmark.results.targets import Target
from eventmark.stats.drift import Drift

MET, BROKEN, INCONCLUSIVE = Verdict.MET, Verdict.BROKEN, Verdict.INCONCLUSIVE
TARGET = Target("p95", 10.0)


def judge(
    low: float, high: float | None, *, target: Target | None = TARGET, samples: int | None = 1000, **more: Any
) -> tuple[Verdict, str]:
    middle = low if high is None else (low + high) / 2
    latency = Latency(p50=1.0, p95=middle, p99=100.0, p999=200.0, max=300.0)
    intervals = {"p95": LatencyInterval(low=low, high=high)}
    return judge_latency(latency, intervals, target, samples=samples, **more)


@pytest.mark.parametrize(
    ("low", "high", "samples", "expected", "said"),
    [
        (8.0, 9.0, 1000, MET, "p95 8.5 ms, 95% interval 8 to 9 ms, target 10 ms"),
        (9.0, 9.999, 1000, MET, "interval 9 to 9.999 ms"),
        (9.0, 10.0, 1000, INCONCLUSIVE, "the interval holds the target: p95 9.5 ms"),
        (9.0, 12.0, 1000, INCONCLUSIVE, "the interval holds the target"),
        (10.0, 12.0, 1000, BROKEN, "p95 11 ms, 95% interval 10 to 12 ms, target 10 ms"),
        (3.0, None, 40, INCONCLUSIVE, "too few samples (40; at least 72 independent ones bound it)"),
        (3.0, None, None, INCONCLUSIVE, "too few samples (at least 72"),
        (12.0, None, 40, BROKEN, "12 to unbounded"),
        (12.0, None, 1, INCONCLUSIVE, "too few samples (1;"),
        (math.nan, math.nan, 1000, INCONCLUSIVE, "nan"),
    ],
)
def test_interval_against_the_limit_decides(
    low: float, high: float | None, samples: int | None, expected: Verdict, said: str
) -> None:
    verdict, reason = judge(low, high, samples=samples)
    assert verdict is expected
    assert said in reason


@pytest.mark.parametrize(
    ("low", "high", "alone", "with_bottleneck"),
    [(8.0, 9.0, MET, MET), (11.0, 12.0, BROKEN, INCONCLUSIVE), (9.0, 11.0, INCONCLUSIVE, INCONCLUSIVE)],
)
def test_busy_client_excuses_what_is_slow_and_not_what_is_quick(
    low: float, high: float, alone: Verdict, with_bottleneck: Verdict
) -> None:
    assert judge(low, high)[0] is alone
    verdict, reason = judge(low, high, client_bottleneck="loop lag p99 9 ms")
    assert verdict is with_bottleneck
    assert "the client was the bottleneck (loop lag p99 9 ms): p95" in reason


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (6.0, 7.4, MET),
        (7.0, 7.6, INCONCLUSIVE),
        (12.6, 14.0, BROKEN),
        (12.4, 14.0, INCONCLUSIVE),
        (12.6, None, BROKEN),
        (9.0, 11.0, INCONCLUSIVE),
    ],
)
def test_unsteady_operation_is_judged_only_far_from_the_limit(
    low: float, high: float | None, expected: Verdict
) -> None:
    verdict, reason = judge(low, high, drift=Drift.EITHER)
    assert verdict is expected
    assert "still drifting after warm-up" in reason
    assert ("far from the target" in reason) is (verdict is not INCONCLUSIVE)


@pytest.mark.parametrize(
    ("low", "high", "drift", "expected"),
    [
        (7.0, 9.0, Drift.FASTER, MET),  # by now it is better than what was measured
        (7.0, 9.0, Drift.SLOWER, INCONCLUSIVE),
        (6.0, 7.4, Drift.SLOWER, MET),
        (11.0, 14.0, Drift.SLOWER, BROKEN),  # by now it is worse
        (11.0, 14.0, Drift.FASTER, INCONCLUSIVE),
        (12.6, 14.0, Drift.FASTER, BROKEN),
        (9.0, 11.0, Drift.FASTER, INCONCLUSIVE),
        (9.0, 11.0, Drift.SLOWER, INCONCLUSIVE),
    ],
)
def test_a_drift_takes_away_only_the_verdict_that_it_moves_away_from(
    low: float, high: float, drift: Drift, expected: Verdict
) -> None:
    verdict, reason = judge(low, high, drift=drift)
    assert verdict is expected
    assert f"became {'slower' if drift is Drift.SLOWER else 'faster'} while it was measured" in reason


def test_failed_operation_breaks_every_target() -> None:
    for target, samples in ((TARGET, 997), (None, 997), (TARGET, 0)):
        verdict, reason = judge(
            1.0, 2.0, failed=3, target=target, samples=samples, client_bottleneck="busy", drift=Drift.EITHER
        )
        assert verdict is BROKEN and reason == "3 operations failed"


def test_nothing_to_judge_by_is_inconclusive() -> None:
    assert judge(1.0, 2.0, target=None) == (INCONCLUSIVE, "there is no target")
    assert judge(1.0, 2.0, samples=0) == (INCONCLUSIVE, "nothing was measured")
    assert judge(1.0, 2.0, target=Target("p99", 10.0)) == (INCONCLUSIVE, "p99 was not measured")


bounds_ms = st.floats(0.1, 100)


@given(
    bounds_ms, bounds_ms, st.sampled_from([Drift.NONE, *Drift, Drift.EITHER]), st.sampled_from(["", "busy"])
)
def test_weaker_evidence_never_turns_one_verdict_into_its_opposite(
    one: float, other: float, drift: Drift, bottleneck: str
) -> None:
    low, high = min(one, other), max(one, other)
    plain, _ = judge(low, high)
    weaker, _ = judge(low, high, drift=drift, client_bottleneck=bottleneck)
    assert weaker in (plain, INCONCLUSIVE)


def test_overall_is_the_worst_and_states_what_and_why() -> None:
    for verdicts in itertools.product(Verdict, repeat=3):
        found, reasons = overall((f"op{i}", verdict, f"why{i}") for i, verdict in enumerate(verdicts))
        worst = BROKEN if BROKEN in verdicts else INCONCLUSIVE if INCONCLUSIVE in verdicts else MET
        assert found is worst
        expected = {
            f"{'' if verdict is worst else 'undecided: '}op{i}: why{i}"
            for i, verdict in enumerate(verdicts)
            if verdict is not MET
        }
        assert set(reasons) == expected
    found, reasons = overall([("a", MET, "x"), ("b", INCONCLUSIVE, "y"), ("c", BROKEN, "z")])
    assert reasons == ["c: z", "undecided: b: y"]


def test_overall_of_nothing_is_inconclusive() -> None:
    assert overall([]) == (INCONCLUSIVE, ["nothing was measured"])


def test_exit_codes_tell_the_verdicts_apart() -> None:
    assert [exit_code(verdict) for verdict in (MET, BROKEN, INCONCLUSIVE)] == [0, 1, 3]


@pytest.mark.parametrize(
    ("verdict", "failed", "why", "expected"),
    [
        (BROKEN, 0, "other work", INCONCLUSIVE),
        (BROKEN, 0, "", BROKEN),
        (BROKEN, 3, "other work", BROKEN),
        (MET, 0, "other work", MET),
        (INCONCLUSIVE, 0, "other work", INCONCLUSIVE),
    ],
)
def test_an_unfit_machine_excuses_what_is_slow_and_neither_what_failed_nor_what_is_quick(
    verdict: Verdict, failed: int, why: str, expected: Verdict
) -> None:
    operation = OperationResult(
        latency_ms=Latency(p50=1, p95=2, p99=3, p999=4, max=5), interval_ms={}, samples=10, target_ms=1.0,
        target_quantile="p95", verdict=verdict, reason="p95 2 ms", mode="sample", throughput_per_s=1.0,
        failed=failed, histogram="", forks=[],
        client=ClientHealth(loop_lag_ms_p99=0, cpu_share=0, pool_wait_ms_p95=0, bottleneck=False),
    )  # fmt: skip
    found = doubted(operation, why)
    assert found.verdict is expected
    assert (why in found.reason) if found.verdict is not verdict else found == operation


@pytest.mark.parametrize(
    ("low_ms", "busy", "names", "excused"),
    [
        (300.0, 0.9, [], False),
        (60.0, 0.3, [], False),
        (60.0, 0.6, [], True),
        (25.0, 0.3, [], True),
        (300.0, 0.9, ["steal"], True),
        (300.0, 1.2, [], True),
    ],
)
def test_other_processes_excuse_no_more_than_they_can_have_added(
    low_ms: float, busy: float, names: list[str], excused: bool
) -> None:
    operation = OperationResult(
        latency_ms=Latency(p50=1, p95=400, p99=400, p999=400, max=400), interval_ms={"p95": LatencyInterval(low=low_ms, high=400.0)},
        samples=10, target_ms=10.0, target_quantile="p95", verdict=BROKEN, reason="slow", mode="sample",
        throughput_per_s=1.0, failed=0, histogram="", forks=[],
        client=ClientHealth(loop_lag_ms_p99=0, cpu_share=0, pool_wait_ms_p95=0, bottleneck=False),
    )  # fmt: skip
    machine = Machine(findings=list(map(finding, names)), busy_share=busy)
    assert bool(machine.excuse(operation)) is excused


def finding(name: str, verdict: Verdict = BROKEN) -> Finding:
    return Finding(name=name, verdict=verdict, observed="seen", expected="wanted")


@pytest.mark.parametrize(
    ("findings", "busy", "slower", "quicker"),
    [
        (
            ["steal", "durability", "clock"],
            0.0,
            "not fit to measure on: steal",
            "durability: seen, clock: seen",
        ),
        (["durability"], 0.0, "", "durability: seen"),
        (["other work"], None, "not fit to measure on: other work", ""),
        (["other work"], 0.02, "", ""),
        (["steal"], 0.5, "other processes used 50% of the cores", ""),
        ([], 0.24, "", ""),
    ],
)
def test_what_makes_a_store_look_slower_is_distinguished_from_what_makes_it_look_quicker(
    findings: list[str], busy: float | None, slower: str, quicker: str
) -> None:
    machine = Machine(findings=[finding("memory", MET), *map(finding, findings)], busy_share=busy)
    assert (machine.slower, machine.quicker) == (slower, quicker)


def test_the_worst_of_findings() -> None:
    assert worst([finding("a", MET), finding("b", MET)]) is MET
    assert worst([finding("a", MET), finding("b", INCONCLUSIVE)]) is INCONCLUSIVE
    assert worst([finding("a"), finding("b", INCONCLUSIVE), finding("c", MET)]) is BROKEN

"""The gate's decisions, by pairs that are made up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from eventmark.experiments.gate.gate_section import gate_sections
from eventmark.results.results import Verdict
from eventmark.sidebyside.bout import Bout
from eventmark.sidebyside.contest import CONFIRMATIONS, Decision, OperationContest, Rules, contests
from eventmark.sidebyside.pair import OperationPair
from eventmark.sidebyside.sides import Side

NAME = "load_aggregate[1000]"


def pair(
    random: np.random.Generator,
    ratio: float = 1.0,
    *,
    noise: float = 0.03,
    tail: float = 1.0,
    failed: tuple[int, int] = (0, 0),
    work: tuple[dict[str, float], dict[str, float]] = ({}, {}),
) -> OperationPair:
    """A hundred calls a side; the candidate's fork is off by ``noise``, its slowest tenth takes ``tail`` times as long."""
    base = random.lognormal(15, 0.1, 100)
    candidate = base * ratio * np.exp(random.normal(0, noise)) * random.lognormal(0, 0.05, 100)
    candidate = np.where(candidate >= np.quantile(candidate, 0.9), candidate * tail, candidate)
    return OperationPair(
        samples_ns=(base.astype(np.int64), candidate.astype(np.int64)), failed=failed,
        failure=("no", "the answer is wrong"), work=work,
    )  # fmt: skip


def decided(
    random: np.random.Generator, ratio: float = 1.0, *, pairs: int = 60, operations: int = 9, **how: float
) -> OperationContest:
    one = contests([f"{NAME}{n}" for n in range(operations)], Rules())[f"{NAME}0"]
    for _ in range(pairs):
        if one.decided:
            break
        one.add(pair(random, ratio, **how))  # type: ignore[arg-type]
    return one


@pytest.mark.parametrize("noise", [0.01, 0.04])
def test_alike_sides_are_not_slower_and_soon_so(noise: float) -> None:
    random = np.random.default_rng(1)
    found = [decided(random, noise=noise) for _ in range(60)]
    assert Counter(one.decision for one in found) == {Decision.NOT_SLOWER: 60}
    assert np.median([one.pairs for one in found]) < 12


@pytest.mark.parametrize("noise", [0.01, 0.04])
def test_ten_percent_slower_is_found_nine_times_in_ten(noise: float) -> None:
    random = np.random.default_rng(2)
    found = Counter(decided(random, 1.1, noise=noise).decision for _ in range(60))
    assert found[Decision.SLOWER] >= 54


def test_a_tail_that_grew_is_slower_though_its_middle_stayed() -> None:
    one = decided(np.random.default_rng(3), tail=3.0, noise=0.01)
    assert one.decision is Decision.SLOWER
    assert one.reason.startswith("p95")


def test_noise_that_hides_everything_cannot_tell() -> None:
    random = np.random.default_rng(4)
    found = Counter(decided(random, noise=0.5, pairs=10).decision for _ in range(40))
    assert found[Decision.UNDECIDED] >= 34
    assert found[Decision.SLOWER] == 0
    assert Decision.UNDECIDED.verdict is Verdict.INCONCLUSIVE


def test_more_operations_share_one_risk() -> None:
    table = contests(["a", "b", "c", "d"], Rules(risk_of_alarm=0.04))
    assert [one.risk for one in table.values()] == [pytest.approx(0.01)] * 4


def test_more_work_is_decided_at_once_when_two_pairs_agree() -> None:
    random = np.random.default_rng(5)
    one = contests([NAME], Rules())[NAME]
    more = ({"rows": 1000.0, "shared_hit_buffers": 900.0}, {"rows": 1000.0, "shared_hit_buffers": 2000.0})
    one.warm_up(pair(random, work=more))
    assert not one.decided
    one.add(pair(random, work=more))
    assert one.decision is Decision.MORE_WORK
    assert "buffers 900 before, 2000 now per call" in one.reason
    assert one.pairs == CONFIRMATIONS - 1


def test_work_that_is_more_once_is_a_page_split_and_no_decision() -> None:
    random = np.random.default_rng(6)
    one = contests([NAME], Rules())[NAME]
    usual, more = {"shared_hit_buffers": 10.0}, {"shared_hit_buffers": 20.0}
    one.warm_up(pair(random, work=(usual, more)))
    one.add(pair(random, work=(usual, usual)))
    one.add(pair(random, work=(usual, more)))
    assert not one.decided


def test_less_work_is_no_fault() -> None:
    random = np.random.default_rng(7)
    one = contests([NAME], Rules())[NAME]
    for _ in range(3):
        one.add(pair(random, work=({"rows": 10.0}, {"rows": 1.0})))
    assert not one.decided


def test_a_candidate_that_fails_is_broken_and_a_base_that_fails_states_nothing() -> None:
    random = np.random.default_rng(8)
    table = contests(["a", "b"], Rules())
    table["a"].add(pair(random, failed=(0, 3)))
    table["b"].add(pair(random, failed=(2, 3)))
    assert (table["a"].decision, table["b"].decision) == (Decision.FAILED, Decision.BASE_FAILED)
    assert "the answer is wrong" in table["a"].reason
    assert table["a"].decision.verdict is Verdict.BROKEN
    assert table["b"].decision.verdict is Verdict.INCONCLUSIVE


def test_each_call_is_held_against_its_like() -> None:
    """Calls differ by their arguments more than the sides do: paired, that does not matter."""
    base = np.tile([1_000_000, 9_000_000], 50)
    one = OperationPair(
        samples_ns=(base, (base * 1.1).astype(np.int64)), failed=(0, 0), failure=("", ""), work=({}, {})
    )
    assert np.exp(one.log_ratio("p50")) == pytest.approx(1.1, abs=1e-4)


def test_what_the_candidate_cannot_do_any_more_is_no_pass() -> None:
    one = contests([NAME], Rules())
    one[NAME].decision = Decision.NOT_SLOWER
    bout = Bout(rules=Rules(), table=one, gone={"read_snapshot": "the store has no read_snapshot.sql"})
    verdict, reasons = bout.verdict()
    assert verdict is Verdict.INCONCLUSIVE
    assert reasons == [
        "read_snapshot: only the base can be measured; in the candidate: the store has no read_snapshot.sql"
    ]
    sides = [Side(role=role, named=".", store="eaf") for role in ("base", "candidate")]
    (section,) = gate_sections(sides, bout)
    assert section.verdict is Verdict.INCONCLUSIVE
    assert section.findings[-1].name == "read_snapshot"

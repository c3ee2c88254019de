"""What a bound on one tenant's connections costs a tenant that is alone: its throughput with it and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from eventmark.experiments.isolation.legs import Duel, order_of
from eventmark.judgement.verdicts import worst
from eventmark.loadgen.generator import of_tenants, run_load
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.outcome import LoadOutcome
from eventmark.results.results import Figure, Finding, Row, Section, Table, Verdict, columns
from eventmark.stats.ratios import Ratio, paired_ratio

OPERATIONS = ("append_events[1]", "load_aggregate[1000]")
SLOWDOWN_MAX = 1.03
"""A call of a tenant that is alone may take this many times as long with the bound as without."""

PAIRS_MIN = 3


@dataclass(slots=True)
class Lone:
    """One operation in a closed loop of ``users``, in turns."""

    operation: str
    users: int
    without: list[LoadOutcome] = field(default_factory=list)
    bounded: list[LoadOutcome] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(load.operations[self.operation].failed for load in (*self.without, *self.bounded))

    @property
    def slowdown(self) -> Ratio | None:
        """How many times as long a call takes with the bound; None of fewer than three whole pairs."""
        whole = min(len(self.without), len(self.bounded))
        rates = [[load.achieved_per_s for load in loads[:whole]] for loads in (self.without, self.bounded)]
        if whole < PAIRS_MIN or min(*rates[0], *rates[1]) <= 0:
            return None
        return paired_ratio(*rates)


def lone_loads(duel: Duel, users: int) -> tuple[list[Lone], dict[str, str]]:
    """What is to be measured, and why an operation is left out, by its name."""
    own = of_tenants(duel.sample, duel.victim.tenants)
    lone: list[Lone] = []
    left_out: dict[str, str] = {}
    for name in OPERATIONS:
        _, missing = parse_mix(f"{name}=1").available(duel.job.definition.capabilities, own)
        left_out |= {f"{name} of a lone tenant": reason for reason in missing.values()}
        lone += [] if missing else [Lone(name, users)]
    return lone, left_out


def measure_lone(
    duel: Duel, lone: Lone, tenant_pool_max: int, rounds: int, number: int, executor: Executor
) -> Iterator[None]:
    """A leg at each step, into ``lone``; ``number`` is the first one's."""
    for index, is_bounded in enumerate(order_of(rounds)):
        plan = replace(
            duel.victim, mix=parse_mix(f"{lone.operation}=1"), arrivals=None, users=lone.users,
            seed=duel.victim.seed + number + index, tenant_pool_max=tenant_pool_max if is_bounded else None,
        )  # fmt: skip
        outcome = run_load(duel.job, duel.sample, plan, executor=executor)
        (lone.bounded if is_bounded else lone.without).append(outcome)
        yield


def lone_figures(lone: Sequence[Lone]) -> dict[str, Figure]:
    return {
        f"lone_tenant_slowdown[{turns.operation}]": Figure(
            value=round(ratio.value, 4), low=round(ratio.low, 4), high=round(ratio.high, 4), unit="times",
            better="less",
        )
        for turns in lone
        if (ratio := turns.slowdown) is not None
    }  # fmt: skip


def lone_section(lone: Sequence[Lone], duel: Duel, tenant_pool_max: int) -> Iterator[Section]:
    shown = [turns for turns in lone if turns.without and turns.bounded]
    if not shown:
        return
    findings = [_finding(turns) for turns in shown]
    yield Section(
        name="lone-tenant",
        title="A tenant that is alone",
        verdict=worst(findings),
        text=[
            f"{duel.victim_tenant} alone in the service, {shown[0].users} users in a closed loop, with the bound of "
            f"{tenant_pool_max} connections and without, in turns. The bound holds while another tenant is present."
        ],
        findings=findings,
        tables=[_table(shown)],
    )  # fmt: skip


def _finding(lone: Lone) -> Finding:
    ratio = lone.slowdown
    expected = f"a call takes at most {SLOWDOWN_MAX:g} times as long with the bound"
    name = f"{lone.operation} of a lone tenant"
    if ratio is None or lone.failed:
        return Finding(
            name=name, verdict=Verdict.INCONCLUSIVE, expected=expected,
            observed=f"{lone.failed} calls failed" if lone.failed else f"fewer than {PAIRS_MIN} pairs of legs",
            remedy="see why they failed" if lone.failed else "more rounds decide it",
        )  # fmt: skip
    verdict = ratio.judged(SLOWDOWN_MAX)
    return Finding(
        name=name, verdict=verdict, expected=expected, timed=True,
        observed=f"{ratio.value:.3f} times, 95% interval {ratio.low:.3f} to {ratio.high:.3f}",
        remedy="" if verdict is Verdict.MET else "longer legs or more rounds decide it"
        if verdict is Verdict.INCONCLUSIVE
        else "a tenant that is alone should not notice the bound: see what else asks for connections",
    )  # fmt: skip


def _table(lone: Sequence[Lone]) -> Table:
    rows: list[Row] = []
    for turns in lone:
        ratio = turns.slowdown
        rates = [
            sum(load.achieved_per_s for load in loads) / len(loads)
            for loads in (turns.without, turns.bounded)
        ]
        bounds = (ratio.value, ratio.low, ratio.high) if ratio else (None, None, None)
        rows.append([turns.operation, float(turns.users), *rates, *bounds])
    return Table(
        title="Throughput of a tenant that is alone",
        columns=columns(
            "operation", "users", "without the bound|calls/s", "with the bound|calls/s",
            "time of a call, with to without|times", "from|times", "to|times",
        ),
        rows=rows,
    )  # fmt: skip

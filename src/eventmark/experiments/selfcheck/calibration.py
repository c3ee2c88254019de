"""The gate's rates: how often alike sides are called slower, and how often a 10% slowdown is found.

Measured by many gates, each with fresh forks; and, told apart, simulated from the pairs that those gates
recorded, drawn again and again, for intervals that no number of real gates could make as narrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest

from eventmark.experiments.selfcheck.decisions import ALIKE, lengths_ms, run_gate
from eventmark.experiments.selfcheck.pilots import Pilot, run_pilots
from eventmark.experiments.selfcheck.proving import Proving
from eventmark.results.results import Figure, Finding, Row, Section, Table, Verdict, columns
from eventmark.seeding import Progress
from eventmark.sidebyside.bout import PAIRS_MAX, Effort
from eventmark.sidebyside.contest import MARGIN_SHARE, Decision, OperationContest, Rules, contests
from eventmark.stats.ranks import CONFIDENCE

OPERATIONS = ("append_events[1]", "load_aggregate[1000]")
PLANTED = 0.10
ALARMS_MAX, FOUND_MIN = 0.01, 0.90
SIMULATED = 4000  # gates of each kind
GATE_SECONDS = 180.0


@dataclass(slots=True)
class Rates:
    """What gates decided, by operation, and every pair's log-ratios; of one kind of gate."""

    planted: float
    decisions: dict[str, Counter[Decision]] = field(default_factory=dict)
    log_ratios: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    gates: int = 0
    alarms: int = 0  # gates in which any operation was called slower, or to do more work

    def add(self, table: Mapping[str, OperationContest]) -> None:
        self.gates += 1
        self.alarms += any(
            contest.decision in (Decision.SLOWER, Decision.MORE_WORK) for contest in table.values()
        )
        for name, contest in table.items():
            self.decisions.setdefault(name, Counter())[contest.decision] += 1
            columns = {quantile: test.log_ratios for quantile, test in contest.tests.items()}
            rows = zip(*columns.values(), strict=True)
            self.log_ratios.setdefault(name, []).extend(dict(zip(columns, row, strict=True)) for row in rows)

    @property
    def detected(self) -> int:
        """Operations called slower, over all gates."""
        return sum(counts[Decision.SLOWER] + counts[Decision.MORE_WORK] for counts in self.decisions.values())

    @property
    def tried(self) -> int:
        return sum(counts.total() for counts in self.decisions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many, with the exact 95% interval (Clopper and Pearson)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return 0.0, 1.0
        bounds = binomtest(self.count, self.of).proportion_ci(CONFIDENCE, method="exact")
        return float(bounds.low), float(bounds.high)

    @property
    def described(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.of}: {self.value:.2%}, between {low:.2%} and {high:.2%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Alarms per gate of alike sides, slowdowns found per operation planted; measured and simulated."""

    alarms: Share
    detected: Share
    simulated_alarms: Share
    simulated_detected: Share
    alike: Rates
    planted: Rates
    pilots: Mapping[str, Pilot]


def calibrate(
    proving: Proving,
    gates: int,
    progress: Progress,
    *,
    operations: Sequence[str] = OPERATIONS,
    effort: Effort | None = None,
    simulated: int = SIMULATED,
) -> Calibration:
    """``gates`` of each kind, in turns, so that the machine's moods meet both.

    A slowdown is planted in one operation of a gate, each in its turn: a gate that has found one ends soon, and
    what it has not decided of the others by then is no miss. Its delay is what pilots found to bring it about.
    """
    effort = effort or Effort(seconds=GATE_SECONDS)
    alike, planted = Rates(ALIKE), Rates(PLANTED)
    progress("calibrate", 0, 2 * gates)
    pilots = run_pilots(proving, PLANTED, lengths_ms(proving, operations, effort.turns))
    for number in range(gates):
        lengths_now = lengths_ms(proving, operations, effort.turns)
        lengths = {name: pilots[name].factor * length_ms for name, length_ms in lengths_now.items()}
        for index, rates in enumerate((alike, planted)):
            progress("calibrate", 2 * number + index, 2 * gates)
            seed = 1000 + 2 * number + index
            if rates is alike:
                rates.add(run_gate(proving, ALIKE, lengths, effort=effort, seed=seed))
            else:
                slowed = operations[number % len(operations)]
                table = run_gate(proving, PLANTED, lengths, effort=effort, seed=seed, slowed=(slowed,))
                rates.add({slowed: table[slowed]})
    progress("calibrate", 2 * gates, 2 * gates)
    random = np.random.default_rng(11)
    drawn_alike, drawn_planted = (simulate(rates, simulated, random) for rates in (alike, planted))
    return Calibration(
        alarms=Share(count=alike.alarms, of=alike.gates),
        detected=Share(count=planted.detected, of=planted.tried),
        simulated_alarms=Share(count=drawn_alike.alarms, of=drawn_alike.gates),
        simulated_detected=Share(count=drawn_planted.detected, of=drawn_planted.tried),
        alike=alike,
        planted=planted,
        pilots=pilots,
    )


def simulate(recorded: Rates, gates: int, random: np.random.Generator) -> Rates:
    """Gates whose pairs are drawn from those recorded, with replacement; as many at most as a gate may have."""
    pairs_max = min(
        PAIRS_MAX, max(60, *(len(rows) // max(recorded.gates, 1) for rows in recorded.log_ratios.values()))
    )
    drawn = Rates(recorded.planted)
    for _ in range(gates):
        table = contests(list(recorded.log_ratios), Rules())
        for name, contest in table.items():
            rows = recorded.log_ratios[name]
            for _ in range(pairs_max if rows else 0):
                if contest.decided:
                    break
                contest.add_log_ratios(rows[int(random.integers(len(rows)))])
            for test in contest.tests.values():  # only the decision is looked at: thousands of them are kept
                test.log_ratios.clear()
        drawn.add(table)
    return drawn


def calibration_section(calibration: Calibration) -> Section:
    findings = [_alarm_finding(calibration), _found_finding(calibration)]
    verdicts = [finding.verdict for finding in findings]
    worst = next(
        (verdict for verdict in (Verdict.BROKEN, Verdict.INCONCLUSIVE) if verdict in verdicts), Verdict.MET
    )
    return Section(
        name="gate-calibration",
        title="The gate's rates",
        verdict=worst,
        text=[
            f"Gates on sides that are alike, and on sides of which one has an operation made {PLANTED:.0%} slower by a "
            "delay in its statement, in turns, every one with fresh forks. How long a delay that takes was found by "
            "pilots. Simulated: the same decision on pairs drawn "
            "from those that were recorded, which takes the recorded noise for all there is.",
        ],
        findings=findings,
        tables=[_table(calibration), _pilots_table(calibration.pilots)],
    )


def _alarm_finding(calibration: Calibration) -> Finding:
    """Broken where the measured rate is above the limit beyond doubt; met where the simulated one is below it too."""
    low = calibration.alarms.interval[0]
    met = calibration.alarms.value <= ALARMS_MAX and calibration.simulated_alarms.interval[1] <= ALARMS_MAX
    verdict = Verdict.BROKEN if low > ALARMS_MAX else Verdict.MET if met else Verdict.INCONCLUSIVE
    return Finding(
        name="false alarms",
        verdict=verdict,
        observed=f"measured {calibration.alarms.described}; simulated {calibration.simulated_alarms.described}",
        expected=f"at most {ALARMS_MAX:.0%} of gates on alike sides",
    )


def _found_finding(calibration: Calibration) -> Finding:
    high = calibration.detected.interval[1]
    met = calibration.detected.value >= FOUND_MIN and calibration.simulated_detected.interval[0] >= FOUND_MIN
    verdict = Verdict.BROKEN if high < FOUND_MIN else Verdict.MET if met else Verdict.INCONCLUSIVE
    if any(
        abs(pilot.ratio.value - 1 - PLANTED) > MARGIN_SHARE * PLANTED for pilot in calibration.pilots.values()
    ):
        verdict = Verdict.INCONCLUSIVE  # another slowdown was planted than the one that is asked about
    return Finding(
        name=f"a slowdown of {PLANTED:.0%} found",
        verdict=verdict,
        observed=f"measured {calibration.detected.described}; simulated {calibration.simulated_detected.described}",
        expected=f"at least {FOUND_MIN:.0%}",
    )


def _table(calibration: Calibration) -> Table:
    rows: list[Row] = []
    for rates in (calibration.alike, calibration.planted):
        for name, counts in rates.decisions.items():
            gates = counts.total()
            pairs = len(rates.log_ratios[name]) / max(gates, 1)
            rows.append([
                f"{name}, {'alike' if rates.planted == ALIKE else f'{rates.planted:.0%} slower'}", float(gates),
                *(float(counts[decision]) for decision in (Decision.SLOWER, Decision.NOT_SLOWER, Decision.UNDECIDED)),
                float(gates - sum(counts[decision] for decision in (
                    Decision.SLOWER, Decision.NOT_SLOWER, Decision.UNDECIDED))),
                pairs, _spread(rates.log_ratios[name]),
            ])  # fmt: skip
    return Table(
        title="Decisions",
        columns=columns(
            "operation", "gates", "slower", "not slower", "cannot tell", "other", "pairs a gate",
            "spread of pairs|share",
        ),
        rows=rows,
        note="Spread: of the pairs' log-ratios, by their median absolute deviation.",
    )  # fmt: skip


def _pilots_table(pilots: Mapping[str, Pilot]) -> Table:
    return Table(
        title="Pilots",
        columns=columns("operation", "delay|share", "slower|times", "at least|times", "at most|times", "pairs"),
        rows=[
            [name, PLANTED * pilot.factor, pilot.ratio.value, *pilot.ratio.bounds, float(pilot.ratio.count)]
            for name, pilot in pilots.items()
        ],
        note="Delay: as a share of the operation's length. Pairs as a gate's, by the mean of their log-ratios.",
    )  # fmt: skip


def _spread(rows: Sequence[Mapping[str, float]]) -> float | None:
    if not rows:
        return None
    values = np.array([row["p50"] for row in rows])
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def calibration_figures(calibration: Calibration) -> dict[str, Figure]:
    figures = {}
    for name, share, better in (
        ("gate_false_alarms", calibration.alarms, "less"),
        ("gate_slowdowns_found", calibration.detected, "more"),
        ("gate_false_alarms_simulated", calibration.simulated_alarms, "less"),
        ("gate_slowdowns_found_simulated", calibration.simulated_detected, "more"),
    ):
        low, high = share.interval
        figures[name] = Figure(value=share.value, unit="share", low=low, high=high, better=better)
    return figures

"""Group append measured beside pgbench: right in kind; how fast is the benchmark's to say."""

from __future__ import annotations

import numpy as np
import pytest

from eventmark.experiments.group_append.group_append import (
    CALLERS,
    KINDS,
    Grouped,
    _Round,
    measure_group_append,
)
from eventmark.results.results import Verdict
from eventmark.server import Server


@pytest.fixture(scope="module")
def measured(server: Server):  # type: ignore[no-untyped-def]
    return measure_group_append(server, "grouped", seconds=0.5, rounds=1).operations()


@pytest.mark.long
def test_every_number_of_callers_is_measured_beside_pgbench(measured) -> None:  # type: ignore[no-untyped-def]
    assert len(measured) == len(CALLERS) + 1
    for one in measured.values():
        assert one.samples > 0
        assert one.failed == 0
        assert [floor.tool for floor in one.floors] == [
            "pgbench, 32 clients",
            "COPY, 10,000 rows to a commit",
        ]
        for floor in one.floors:
            assert floor.value > 100
            assert floor.ratio == pytest.approx(floor.value / one.throughput_per_s, rel=0.01)


@pytest.mark.long
def test_many_callers_append_more_together_than_one_alone(measured) -> None:  # type: ignore[no-untyped-def]
    rates = {name: one.throughput_per_s for name, one in measured.items()}
    assert rates["append_events[1], 64 callers in groups"] > rates["append_events[1], 1 caller, direct"]


@pytest.mark.parametrize(
    ("times", "slower", "verdicts"),
    [
        (3.2, 1.0, ["MET", "MET", "MET"]),
        (2.5, 1.3, ["MET", "BROKEN", "BROKEN"]),
        (1.5, 1.0, ["BROKEN", "BROKEN", "MET"]),
    ],
)
def test_what_is_wanted_of_groups_is_held_against_the_same_rounds_pgbench(
    times: float, slower: float, verdicts: list[str]
) -> None:
    """The machine is half as quick in one round: that is no part of the ratios."""
    floors = [1000.0, 500.0, 1010.0, 990.0]

    def rounds(callers: int, grouped: bool) -> list[_Round]:
        latency_ms = 1.0 * (slower if grouped else 1.0)
        return [
            _Round(np.full(int(floor * times), latency_ms * 1e6 * 1000 / floor), 1.0, 0.5, 0.1)
            for floor in floors
        ]

    measured = Grouped(
        rounds={kind: rounds(kind.callers, kind.grouped) for kind in KINDS},
        pgbench=floors, copy=[4 * floor for floor in floors],
    )  # fmt: skip
    section = measured.section()
    assert [finding.verdict for finding in section.findings] == [Verdict(one) for one in verdicts]
    assert f"{times:g} ×" in section.findings[0].observed
    assert f"256 callers {times / 4:.3g} ×" in section.text[1]


def test_one_round_decides_nothing() -> None:
    one = _Round(np.full(5000, 1_000_000), 1.0, 0.5, 0.1)
    section = Grouped(rounds={kind: [one] for kind in KINDS}, pgbench=[1000.0], copy=[4000.0]).section()
    assert {finding.verdict for finding in section.findings} == {Verdict.INCONCLUSIVE}

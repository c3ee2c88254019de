"""Group append measured beside pgbench: right in kind; how fast is the benchmark's to say."""

from __future__ import annotations

import pytest

from eventmark.scenarios.group_append import CALLERS, measure_group_append
from eventmark.server import Server


@pytest.fixture(scope="module")
def measured(server: Server):  # type: ignore[no-untyped-def]
    return measure_group_append(server, "grouped", seconds=0.5, rounds=1)


def test_every_number_of_callers_is_measured_beside_pgbench(measured) -> None:  # type: ignore[no-untyped-def]
    assert len(measured) == len(CALLERS) + 1
    for one in measured.values():
        assert one.samples > 50
        assert one.failed == 0
        (floor,) = one.floors
        assert floor.tool == "pgbench, 32 clients"
        assert floor.value > 100
        assert floor.ratio == pytest.approx(floor.value / one.throughput_per_s, rel=0.01)


def test_many_callers_append_more_together_than_one_alone(measured) -> None:  # type: ignore[no-untyped-def]
    rates = {name: one.throughput_per_s for name, one in measured.items()}
    assert rates["append_events[1], 64 callers in groups"] > 2 * rates["append_events[1], 1 caller, direct"]

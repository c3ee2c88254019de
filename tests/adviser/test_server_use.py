"""What a server's time goes to by the statements it has seen, and that advice is ranked by what it saves of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace as changed

from eventmark.adviser.ablate import CaseWork
from eventmark.adviser.candidate import APPENDS
from eventmark.adviser.ranking import advice_on_schema
from eventmark.adviser.server_use import ServerUse, searched_indexes, server_use
from eventmark.results.results import Column, PlanResult, RunResult, Section, Table, Verdict
from eventmark.stats.ratios import Ratio
from tests.adviser.test_advice import changes, trial

LOAD, STREAM, AT = "load_aggregate[1000]", "stream_events[1000]", "create_token_at"
SEARCHED = {LOAD: {"by_stream"}, STREAM: {"by_position"}, AT: {"by_time", "by_position"}}
FASTER, SLOWER, UNSURE = (
    Ratio(value=2.0, low=1.8, high=2.2, count=8), Ratio(value=0.5, low=0.4, high=0.6, count=8),
    Ratio(value=2.0, low=0.9, high=4.0, count=8),
)  # fmt: skip


def scan(*indexes: str) -> dict[str, Any]:
    below = [{"Node Type": "Index Scan", "Index Name": name, "Relation Name": "events"} for name in indexes]
    return {"Node Type": "Limit", "Plans": below}


def insert(table: str) -> dict[str, Any]:
    return {
        "Node Type": "ModifyTable",
        "Operation": "Insert",
        "Relation Name": table,
        "Plans": [{"Node Type": "Result"}],
    }


def seen(minimal: RunResult, *statements: tuple[float, dict[str, Any]]) -> RunResult:
    """As ``explain --observed`` makes it: so many percent of the time each."""
    plans = [
        PlanResult(
            statement=f"observed {number}", condition="", plan_kind="generic", verdict=Verdict.MET, findings=[],
            parameters={}, query="", expected_index="", work={}, plan=plan,
        )
        for number, (_, plan) in enumerate(statements, 1)
    ]  # fmt: skip
    rows: list[list[str | float | None]] = [
        [f"observed {number}", f"{share:.1f}%"] for number, (share, _) in enumerate(statements, 1)
    ]
    table = Table(title="", columns=[Column(name="statement"), Column(name="share of the time")], rows=rows)
    return changed(minimal, plans=plans, sections=[Section(name="observed", title="", tables=[table])])


@pytest.mark.parametrize(
    ("plan", "operation"),
    [
        (insert("events"), APPENDS), (insert("outbox"), None), (scan("by_stream"), LOAD), (scan("by_position"), STREAM),
        (scan("by_time", "by_position"), AT), (scan("by_time"), AT), (scan("by_other"), None), (scan(), None),
        (scan("by_stream", "by_position"), None), ({}, None),
    ],
)  # fmt: skip
def test_whose_statement_it_is_shows_in_its_plan(
    minimal_result: RunResult, plan: dict[str, Any], operation: str | None
) -> None:
    use = server_use(seen(minimal_result, (60.0, plan)), "events", SEARCHED)
    assert use.shares == ({operation: pytest.approx(0.6)} if operation else {})


def test_shares_of_one_operation_are_added_up_and_the_rest_is_others(minimal_result: RunResult) -> None:
    found = seen(
        minimal_result, (50.0, insert("events")), (20.0, scan("by_stream")), (10.0, scan("by_stream"))
    )
    use = server_use(found, "events", SEARCHED)
    assert str(use) == f"{APPENDS} 50%, {LOAD} 30%, others 20%"


@pytest.mark.parametrize(
    ("gains", "saved"),
    [
        ({APPENDS: FASTER}, 0.25), ({APPENDS: FASTER, LOAD: SLOWER}, -0.05), ({APPENDS: UNSURE}, 0.0),
        ({STREAM: FASTER}, 0.0), ({}, None),
    ],
)  # fmt: skip
def test_a_gain_saves_its_part_of_the_time_and_a_loss_costs_it(
    gains: dict[str, Ratio], saved: float | None
) -> None:
    found = ServerUse(shares={APPENDS: 0.5, LOAD: 0.3}).saved(gains)
    assert found == (None if saved is None else pytest.approx(saved))


def test_what_saves_most_of_the_servers_time_comes_first_however_large_its_gain_is() -> None:
    much = trial("loads", reads={LOAD: Ratio(value=1.2, low=1.1, high=1.3, count=8)}, rate=UNSURE)
    rare = trial("tokens", reads={AT: Ratio(value=9.0, low=8.0, high=10.0, count=8)}, rate=UNSURE)
    found = changes(trial("all", wal_bytes=1200, rate=FASTER), much, rare)
    assert [one.what for one in advice_on_schema(found)] == ["all", "tokens", "loads"]
    use = ServerUse(shares={LOAD: 0.9, AT: 0.01})
    assert [one.what for one in advice_on_schema(found, use)] == ["all", "loads", "tokens"]
    assert [one.server_time for one in advice_on_schema(found, use)] == [
        pytest.approx(0.0), pytest.approx(0.15), pytest.approx(0.01 * 8 / 9),
    ]  # fmt: skip


def test_indexes_of_an_operation_are_those_of_all_its_plans() -> None:
    work = {
        ("load_aggregate", "one, custom plan"): CaseWork(work={}, plan=scan("by_stream")),
        ("load_aggregate", "two, generic plan"): CaseWork(work={}, plan=scan("by_stream", "by_id")),
        ("stream_tenant_events", "one, custom plan"): CaseWork(work={}, plan=scan("by_tenant")),
        ("append_events", "one, custom plan"): CaseWork(work={}, plan=insert("events")),
        ("stream_events", "refused"): CaseWork(work={}, plan={}, refusal="no"),
    }
    assert searched_indexes(work) == {LOAD: {"by_stream", "by_id"}, STREAM: {"by_tenant"}}

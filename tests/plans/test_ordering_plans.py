"""The statements of every ordering work in proportion to their answers, by the indexes the ordering has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import asyncpg
import pytest

from eventmark.engine import ORDERINGS
from eventmark.engine.statements import Statement
from eventmark.plans import PlanCase, examine_plans, sampled_cases
from eventmark.results.results import Verdict
from eventmark.server import Server
from eventmark.stores import find_store
from tests.engine.builders import ORDERING_PARAMS
from tests.plans.conftest import COLUMNS, EVENTS, SCHEMA, database_with_store, dsn_of

LATE = datetime(2025, 1, 20, tzinfo=UTC)
GAPS = ([100, 5_000], [100, 5_004])  # as ranges: what a consumer far ahead still waits for
GAP_CASES = [
    PlanCase("stream_events", "the middle of the log", (15_000, 1_000, *GAPS, False)),
    PlanCase("stream_events", "with a bound", (15_000, 1_000, *GAPS, True)),
    PlanCase("stream_events", "the end of the log", (EVENTS - 10, 1_000, *GAPS, False)),
    PlanCase("stream_tenant_events", "a large tenant", ("big", 15_000, 1_000, *GAPS, 15_000, False)),
    PlanCase("stream_tenant_events", "a small tenant", ("small", 20_000, 50, *GAPS, EVENTS, False)),
    PlanCase("create_head_token", "all but the last is decided", (EVENTS - 50, False)),
    PlanCase("create_token_at", "all but the last is decided", (LATE, EVENTS - 50, False)),
]


GAPS_COST = {"sort", "rows read", "rows removed"}
"""A batch is merged with what came into gaps; numbers are read to find gaps, one after the other."""


@pytest.fixture(scope="module", params=[one for one in ORDERING_PARAMS if one.values != ("horizon",)])
def ordering(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ordered_database(server: Server, ordering: str) -> Iterator[str]:
    """The name of a database with a filled store of the ordering."""
    yield from database_with_store(server, f"plans_{ordering}", ordering=ordering)


@pytest.fixture
async def ordered(server: Server, ordered_database: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(dsn_of(server, ordered_database))
    yield opened
    await opened.close()


def statements_of(ordering: str) -> dict[str, Statement]:
    """The ordering's own, of the operations that a store has."""
    operations = find_store("eaf").statements
    return {
        name: statement for name, statement in ORDERINGS[ordering].statements().items() if name in operations
    }


async def test_every_statement_of_an_ordering_is_met_as_custom_and_as_generic_plan(
    ordered: asyncpg.Connection, ordering: str
) -> None:
    statements = statements_of(ordering)
    with_gaps = {case.statement for case in GAP_CASES} if ordering == "gap_aware" else set()
    sampled = {name: statement for name, statement in statements.items() if name not in with_gaps}
    cases = [
        *await sampled_cases(ordered, sampled, SCHEMA, COLUMNS, "domain_events", "aggregate_snapshots"),
        *(case for case in GAP_CASES if case.statement in with_gaps),
    ]
    results = await examine_plans(ordered, statements, SCHEMA, cases)
    assert {result.statement for result in results} == set(statements)
    faults = [
        f"{result.statement}, {result.condition}: {finding.name}: {finding.observed}; {finding.expected}"
        for result in results
        for finding in result.findings
        if finding.verdict is not Verdict.MET
        and not (result.statement in with_gaps and finding.name in GAPS_COST)
    ]
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize("ordering", ["tenant_lock"], scope="module")
async def test_a_tenants_instant_is_found_without_reading_other_tenants_events(
    ordered: asyncpg.Connection, ordering: str
) -> None:
    statement = statements_of(ordering)["create_token_at"]
    case = PlanCase("create_token_at", "a small tenant", ("small", datetime(2025, 1, 1, tzinfo=UTC)))
    for result in await examine_plans(ordered, {"create_token_at": statement}, SCHEMA, [case]):
        assert result.verdict is Verdict.MET

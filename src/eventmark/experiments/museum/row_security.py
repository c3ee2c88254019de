"""What row-level security can cost: a function for each row, and an OR that no index can serve."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg

from eventmark.experiments.museum.exhibit import STATEMENTS, Exhibit, Limit, Room, Trial, judge_counters
from eventmark.experiments.museum.log import FIRST_INSTANT, LARGE, SMALL, filled_log
from eventmark.experiments.museum.planned import judged_by_plan

CALLS = Limit(
    counter="calls of the policy's function",
    most=10,
    why="once for a statement and its planning, not once for a row",
)
_BATCH = 100
_ROWS = 1000

# A function counts its calls where the built-in one it stands for does not
_FUNCTION = """
create function {schema}.own_tenant() returns text language plpgsql stable
    as $$ begin return current_setting('museum.tenant', true); end $$
"""
_CALLS = (
    "select coalesce(sum(calls), 0)::float8 from pg_stat_xact_user_functions where funcname = 'own_tenant'"
)


async def _per_row(room: Room) -> Sequence[Trial]:
    async with _visitor(room) as (connection, schema, role):
        await connection.execute(_FUNCTION.format(schema=f'"{schema}"'))
        await connection.execute(f'grant execute on function "{schema}".own_tenant() to {role}')
        trials = []
        for variant, call, good in (
            ("the policy calls a function", f'"{schema}".own_tenant()', False),
            ("the policy asks a subquery, once", f'(select "{schema}".own_tenant())', True),
        ):
            await _policy(connection, schema, f"tenant_id = {call}")
            counters = await _calls_of_a_read(connection, schema, role)
            verdict, reason = judge_counters(counters, [CALLS])
            trials.append(
                Trial(variant=variant, good=good, verdict=verdict, reason=reason, counters=counters)
            )
        return trials


async def _calls_of_a_read(connection: asyncpg.Connection[Any], schema: str, role: str) -> dict[str, float]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("set local track_functions = 'all'")
        before = await connection.fetchval(_CALLS)  # what earlier transactions have not yet handed in
        await connection.execute(f"set local museum.tenant = '{LARGE}'; set local role {role}")
        rows = await connection.fetch(
            f'select payload from "{schema}".domain_events where timestamp_utc >= $1 order by timestamp_utc limit $2',
            FIRST_INSTANT,
            _ROWS,
        )
        calls = await connection.fetchval(_CALLS) - before
    finally:
        await transaction.rollback()
    return {"rows": float(len(rows)), CALLS.counter: calls}


async def _or_in_policy(room: Room) -> Sequence[Trial]:
    own = "tenant_id = current_setting('museum.tenant', true)"
    async with _visitor(room) as (connection, schema, role):
        trials = []
        for variant, condition, good in (
            (
                "administrators by an OR in the policy",
                f"current_setting('museum.admin', true) = 'on' or {own}",
                False,
            ),
            ("the tenant alone; administrators by a policy to their own role", own, True),
        ):
            await _policy(connection, schema, condition)
            await connection.execute(f"set museum.tenant = '{SMALL}'; set role {role}")
            try:
                trials.append(
                    await judged_by_plan(
                        connection, schema, STATEMENTS["events_seen"], {"a small tenant": (0, 0, _BATCH)},
                        variant=variant, good=good,
                    )
                )  # fmt: skip
            finally:
                await connection.execute("reset role; reset museum.tenant")
        return trials


async def _policy(connection: asyncpg.Connection[Any], schema: str, condition: str) -> None:
    """One policy, in place of the one before."""
    events = f'"{schema}".domain_events'
    await connection.execute(f"alter table {events} enable row level security")
    await connection.execute(f"drop policy if exists own_tenant on {events}")
    await connection.execute(f"create policy own_tenant on {events} using ({condition})")


@asynccontextmanager
async def _visitor(room: Room) -> AsyncIterator[tuple[asyncpg.Connection[Any], str, str]]:
    """A filled log, and a role that policies bind, dropped with it."""
    role = f"museum_visitor_{uuid4().hex[:8]}"
    async with filled_log(room) as (connection, schema):
        await connection.execute(f"create role {role} nologin")
        try:
            await connection.execute(f'grant usage on schema "{schema}" to {role}')
            await connection.execute(f'grant select on "{schema}".domain_events to {role}')
            yield connection, schema, role
        finally:
            await connection.execute(f"reset role; drop owned by {role}; drop role {role}")


POLICY_PER_ROW = Exhibit(
    name="policy-per-row",
    title="Row-level security asks who it is for every row",
    sources=("marten#4805",),
    story="A policy that compares with a setting, by a function, evaluates it for each row that a query returns.",
    lesson="Compare with a subquery, (select ...): it is evaluated once.",
    judged_by="counters: calls of the function, as the server counts them",
    run=_per_row,
)
POLICY_WITH_OR = Exhibit(
    name="policy-with-or",
    title="An OR in the policy, and no index for anybody",
    sources=("marten#4805",),
    story="A policy lets administrators through by an OR. For everybody else the tenant's index cannot be used any "
    "more: all tenants' rows are read and the others' thrown away.",
    lesson="A policy for the tenants, another one to the administrators' role.",
    judged_by="plan judge: rows removed",
    run=_or_in_policy,
)

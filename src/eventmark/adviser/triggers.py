"""Row triggers and checks as candidates: what a row costs to fill and to check, and whether it comes out the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import asyncpg
import numpy as np

from eventmark.adviser.ablate import REFUSALS
from eventmark.adviser.appends import Template, append_call
from eventmark.adviser.candidate import Candidate
from eventmark.adviser.copies import Copies, apply
from eventmark.adviser.table_facts import TableFacts, TriggerFacts
from eventmark.plans.sampling import quoted_name
from eventmark.server.search_path import confine
from eventmark.workload.lifecycles import EVENT_TYPES

_NOTIFIES = re.compile(r"\b(pg_)?notify\b", re.IGNORECASE)
_REFUSES = re.compile(r"\braise\s+(exception|sqlstate|using)|\braise\s+'", re.IGNORECASE)

APPENDS_COMPARED = 8

Row = Mapping[str, object]


def without_trigger(table: TableFacts, trigger: TriggerFacts) -> Candidate:
    """The trigger dropped. One that may do more than fill columns weakens the store."""
    name, owner = quoted_name(trigger.name), quoted_name(table.name)
    enable = {"A": "enable always", "R": "enable replica"}.get(trigger.enabled)
    again = [trigger.definition, *([f"alter table {owner} {enable} trigger {name}"] if enable else [])]
    return Candidate(
        kind="trigger",
        name=f"drop row trigger {trigger.name}",
        reason=f"it runs for each row of {table.name}",
        apply=(f"drop trigger {name} on {owner}",),
        revert=tuple(again),
        script=(f"drop trigger if exists {name} on {owner}",),
        risk="writers other than the store's statements may rely on the columns that it fills",
        weakens=_lost_with(trigger),
    )


def without_checks(table: TableFacts) -> Candidate:
    """All checks dropped at once: each by itself is too cheap to be measured."""
    owner = quoted_name(table.name)
    drops = tuple(f"alter table {owner} drop constraint {quoted_name(check.name)}" for check in table.checks)
    again = (
        f"alter table {owner} add constraint {quoted_name(check.name)} {check.definition}"
        for check in table.checks
    )
    return Candidate(
        kind="check",
        name=f"drop the checks of {table.name} ({len(table.checks)})",
        reason=", ".join(check.definition for check in table.checks),
        apply=drops,
        revert=tuple(again),
        script=drops,
        risk="rows that violate them are stored, and noticed only later",
        weakens="integrity: what the checks refuse would be stored",
    )


async def different_rows(
    copies: Copies, connection: asyncpg.Connection[Any], table: TableFacts, candidate: Candidate
) -> str:
    """Why rows do not come out the same without the trigger; "" when they do.

    The same appends are made with it twice, and once without it. A column that differs between the first two
    (a number, a clock) is not compared. Other tables that it writes to are seen by the server's counts.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        for number, template in enumerate(_as_sent(copies)):
            appended, written = await _appended(copies, connection, template, number)
            two, _ = await _appended(copies, connection, template, number)
            savepoint = connection.transaction()
            await savepoint.start()
            await apply(connection, copies.changed, candidate.apply)
            without, written_without = await _appended(copies, connection, template, number)
            await savepoint.rollback()
            names = [
                name
                for name in appended
                if appended[name] == two.get(name) and appended[name] != without.get(name)
            ]
            if names:
                return f"without it, {', '.join(names)} of {table.name} would differ: let append_events.sql fill it"
            if written != written_without:
                return "it writes to other tables"
    except REFUSALS as error:
        return f"without it, an append fails: {str(error).partition(chr(10))[0]}"
    finally:
        await transaction.rollback()
    return ""


def _as_sent(copies: Copies) -> list[Template]:
    """Events as an application sends them: what is stored has been through the trigger already."""
    random = np.random.default_rng(1)
    payloads = copies.job.corpus.example_payloads(APPENDS_COMPARED, random)
    return [
        Template(
            tenant_id=copies.templates[number % len(copies.templates)].tenant_id, aggregate_type="Order",
            event_type=EVENT_TYPES[number % len(EVENT_TYPES)], payload=payload, metadata='{"user": "user-0001"}',
            payload_type=EVENT_TYPES[number % len(EVENT_TYPES)], payload_revision="1.0",
        )
        for number, payload in enumerate(payloads)
    ]  # fmt: skip


def _lost_with(trigger: TriggerFacts) -> str:
    if not trigger.is_before:
        return "what it does after a row is stored, which no comparison of rows shows"
    if _NOTIFIES.search(trigger.source):
        return "the notifications that it sends"
    return "what it refuses" if _REFUSES.search(trigger.source) else ""


async def _appended(
    copies: Copies, connection: asyncpg.Connection[Any], template: Template, number: int
) -> tuple[Row, int]:
    """The row that an append stores, and how many rows of other tables were written; rolled back."""
    definition, columns = copies.definition, copies.definition.sql_columns
    statement = definition.statements["append_events"]
    call = append_call(statement, template, number=number, neighbour=0)
    table = f'"{copies.changed}"."{definition.events_table}"'
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await confine(connection, copies.changed, local=True)
        before = await _written_elsewhere(connection, definition.events_table)
        await connection.fetch(statement.sql(copies.changed), *call.arguments)
        stored = await connection.fetchval(
            f"select to_jsonb(stored)::text from {table} as stored where {columns['tenant_id']}::text = $1"
            f" and {columns['aggregate_id']}::text = $2",
            call.stream.tenant_id,
            call.stream.aggregate_id,
        )
        written = await _written_elsewhere(connection, definition.events_table) - before
        return json.loads(stored), written
    finally:
        await savepoint.rollback()


async def _written_elsewhere(connection: asyncpg.Connection[Any], table: str) -> int:
    """Rows that this transaction has written to other tables, what it rolled back included."""
    written: int = await connection.fetchval(
        "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_xact_user_tables"
        " where relname <> $1",
        table,
    )
    return written

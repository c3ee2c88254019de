"""Reads as consumers and services make them, for pgbench: loads, batches of the log, the place of an instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import numpy as np

from eventmark.adviser.appends import literal
from eventmark.engine.statements import Statement
from eventmark.operations.catalogue import OPERATIONS
from eventmark.seeding import sample_corpus
from eventmark.stores import StoreDefinition, open_store

READS = ("load_aggregate[1000]", "stream_events[1000]", "create_token_at")
CALLS = 8
"""Of each operation, run one after the other: large and small tenants, the log's beginning and its end."""

ReadCalls = Mapping[str, Sequence[Mapping[str, Any]]]
"""By operation, the values of its statement's parameters, by name."""


async def sampled_reads(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, dsn: str, *, schema: str, events: int
) -> ReadCalls:
    """``CALLS`` of each operation that the store has; the same of two schemas that are alike."""
    sample = await sample_corpus(connection, definition, schema=schema, events=events)
    store = await open_store(definition, dsn, schema=schema, pool_max=1)
    calls_of = {}
    try:
        for name in READS:
            kind = OPERATIONS[name]
            if kind.missing(definition.capabilities, sample):
                continue
            operation = kind(store, sample, np.random.default_rng(1))
            await operation.prepare()
            calls = [operation.parameters(operation.draw()) for _ in range(CALLS)]
            if {parameter.name for parameter in definition.statements[kind.statement].parameters} <= set(
                calls[0]
            ):
                calls_of[name] = calls
    finally:
        await store.close()
    return calls_of


def scripts_of_reads(
    statements: Mapping[str, Statement], schema: str, calls: ReadCalls
) -> dict[str, list[str]]:
    """By operation, one script that makes its calls one after the other."""
    return {
        name: ["".join(_call(statements[OPERATIONS[name].statement], schema, value) for value in values)]
        for name, values in calls.items()
    }


def _call(statement: Statement, schema: str, values: Mapping[str, Any]) -> str:
    values_of = {
        parameter.name: f"({literal(str(values[parameter.name]))})::{parameter.sql_type}"
        for parameter in statement.parameters
    }
    return statement.render(schema, values_of) + ";\n"

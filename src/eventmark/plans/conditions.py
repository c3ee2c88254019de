"""The conditions a statement is examined under: which tenant, which aggregate, where in the log, how many.

A plan that is right for a tenant with half of all events can be wrong for one with ten, and a plan that is
right at the log's beginning wrong at its end; so each statement is tried at the extremes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.errors import UsageError
from eventmark.plans import sampling
from eventmark.plans.arguments import (
    APPENDED_PARAMETERS,
    PLACE_PARAMETERS,
    STREAM_PARAMETERS,
    TENANT_PARAMETERS,
    Situation,
    fill,
    unknown_parameters,
)
from eventmark.plans.sampling import Aggregate
from eventmark.plans.studies import (
    NothingToDrawError,
    StoreSample,
    Study,
    reads_only,
    sample_store,
    situation_of,
    study_everybody,
    study_tenant,
)

BATCHES_EVENTS = (1, 10, 100)


@dataclass(frozen=True)
class PlanCase:
    """One statement with real arguments, in its order, and the condition they stand for.

    Where no arguments could be found, ``reason`` says why and ``arguments`` is empty.
    """

    statement: str
    condition: str
    arguments: tuple[object, ...]
    reason: str = ""


async def sampled_cases(
    connection: asyncpg.Connection[Any],
    statements: Mapping[str, Statement],
    schema: str,
    columns: Mapping[str, str],
    events_table: str,
    snapshots_table: str | None,
    *,
    snapshot_columns: Mapping[str, str] | None = None,
    first_sequence: int = 1,
    large: frozenset[str] = frozenset(),
) -> list[PlanCase]:
    """Cases for every statement, with parameters from the tables; at least one each.

    ``columns`` maps our field names (``tenant_id``, ``aggregate_id``, ``sequence_number``,
    ``global_sequence_id``, ``transaction_id``, ``timestamp_utc``, ...) to the event table's columns, and to
    the snapshot table's unless ``snapshot_columns`` are given; a field the store does not have is left
    out. A case that cannot be made carries the reason. Takes seconds, whatever the table's size. Needs
    the connection for itself.
    """
    try:
        drawn = await sample_store(
            connection,
            schema,
            columns,
            events_table,
            snapshots_table,
            snapshot_columns or columns,
            first_sequence,
            large,
        )
    except NothingToDrawError as error:
        return [_empty_case(statement, str(error)) for statement in statements.values()]
    if drawn.events.has("tenant_id"):
        everybody = await study_everybody(drawn)
        tenants = await _extremes(drawn)
    else:
        everybody = await study_tenant(drawn, "whole store", None)
        tenants = [everybody]
    cases: list[PlanCase] = []
    for statement in statements.values():
        reads_snapshots = reads_only(statement, snapshots_table, events_table)
        cases += _cases_of(statement, everybody, tenants, reads_snapshots)
    return cases


async def _extremes(drawn: StoreSample) -> list[Study]:
    largest, smallest = await sampling.extreme_tenants(drawn.events, drawn.rows)
    if largest == smallest:
        return [await study_tenant(drawn, "only tenant", largest)]
    return [
        await study_tenant(drawn, "largest tenant", largest),
        await study_tenant(drawn, "smallest tenant", smallest),
    ]


def _cases_of(
    statement: Statement, everybody: Study, tenants: Sequence[Study], reads_snapshots: bool
) -> list[PlanCase]:
    if unknown := unknown_parameters(statement):
        return [_empty_case(statement, f"no value is known for parameters named {', '.join(unknown)}")]
    names = {parameter.name for parameter in statement.parameters}
    studied = tenants if names & (TENANT_PARAMETERS | STREAM_PARAMETERS) else [everybody]
    if reads_snapshots and names & STREAM_PARAMETERS:
        studied = [tenant for tenant in studied if tenant.with_snapshot is not None]
        if not studied:
            return [_empty_case(statement, "no snapshot was found to be read")]
    cases = []
    for tenant in studied:
        for condition, situation in _situations(names, tenant, reads_snapshots):
            cases.append(_case(statement, condition, situation))
    return cases or [_empty_case(statement, "no event was found to run it with")]


def _situations(names: set[str], tenant: Study, reads_snapshots: bool) -> Iterator[tuple[str, Situation]]:
    """Every combination of what the statement's parameters leave open, with its label."""
    streams: Mapping[str, Aggregate] = tenant.streams
    if reads_snapshots and tenant.with_snapshot is not None:
        streams = {"aggregate with a snapshot": tenant.with_snapshot}
    elif not names & STREAM_PARAMETERS:
        streams = dict(list(streams.items())[:1])
    places = tenant.places
    if not names & PLACE_PARAMETERS:
        places = dict(list(places.items())[:1])
    batches = BATCHES_EVENTS if names & APPENDED_PARAMETERS else (1,)
    for stream_label, stream in streams.items():
        for place_label, position in (places or {"": stream.row}).items():
            for batch_events in batches:
                label = [
                    tenant.label if names & (TENANT_PARAMETERS | STREAM_PARAMETERS) else "",
                    stream_label if names & STREAM_PARAMETERS else "",
                    place_label if names & PLACE_PARAMETERS else "",
                    f"batch of {batch_events}" if names & APPENDED_PARAMETERS else "",
                ]
                situation = situation_of(stream, position, batch_events=batch_events)
                yield ", ".join(filter(None, label)) or tenant.label, situation


def _case(statement: Statement, condition: str, situation: Situation) -> PlanCase:
    try:
        return PlanCase(statement.name, condition, fill(statement, situation))
    except (UsageError, ValueError) as error:
        return PlanCase(statement.name, condition, (), str(error))


def _empty_case(statement: Statement, reason: str) -> PlanCase:
    return PlanCase(statement.name, "not examined", (), reason)

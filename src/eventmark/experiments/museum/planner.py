"""Where planners fall over: an instant, an optional parameter, a primary key, a backlog, a map that nobody made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from eventmark.engine.orderings import ORDERINGS
from eventmark.experiments.museum.exhibit import STATEMENTS, Exhibit, Room, Trial
from eventmark.experiments.museum.log import FIRST_INSTANT, LARGE, LATE, LONG_STREAM, SMALL, filled_log
from eventmark.experiments.museum.planned import cliff_trial, judged_by_cliffs, judged_by_plan, question_of
from eventmark.plans.cliffs.cells import CUSTOM, FRESH, STALE, State, examine_cell

_BY_NUMBER = "table_lock"
_BATCH = 100


async def _token_at(room: Room) -> Sequence[Trial]:
    late = FIRST_INSTANT + timedelta(seconds=room.events - 50)
    engine = replace(ORDERINGS[_BY_NUMBER].statements()["create_token_at"], index="")  # by its work alone
    async with filled_log(room, ordering=_BY_NUMBER) as (connection, schema):
        cases = {"near the end of the log": (late,)}
        return [
            await judged_by_plan(
                connection, schema, STATEMENTS["token_by_min"], cases,
                variant="the lowest number among the events that follow", good=False,
            ),
            await judged_by_plan(
                connection, schema, engine, cases,
                variant="the engine's: the next 100 by the index on time, then the lowest of them", good=True,
            ),
        ]  # fmt: skip


async def _sixth_execution(room: Room) -> Sequence[Trial]:
    async with filled_log(room, ordering=_BY_NUMBER) as (connection, schema):
        questions = {"a small tenant": (SMALL, 0, _BATCH), "a large tenant": (LARGE, 0, _BATCH)}
        return [
            await judged_by_cliffs(
                connection, schema, STATEMENTS["events_of_optional_tenant"], questions,
                variant="one statement, the tenant optional", good=False,
            ),
            await judged_by_cliffs(
                connection, schema, ORDERINGS[_BY_NUMBER].statements()["stream_tenant_events"], questions,
                variant="the engine's: a statement for one tenant, another for all", good=True,
            ),
        ]  # fmt: skip


async def _primary_key(room: Room) -> Sequence[Trial]:
    async with filled_log(room, ordering=_BY_NUMBER) as (connection, schema):
        events, questions = f'"{schema}".domain_events', {"a tenant that came late": (LATE, 0, 5)}
        await connection.execute(f'drop index "{schema}".domain_events_tenant_position')
        await connection.execute(f"create index by_tenant on {events} (tenant_id)")
        await connection.execute(f"vacuum analyze {events}")
        bad = await judged_by_cliffs(
            connection, schema, STATEMENTS["events_of_tenant"], questions,
            variant="an index on the tenant alone: the primary key has the order", good=False,
        )  # fmt: skip
        await connection.execute(
            f"create index domain_events_tenant_position on {events} (tenant_id, global_sequence_id)"
        )
        await connection.execute(f"vacuum analyze {events}")
        good = await judged_by_cliffs(
            connection, schema, ORDERINGS[_BY_NUMBER].statements()["stream_tenant_events"], questions,
            variant="the engine's: an order that begins with the tenant, and an index that has it", good=True,
        )  # fmt: skip
        return [bad, good]


async def _backlog(room: Room) -> Sequence[Trial]:
    async with filled_log(room, ordering=_BY_NUMBER) as (connection, schema):
        await connection.execute(
            f'drop index "{schema}".domain_events_timestamp'
        )  # an order that no index has
        places = {"start": 0, "middle": room.events // 2, "near the tail": room.events - 4 * _BATCH}
        questions = {where: (LARGE, number, _BATCH) for where, number in places.items()}
        return [
            await judged_by_cliffs(
                connection, schema, STATEMENTS["events_by_time"], questions,
                variant="a batch in the order of time", good=False, kinds=(CUSTOM,),
            ),
            await judged_by_cliffs(
                connection, schema, STATEMENTS["events_of_tenant"], questions,
                variant="a batch in the order of the index", good=True, kinds=(CUSTOM,),
            ),
        ]  # fmt: skip


async def _visibility_map(room: Room) -> Sequence[Trial]:
    statement = STATEMENTS["stream_length"]
    question = question_of(statement, "a long stream", (LARGE, LONG_STREAM))
    async with filled_log(room, vacuum=False) as (connection, schema):
        stale = await examine_cell(
            connection, statement, schema, question, CUSTOM, State(visibility=STALE), try_others=False
        )
        await connection.execute(f'vacuum "{schema}".domain_events')
        fresh = await examine_cell(
            connection, statement, schema, question, CUSTOM, State(visibility=FRESH), try_others=False
        )
    return [
        cliff_trial([stale, fresh], variant="autovacuum has not come round to it", good=False),
        cliff_trial([fresh], variant="after a VACUUM", good=True),
    ]


TOKEN_AT = Exhibit(
    name="token-at-an-instant",
    title="A token for an instant takes 24 seconds",
    sources=("AxonFramework#1100",),
    story="In a log of 22 million events. The lowest number of the events that follow is found by walking the primary "
    "key, past everything that came before.",
    lesson="Look the next events up by an index on time, and take the lowest of a bounded number.",
    judged_by="plan judge: pages and rows for one row",
    run=_token_at,
)
SIXTH_EXECUTION = Exhibit(
    name="sixth-execution",
    title="A query is quick five times and slow from the sixth",
    sources=("sliceworkz/eventstore#214", "sliceworkz/eventstore#135"),
    story="A prepared statement with an optional parameter is planned for its values five times. Then the server "
    "goes over to one plan for all values, which cannot use the tenant's index; forcing it made it worse still.",
    lesson="A statement for each case, so that the generic plan is a good one; or force_custom_plan.",
    judged_by="cliff finder: custom plan, generic plan and sixth execution compared",
    run=_sixth_execution,
)
PRIMARY_KEY = Exhibit(
    name="primary-key-walk",
    title="The primary key is taken instead of the tenant's index",
    sources=("zitadel#9423",),
    story="With an order by number and a limit, the planner expects a tenant's events soon and walks the primary key. "
    "The events of a tenant that came late lie at its end, and all others are read and thrown away.",
    lesson="An index on the tenant, then the number, and an order that begins with the tenant: no other index has it.",
    judged_by="cliff finder: another plan of the same statement, tried",
    run=_primary_key,
)
BACKLOG = Exhibit(
    name="far-from-the-tail",
    title="A consumer that is far behind reads the whole backlog for each batch",
    sources=("akka-persistence-r2dbc#178",),
    story="A batch is asked for in an order that no index has. Near the tail little is left to be sorted; far from it "
    "the backlog is read and sorted, and again for the next batch.",
    lesson="Order by what the index orders by, so that a batch costs the same wherever it begins.",
    judged_by="cliff finder: the same statement at the start, in the middle and near the tail",
    run=_backlog,
)
VISIBILITY_MAP = Exhibit(
    name="stale-visibility-map",
    title="An append-only table outruns autovacuum",
    sources=("zitadel#12448",),
    story="Inserts alone make autovacuum come seldom. Until it does, reads by the index alone look every row up in the "
    "table; they got slower until somebody ran VACUUM ANALYZE.",
    lesson="autovacuum_vacuum_insert_scale_factor low enough for the table's growth.",
    judged_by="cliff finder: heap pages with a stale and a fresh visibility map",
    run=_visibility_map,
)

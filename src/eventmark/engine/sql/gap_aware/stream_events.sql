-- name: stream_events
-- purpose: a batch of events of all tenants after a number, and those that have come into gaps before it
-- parameters: global_sequence bigint, batch_size bigint, gap_firsts bigint[], gap_lasts bigint[], with_bound boolean
-- index: domain_events_position
-- One statement, one snapshot: an event that has come into a gap is seen with all that precede it in its
-- stream. The first row is no event: it tells what the snapshot shows of gaps, see orderings/gap_aware.py.
with look as materialized (
    select
        pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) as horizon,
        case when :with_bound then pg_catalog.pg_current_xact_id() end as bound
), filled as (
    select event.*
    from rows from (
        pg_catalog.unnest(:gap_firsts::bigint[]), pg_catalog.unnest(:gap_lasts::bigint[])
    ) as gap (first, last)
    cross join lateral (
        select * from {schema}.domain_events
        where global_sequence_id between gap.first and gap.last
        order by global_sequence_id
        limit :batch_size
    ) as event
), following as (
    select * from {schema}.domain_events
    where global_sequence_id > :global_sequence
    order by global_sequence_id
    limit case
        when :global_sequence <= (select last_value from {schema}.domain_events_global_sequence_id_seq)
        then :batch_size else -1
    end
), missing as (
    select
        pg_catalog.array_agg(before + 1 order by before) as firsts,
        pg_catalog.array_agg(number - 1 order by before) as lasts
    from (
        select
            global_sequence_id as number,
            pg_catalog.lag(global_sequence_id, 1, :global_sequence) over (order by global_sequence_id) as before
        from following
    ) as numbers
    where number > before + 1
), batch as (
    select * from (select * from filled union all select * from following) as found
    order by global_sequence_id
    limit :batch_size
)
select
    null::bigint as global_sequence_id, null::xid8 as transaction_id, null::bigint as sequence_number,
    null::timestamptz as timestamp_utc, null::uuid as event_id, null as tenant_id, null as aggregate_type,
    null as aggregate_id, null as event_type, null as payload_type, null as payload_revision,
    null::{payload} as payload, null::{payload} as metadata,
    horizon, bound, firsts as gap_firsts, lasts as gap_lasts
from look cross join missing
union all
select
    global_sequence_id, transaction_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type,
    aggregate_id, event_type, payload_type, payload_revision, payload, metadata,
    null, null, null, null
from batch
order by global_sequence_id nulls first

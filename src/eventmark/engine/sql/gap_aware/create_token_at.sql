-- name: create_token_at
-- purpose: the lowest number among the 100 events that follow an instant, and the gaps before it
-- parameters: instant timestamptz, decided bigint, with_bound boolean
-- index: domain_events_timestamp
-- Clocks disagree: 100, not one. Gaps as in create_head_token.
with look as materialized (
    select
        pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) as horizon,
        case when :with_bound then pg_catalog.pg_current_xact_id() end as bound
), place as (
    select pg_catalog.min(global_sequence_id) as number
    from (
        select global_sequence_id from {schema}.domain_events
        where timestamp_utc >= :instant
        order by timestamp_utc
        limit 100
    ) as next_by_time
), missing as (
    select
        pg_catalog.array_agg(before + 1 order by before) as firsts,
        pg_catalog.array_agg(number - 1 order by before) as lasts
    from (
        select
            global_sequence_id as number,
            pg_catalog.lag(global_sequence_id, 1, :decided) over (order by global_sequence_id) as before
        from {schema}.domain_events
        where global_sequence_id > :decided and global_sequence_id <= (select number from place)
    ) as numbers
    where number > before + 1
)
select number as global_sequence_id, horizon, bound, firsts as gap_firsts, lasts as gap_lasts
from look cross join missing left join place on true

-- name: create_token_at
-- purpose: the lowest number among the 25 events that follow an instant, and the gaps before it
-- parameters: instant timestamptz, decided bigint, with_bound boolean
-- index: domain_events_timestamp
-- Clocks disagree: 25, not one. Gaps as in create_head_token.
-- From there 25 events back, as long as one of them is at or after the instant as well: its clock was ahead.
with recursive look as materialized (
    select
        pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) as horizon,
        case when :with_bound then pg_catalog.pg_current_xact_id() end as bound
), places as (
    (
        select number, true as follows
        from (
            select global_sequence_id as number from {schema}.domain_events
            where timestamp_utc >= :instant
            order by timestamp_utc
            limit 25
        ) as next_by_time
        order by next_by_time.number
        limit 1
    )
    union all
    select earlier.number, earlier.follows
    from places cross join lateral (
        select before.number, before.follows
        from (
            select global_sequence_id as number, timestamp_utc >= :instant as follows from {schema}.domain_events
            where global_sequence_id < places.number
            order by global_sequence_id desc
            limit 25
        ) as before
        order by before.follows desc, before.number
        limit 1
    ) as earlier
    where places.follows
), place as (
    select pg_catalog.min(number) as number from places where follows
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

-- name: create_head_token
-- purpose: the number of the last event, and the gaps before it
-- parameters: decided bigint, with_bound boolean
-- index: domain_events_position
-- Up to :decided, nothing comes into gaps any more. A consumer's first token looks at the numbers of the whole log.
with look as materialized (
    select
        pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) as horizon,
        case when :with_bound then pg_catalog.pg_current_xact_id() end as bound
), place as (
    select pg_catalog.max(global_sequence_id) as number from {schema}.domain_events
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

-- name: split_processor
-- purpose: twice as many segments, each new one at the token of the one it was part of; no row when one is claimed
-- parameters: processor text
-- index: tracking_tokens_key
with old as materialized (
    select * from {schema}.tracking_tokens where processor = :processor for update
), free as (
    select pg_catalog.count(*) > 0 and pg_catalog.bool_and({unclaimed}) as all_free from old
), kept as (
    update {schema}.tracking_tokens as one
    set segments = one.segments * 2
    from old, free
    where free.all_free and one.processor = old.processor and one.segment = old.segment
)
insert into {schema}.tracking_tokens (processor, segment, segments, token)
select old.processor, old.segment + old.segments, old.segments * 2, old.token
from old, free
where free.all_free
returning segments

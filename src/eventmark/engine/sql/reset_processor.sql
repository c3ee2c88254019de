-- name: reset_processor
-- purpose: put every segment of a processor at one token; no row when one is claimed
-- parameters: processor text, token text
-- index: tracking_tokens_key
-- The fence rises: what an owner whose lease has ended would still save is refused.
with old as materialized (
    select * from {schema}.tracking_tokens where processor = :processor for update
), free as (
    select pg_catalog.count(*) > 0 and pg_catalog.bool_and({unclaimed}) as all_free from old
)
update {schema}.tracking_tokens as one
set token = :token, owner = null, lease_until = null, fence = one.fence + 1
from old, free
where free.all_free and one.processor = old.processor and one.segment = old.segment
returning one.segment

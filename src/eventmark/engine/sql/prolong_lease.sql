-- name: prolong_lease
-- purpose: keep a segment while a batch is handled; no row when somebody else has claimed it
-- parameters: processor text, segment integer, fence bigint, lease interval
-- index: tracking_tokens_key
update {schema}.tracking_tokens
set lease_until = pg_catalog.clock_timestamp() + :lease
where processor = :processor and segment = :segment and fence = :fence and owner is not null
returning segment

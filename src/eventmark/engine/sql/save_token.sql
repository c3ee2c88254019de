-- name: save_token
-- purpose: store how far a segment has come and prolong its lease; no row when somebody else has claimed it
-- parameters: processor text, segment integer, fence bigint, token text, lease interval
-- index: tracking_tokens_key
update {schema}.tracking_tokens
set token = :token, lease_until = pg_catalog.clock_timestamp() + :lease
where processor = :processor and segment = :segment and fence = :fence and owner is not null
returning segment

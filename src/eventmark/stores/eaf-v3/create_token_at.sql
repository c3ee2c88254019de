-- name: create_token_at
-- purpose: the place of the first event at or after an instant
-- parameters: instant timestamptz
-- index: idx_events_timestamp
select global_sequence_id
from {schema}.domain_events
where timestamp_utc >= :instant
order by timestamp_utc
limit 1

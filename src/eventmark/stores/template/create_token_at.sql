-- name: create_token_at
-- purpose: the first place in the log at or after an instant
-- parameters: instant timestamptz
-- index: events_recorded_at
select written_by as transaction_id, position as global_sequence_id
from {schema}.events
where recorded_at >= :instant
order by recorded_at
limit 1

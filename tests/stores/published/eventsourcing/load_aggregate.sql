-- name: load_aggregate
-- purpose: the events of one aggregate
-- parameters: aggregate_id uuid, from_sequence bigint
-- index: stored_events_pkey
select originator_version as sequence_number, topic as event_type, state as payload
from {schema}.stored_events
where originator_id = :aggregate_id and originator_version >= :from_sequence
order by originator_version

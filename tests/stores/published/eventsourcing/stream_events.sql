-- name: stream_events
-- purpose: a batch of notifications after one of them
-- parameters: global_sequence bigint, batch_size bigint
-- index: stored_events_notification_id_idx
select notification_id as global_sequence_id, originator_id as aggregate_id, originator_version as sequence_number,
    topic as event_type, state as payload
from {schema}.stored_events
where notification_id > :global_sequence
order by notification_id
limit :batch_size

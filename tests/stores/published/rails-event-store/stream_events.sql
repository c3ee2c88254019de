-- name: stream_events
-- purpose: a batch of all events after one of them
-- parameters: global_sequence bigint, batch_size bigint
-- index: event_store_events_pkey
select e.id as global_sequence_id, s.stream as aggregate_id, s.position + 1 as sequence_number, e.event_id, e.event_type,
    e.data as payload, e.metadata, e.created_at as timestamp_utc
from {schema}.event_store_events e
join {schema}.event_store_events_in_streams s using (event_id)
where e.id > :global_sequence
order by e.id
limit :batch_size

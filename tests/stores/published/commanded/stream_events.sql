-- name: stream_events
-- purpose: a batch of all events after a number
-- parameters: global_sequence bigint, batch_size bigint
-- index: ix_stream_events
select p.stream_version as global_sequence_id, s.stream_uuid as aggregate_id, p.original_stream_version as sequence_number,
    e.event_id, e.event_type, e.data as payload, e.metadata, e.created_at as timestamp_utc
from {schema}.stream_events p
join {schema}.streams s on s.stream_id = p.original_stream_id
join {schema}.events e using (event_id)
where p.stream_id = 0 and p.stream_version > :global_sequence
order by p.stream_version
limit :batch_size

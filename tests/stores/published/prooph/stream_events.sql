-- name: stream_events
-- purpose: a batch of the stream of all after a number
-- parameters: global_sequence bigint, batch_size bigint
-- index: event_stream_pkey
select no as global_sequence_id, aggregate_id, aggregate_version as sequence_number, event_id, event_name as event_type,
    payload, metadata, created_at as timestamp_utc
from {schema}.log
where no > :global_sequence
order by no
limit :batch_size

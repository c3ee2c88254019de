-- name: stream_events
-- purpose: a batch of all events after a global index
-- parameters: global_sequence bigint, batch_size bigint
-- index: domain_event_entry_pkey
select global_index as global_sequence_id, aggregate_identifier as aggregate_id, sequence_number + 1 as sequence_number,
    event_identifier as event_id, payload_type as event_type, payload, meta_data as metadata, time_stamp as timestamp_utc
from {schema}.domain_event_entry
where global_index > :global_sequence
order by global_index
limit :batch_size

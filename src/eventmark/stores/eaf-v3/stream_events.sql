-- name: stream_events
-- purpose: a batch of events of all tenants after the last number seen
-- parameters: global_sequence bigint, batch_size bigint
-- index: domain_events_pkey
-- A number below the last one seen can still be committed: whoever reads like this loses its event.
select
    global_sequence_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type, aggregate_id, event_type,
    payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where global_sequence_id > :global_sequence
order by global_sequence_id
limit :batch_size

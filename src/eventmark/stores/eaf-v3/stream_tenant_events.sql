-- name: stream_tenant_events
-- purpose: a batch of one tenant's events after the last number seen
-- parameters: tenant_id text, global_sequence bigint, batch_size bigint
-- index: idx_events_tenant_sequence
select
    global_sequence_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type, aggregate_id, event_type,
    payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where tenant_id = :tenant_id and global_sequence_id > :global_sequence
order by global_sequence_id
limit :batch_size

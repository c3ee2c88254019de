-- name: stream_tenant_events
-- purpose: a batch of one tenant's events after a place in the log, below the horizon
-- parameters: tenant_id text, transaction_id xid8, global_sequence bigint, batch_size bigint
-- index: domain_events_tenant_position
-- The limit is as in stream_events.
select
    global_sequence_id, transaction_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type,
    aggregate_id, event_type, payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where tenant_id = :tenant_id
    and (transaction_id, global_sequence_id) > (:transaction_id, :global_sequence)
    and transaction_id < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
order by transaction_id, global_sequence_id
limit case
    when :transaction_id <= pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
    then :batch_size else -1
end

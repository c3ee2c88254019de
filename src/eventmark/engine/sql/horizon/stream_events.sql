-- name: stream_events
-- purpose: a batch of events of all tenants after a place in the log, below the horizon
-- parameters: transaction_id xid8, global_sequence bigint, batch_size bigint
-- index: domain_events_position
-- Below the oldest running transaction nothing can commit any more, so no event can still appear before
-- a place that a consumer has passed. No token of this server's is beyond it: one that is comes from a server
-- that was ahead of it, would hide what this one writes next, and is made an error by the negative limit.
select
    global_sequence_id, transaction_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type,
    aggregate_id, event_type, payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where (transaction_id, global_sequence_id) > (:transaction_id, :global_sequence)
    and transaction_id < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
order by transaction_id, global_sequence_id
limit case
    when :transaction_id <= pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
    then :batch_size else -1
end

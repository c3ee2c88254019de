-- name: load_part
-- purpose: a number of events of one aggregate from a sequence number on, in order; for streams too large to load
-- parameters: tenant_id text, aggregate_id text, from_sequence bigint, event_count bigint
-- index: domain_events_stream
select
    global_sequence_id, transaction_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type,
    aggregate_id, event_type, payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where tenant_id = :tenant_id and aggregate_id = :aggregate_id and sequence_number >= :from_sequence
order by sequence_number
limit :event_count

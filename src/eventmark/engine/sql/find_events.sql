-- name: find_events
-- purpose: the events with these ids that are stored, to find out what became of an append of unknown outcome
-- parameters: tenant_id text, event_ids uuid[]
-- index: domain_events_event_id
select
    global_sequence_id, transaction_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type,
    aggregate_id, event_type, payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where tenant_id = :tenant_id and event_id = any (:event_ids)
order by aggregate_id, sequence_number

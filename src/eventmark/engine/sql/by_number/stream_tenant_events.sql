-- name: stream_tenant_events
-- purpose: a batch of one tenant's events after a number
-- parameters: tenant_id text, global_sequence bigint, batch_size bigint
-- index: domain_events_tenant_position
-- The limit is as in stream_events. From "between" the planner does not learn that there is one tenant, so that only
-- the tenant's index has this order. Told "=", it takes the primary key where tenants are few, and a small one's
-- batch is looked for among all events.
select
    global_sequence_id, transaction_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type,
    aggregate_id, event_type, payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where tenant_id between :tenant_id and :tenant_id and global_sequence_id > :global_sequence
order by tenant_id, global_sequence_id
limit case
    when :global_sequence <= (select last_value from {schema}.domain_events_global_sequence_id_seq)
    then :batch_size else -1
end

-- name: stream_events
-- purpose: a batch of events of all tenants after a number
-- parameters: global_sequence bigint, batch_size bigint
-- index: domain_events_position
-- No token is beyond the last number drawn; one that is would hide what comes next, and is made an error.
select
    global_sequence_id, transaction_id, sequence_number, timestamp_utc, event_id, tenant_id, aggregate_type,
    aggregate_id, event_type, payload_type, payload_revision, payload, metadata
from {schema}.domain_events
where global_sequence_id > :global_sequence
order by global_sequence_id
limit case
    when :global_sequence <= (select last_value from {schema}.domain_events_global_sequence_id_seq)
    then :batch_size else -1
end

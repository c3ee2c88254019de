-- name: events_by_time
-- purpose: a batch of a tenant's events after a number, in the order of their times
-- parameters: tenant_id text, global_sequence bigint, batch_size bigint
-- index: none
-- No index has this order after a number: all that follows is read and sorted, little of it near the tail.
select global_sequence_id, sequence_number, event_type, payload
from {schema}.domain_events
where tenant_id = :tenant_id and global_sequence_id > :global_sequence
order by timestamp_utc, global_sequence_id
limit :batch_size

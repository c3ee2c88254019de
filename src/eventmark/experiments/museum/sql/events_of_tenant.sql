-- name: events_of_tenant
-- purpose: a batch of one tenant's events after a number
-- parameters: tenant_id text, global_sequence bigint, batch_size bigint
-- index: none
select global_sequence_id, sequence_number, event_type, payload
from {schema}.domain_events
where tenant_id = :tenant_id and global_sequence_id > :global_sequence
order by global_sequence_id
limit :batch_size

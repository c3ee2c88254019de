-- name: events_of_optional_tenant
-- purpose: a batch after a number, of one tenant, or of all when none is given
-- parameters: tenant_id text, global_sequence bigint, batch_size bigint
-- index: none
-- A generic plan has to do for no tenant as well: it reads everybody's events and leaves out the others'.
select global_sequence_id, sequence_number, event_type, payload
from {schema}.domain_events
where (:tenant_id::text is null or tenant_id = :tenant_id) and global_sequence_id > :global_sequence
order by global_sequence_id
limit :batch_size

-- name: create_head_token
-- purpose: the number of a tenant's last event; no row when there is none
-- parameters: tenant_id text
-- index: domain_events_tenant_position
select global_sequence_id
from {schema}.domain_events
where tenant_id = :tenant_id
order by global_sequence_id desc
limit 1

-- name: earlier_event
-- purpose: of the 100 events of a tenant before a number, the first at or after an instant: its clock was ahead
-- parameters: tenant_id text, instant timestamptz, global_sequence bigint
-- index: domain_events_tenant_position
select global_sequence_id
from (
    select global_sequence_id, timestamp_utc
    from {schema}.domain_events
    where tenant_id = :tenant_id and global_sequence_id < :global_sequence
    order by global_sequence_id desc
    limit 100
) as before
where timestamp_utc >= :instant
order by before.global_sequence_id
limit 1

-- name: create_token_at
-- purpose: the lowest number among the 100 events of a tenant that follow an instant; clocks disagree
-- parameters: tenant_id text, instant timestamptz
-- index: domain_events_timestamp
select global_sequence_id
from (
    select global_sequence_id from {schema}.domain_events
    where tenant_id = :tenant_id and timestamp_utc >= :instant
    order by timestamp_utc
    limit 100
) as next_by_time
order by global_sequence_id
limit 1

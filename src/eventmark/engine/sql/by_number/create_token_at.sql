-- name: create_token_at
-- purpose: the lowest number among the 100 events that follow an instant; clocks disagree
-- parameters: instant timestamptz
-- index: domain_events_timestamp
select global_sequence_id
from (
    select global_sequence_id from {schema}.domain_events
    where timestamp_utc >= :instant
    order by timestamp_utc
    limit 100
) as next_by_time
order by global_sequence_id
limit 1

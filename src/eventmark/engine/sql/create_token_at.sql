-- name: create_token_at
-- purpose: the first place in the log among the 100 events that follow an instant; clocks disagree
-- parameters: instant timestamptz
-- index: domain_events_timestamp
select transaction_id, global_sequence_id
from (
    select transaction_id, global_sequence_id
    from {schema}.domain_events
    where timestamp_utc >= :instant
    order by timestamp_utc
    limit 100
) as next_by_time
order by transaction_id, global_sequence_id
limit 1

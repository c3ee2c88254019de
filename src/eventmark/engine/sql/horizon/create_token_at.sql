-- name: create_token_at
-- purpose: the first place in the log among the 100 events that follow an instant; clocks disagree
-- parameters: instant timestamptz
-- index: domain_events_timestamp
-- No further than the horizon: an older transaction still running may have events that follow the instant.
select
    least(transaction_id, horizon) as transaction_id,
    case when transaction_id < horizon then global_sequence_id else 1 end as global_sequence_id
from (
    select transaction_id, global_sequence_id, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) as horizon
    from {schema}.domain_events
    where timestamp_utc >= :instant
    order by timestamp_utc
    limit 100
) as next_by_time
order by next_by_time.transaction_id, next_by_time.global_sequence_id
limit 1

-- name: create_token_at
-- purpose: the first place in the log among the 25 events that follow an instant; clocks disagree
-- parameters: instant timestamptz
-- index: domain_events_timestamp
-- No further than the horizon: an older transaction still running may have events that follow the instant.
-- From there 25 events back, as long as one of them is at or after the instant as well: its clock was ahead.
with recursive place as (
    (
        select
            least(transaction_id, horizon) as transaction_id,
            case when transaction_id < horizon then global_sequence_id else 1 end as global_sequence_id,
            true as follows
        from (
            select
                transaction_id, global_sequence_id,
                pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) as horizon
            from {schema}.domain_events
            where timestamp_utc >= :instant
            order by timestamp_utc
            limit 25
        ) as next_by_time
        order by next_by_time.transaction_id, next_by_time.global_sequence_id
        limit 1
    )
    union all
    select earlier.transaction_id, earlier.global_sequence_id, earlier.follows
    from place cross join lateral (
        select before.transaction_id, before.global_sequence_id, before.follows
        from (
            select transaction_id, global_sequence_id, timestamp_utc >= :instant as follows
            from {schema}.domain_events
            where (transaction_id, global_sequence_id) < (place.transaction_id, place.global_sequence_id)
            order by transaction_id desc, global_sequence_id desc
            limit 25
        ) as before
        order by before.follows desc, before.transaction_id, before.global_sequence_id
        limit 1
    ) as earlier
    where place.follows
)
select transaction_id, global_sequence_id from place
where follows
order by transaction_id, global_sequence_id
limit 1

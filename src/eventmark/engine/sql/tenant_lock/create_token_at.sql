-- name: create_token_at
-- purpose: the lowest number among the 25 events of a tenant that follow an instant; clocks disagree
-- parameters: tenant_id text, instant timestamptz
-- index: domain_events_timestamp
-- From there 25 events back, as long as one of them is at or after the instant as well: its clock was ahead.
with recursive place as (
    (
        select global_sequence_id, true as follows
        from (
            select global_sequence_id from {schema}.domain_events
            where tenant_id = :tenant_id and timestamp_utc >= :instant
            order by timestamp_utc
            limit 25
        ) as next_by_time
        order by next_by_time.global_sequence_id
        limit 1
    )
    union all
    select earlier.global_sequence_id, earlier.follows
    from place cross join lateral (
        select before.global_sequence_id, before.follows
        from (
            select global_sequence_id, timestamp_utc >= :instant as follows from {schema}.domain_events
            where tenant_id = :tenant_id and global_sequence_id < place.global_sequence_id
            order by global_sequence_id desc
            limit 25
        ) as before
        order by before.follows desc, before.global_sequence_id
        limit 1
    ) as earlier
    where place.follows
)
select global_sequence_id from place where follows order by global_sequence_id limit 1

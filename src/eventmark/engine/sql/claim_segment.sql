-- name: claim_segment
-- purpose: take a free segment, or one whose owner's lease has ended; no row when there is none
-- parameters: processor text, owner text, lease interval
-- index: tracking_tokens_key
-- The fence rises with every claim: what an earlier owner still saves is refused.
update {schema}.tracking_tokens
set owner = :owner, fence = fence + 1, lease = :lease, lease_until = pg_catalog.clock_timestamp() + :lease
where (processor, segment) = (
    select processor, segment
    from {schema}.tracking_tokens
    where processor = :processor and {unclaimed}
    order by segment
    limit 1
    for update skip locked
)
returning segment, segments, token, fence

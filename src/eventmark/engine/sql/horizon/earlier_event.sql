-- name: earlier_event
-- purpose: of the 100 events before a place in the log, the first at or after an instant: its clock was ahead
-- parameters: instant timestamptz, transaction_id xid8, global_sequence bigint
-- index: domain_events_position
select transaction_id, global_sequence_id
from (
    select transaction_id, global_sequence_id, timestamp_utc
    from {schema}.domain_events
    where (transaction_id, global_sequence_id) < (:transaction_id, :global_sequence)
    order by transaction_id desc, global_sequence_id desc
    limit 100
) as before
where timestamp_utc >= :instant
order by before.transaction_id, before.global_sequence_id
limit 1

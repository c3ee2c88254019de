-- name: earlier_event
-- purpose: of the 100 events before a number, the first at or after an instant: its clock was ahead
-- parameters: instant timestamptz, global_sequence bigint
-- index: domain_events_position
select global_sequence_id
from (
    select global_sequence_id, timestamp_utc
    from {schema}.domain_events
    where global_sequence_id < :global_sequence
    order by global_sequence_id desc
    limit 100
) as before
where timestamp_utc >= :instant
order by before.global_sequence_id
limit 1

-- name: token_by_min
-- purpose: the place before the first event that follows an instant, as the lowest number there is
-- parameters: instant timestamptz
-- index: none
-- The planner walks the primary key until it meets such an event, and expects to meet one soon.
select min(global_sequence_id) - 1 as global_sequence_id
from {schema}.domain_events
where timestamp_utc >= :instant

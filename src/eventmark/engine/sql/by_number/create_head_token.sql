-- name: create_head_token
-- purpose: the number of the last event; no row when there is none
-- parameters:
-- index: domain_events_position
select global_sequence_id
from {schema}.domain_events
order by global_sequence_id desc
limit 1

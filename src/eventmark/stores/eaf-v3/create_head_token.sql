-- name: create_head_token
-- purpose: the highest number there is
-- parameters:
-- index: domain_events_pkey
select global_sequence_id
from {schema}.domain_events
order by global_sequence_id desc
limit 1

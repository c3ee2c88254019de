-- name: create_head_token
-- purpose: the last place that a consumer could have been given by now; no row when there is none
-- parameters:
-- index: domain_events_position
-- Below the horizon: what is not there by now will never be. The place of an event, not the horizon itself:
-- a crash gives the ids of transactions that left nothing on disk to later ones, behind such a token.
select transaction_id, global_sequence_id
from {schema}.domain_events
where transaction_id < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
order by transaction_id desc, global_sequence_id desc
limit 1

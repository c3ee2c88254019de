-- name: create_head_token
-- purpose: the horizon: every event below it is visible to consumers or will never exist
-- parameters:
-- index: none
select pg_snapshot_xmin(pg_current_snapshot()) as transaction_id

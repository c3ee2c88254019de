-- name: create_head_token
-- purpose: the end of the log as consumers may see it now
-- parameters:
-- index: none
-- The result needs transaction_id or global_sequence_id, or both.
select pg_snapshot_xmin(pg_current_snapshot()) as transaction_id

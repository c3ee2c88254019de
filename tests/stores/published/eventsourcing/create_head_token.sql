-- name: create_head_token
-- purpose: the last notification
-- parameters:
-- index: stored_events_notification_id_idx
select notification_id as global_sequence_id from {schema}.stored_events order by notification_id desc limit 1

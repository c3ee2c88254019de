-- name: release_segment
-- purpose: give a segment back, if it is still ours
-- parameters: processor text, segment integer, fence bigint
-- index: tracking_tokens_key
update {schema}.tracking_tokens
set owner = null, lease_until = null
where processor = :processor and segment = :segment and fence = :fence
returning segment

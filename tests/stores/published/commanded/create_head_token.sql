-- name: create_head_token
-- purpose: the version of the stream of all
-- parameters:
-- index: streams_pkey
select stream_version as global_sequence_id from {schema}.streams where stream_id = 0 and stream_version > 0

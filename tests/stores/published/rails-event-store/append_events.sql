-- name: append_events
-- purpose: one event and its place; a place that is taken breaks the unique index, which is the conflict
-- parameters: aggregate_id text, sequence_number integer, event_id uuid, event_type text, payload jsonb, metadata jsonb, timestamp timestamp
-- index: none
with stored as (
    insert into {schema}.event_store_events (event_id, event_type, metadata, data, created_at)
    values (:event_id, :event_type, :metadata, :payload, :timestamp)
    returning id, event_id, created_at
), placed as (
    insert into {schema}.event_store_events_in_streams (stream, position, event_id, created_at)
    select :aggregate_id, :sequence_number - 1, event_id, created_at from stored
)
select id as last_global_sequence from stored

-- name: append_events
-- purpose: one event and its tag; a number that is taken breaks the primary key, which is the conflict
-- parameters: aggregate_id text, sequence_number bigint, event_type text, payload bytea, metadata bytea, timestamp bigint
-- index: none
with stored as (
    insert into {schema}.event_journal (persistence_id, sequence_number, writer, write_timestamp, event_ser_id,
        event_ser_manifest, event_payload, meta_payload)
    values (:aggregate_id, :sequence_number, 'one', :timestamp, 33, :event_type, :payload, :metadata)
    returning ordering
), tagged as (
    insert into {schema}.event_tag (event_id, persistence_id, sequence_number, tag)
    select ordering, :aggregate_id, :sequence_number, 'order' from stored
)
select ordering as last_global_sequence from stored

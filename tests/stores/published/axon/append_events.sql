-- name: append_events
-- purpose: one event; sequence numbers begin with 0
-- parameters: event_id text, aggregate_id text, aggregate_type text, sequence_number bigint, event_type text, payload_revision text, payload bytea, metadata bytea, timestamp text
-- index: none
insert into {schema}.domain_event_entry
    (event_identifier, aggregate_identifier, type, sequence_number, payload_type, payload_revision, payload, meta_data, time_stamp)
values (:event_id, :aggregate_id, :aggregate_type, :sequence_number - 1, :event_type, :payload_revision, :payload, :metadata, :timestamp)

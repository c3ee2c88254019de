-- name: append_events
-- purpose: one event by the function, whose lock has appends take turns; a version that is taken breaks the unique index
-- parameters: event_id uuid, aggregate_id text, sequence_number bigint, event_type text, payload json, metadata jsonb, timestamp timestamp
-- index: none
select {schema}.put(:event_id, :event_type, :payload, :metadata || jsonb_build_object(
    '_aggregate_type', 'order', '_aggregate_id', :aggregate_id::text, '_aggregate_version', :sequence_number::bigint
), :timestamp) as last_global_sequence

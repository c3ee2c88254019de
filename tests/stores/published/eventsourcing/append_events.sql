-- name: append_events
-- purpose: a batch, after the lock that makes appends take turns; a version that is taken breaks the primary key
-- parameters: aggregate_id uuid, expected_version bigint, event_types text[], payloads bytea[]
-- index: none
select {schema}.put(:aggregate_id, :expected_version, :event_types::text[], :payloads::bytea[]) as last_global_sequence

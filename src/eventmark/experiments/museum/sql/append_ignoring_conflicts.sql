-- name: append_ignoring_conflicts
-- purpose: append one event; a version that is taken is passed over
-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_id uuid, payload json
-- index: domain_events_stream
insert into {schema}.domain_events (
    sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type, aggregate_id,
    event_type, payload_type, payload_revision, payload, metadata
)
values (
    :sequence_number::bigint, :sequence_number::bigint - 1, now(), :event_id::uuid, :tenant_id::text,
    'Hunt:' || :aggregate_id::text, 'Hunt', :aggregate_id::text, 'Hunted', 'Hunted', '1.0', :payload::json, '{}'
)
on conflict do nothing

-- name: append_checking_first
-- purpose: append one event where the stream's last one is the expected; nothing but this look keeps a second out
-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_id uuid, payload json
-- index: none
insert into {schema}.domain_events (
    sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type, aggregate_id,
    event_type, payload_type, payload_revision, payload, metadata
)
select
    :sequence_number::bigint, :sequence_number::bigint - 1, now(), :event_id::uuid, :tenant_id::text,
    'Hunt:' || :aggregate_id::text, 'Hunt', :aggregate_id::text, 'Hunted', 'Hunted', '1.0', :payload::json, '{}'
where :sequence_number::bigint - 1 = (
    select coalesce(max(sequence_number), 0)
    from {schema}.domain_events
    where tenant_id = :tenant_id::text and aggregate_id = :aggregate_id::text
)

-- name: append_events
-- purpose: append a batch; a version that is taken breaks the unique key, which is the conflict
-- parameters: tenant_id text, aggregate_id text, aggregate_type text, expected_version bigint, event_ids uuid[], event_types text[], payloads jsonb[], metadatas jsonb[], timestamps timestamptz[], payload_types text[], payload_revisions text[]
-- index: none
insert into {schema}.domain_events (
    event_id, stream_id, aggregate_id, aggregate_type, expected_version, sequence_number, tenant_id, event_type, payload,
    metadata, timestamp_utc, payload_type, payload_revision
)
select
    event_id, :aggregate_type::text || ':' || :aggregate_id::text, :aggregate_id, :aggregate_type, :expected_version,
    :expected_version + place, :tenant_id, event_type, payload, metadata, happened_at, payload_type, payload_revision
from unnest(
    :event_ids::uuid[], :event_types::text[], :payloads::jsonb[], :metadatas::jsonb[], :timestamps::timestamptz[],
    :payload_types::text[], :payload_revisions::text[]
) with ordinality as batch (
    event_id, event_type, payload, metadata, happened_at, payload_type, payload_revision, place
)
order by place
returning global_sequence_id as last_global_sequence

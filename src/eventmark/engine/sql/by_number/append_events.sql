-- name: append_events
-- purpose: append a batch to one stream, if the stream is at the expected version; one statement, atomic
-- parameters: tenant_id text, aggregate_id text, aggregate_type text, expected_version bigint, event_ids uuid[], event_types text[], payloads {payload}[], metadatas {payload}[], timestamps timestamptz[], payload_types text[], payload_revisions text[]
-- index: domain_events_stream
-- What an ordering does before a number is drawn stands in turn: rows, and with them numbers, come after it.
with turn as materialized (
    {turn}
), last_event as (
    select sequence_number
    from {schema}.domain_events
    where tenant_id = :tenant_id and aggregate_id = :aggregate_id
    order by sequence_number desc
    limit 1
), appended as (
    insert into {schema}.domain_events (
        sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type,
        aggregate_id, event_type, payload_type, payload_revision, payload, metadata
    )
    select
        :expected_version + place, :expected_version, happened_at, event_id, :tenant_id,
        :aggregate_type::text || ':' || :aggregate_id::text, :aggregate_type, :aggregate_id, event_type, payload_type,
        payload_revision, payload, metadata
    from turn cross join rows from (
        pg_catalog.unnest(:event_ids::uuid[]), pg_catalog.unnest(:event_types::text[]),
        pg_catalog.unnest(:payloads::{payload}[]), pg_catalog.unnest(:metadatas::{payload}[]),
        pg_catalog.unnest(:timestamps::timestamptz[]), pg_catalog.unnest(:payload_types::text[]),
        pg_catalog.unnest(:payload_revisions::text[])
    ) with ordinality as batch (
        event_id, event_type, payload, metadata, happened_at, payload_type, payload_revision, place
    )
    where coalesce((select sequence_number from last_event), 0) = :expected_version
    returning global_sequence_id
)
select
    (select pg_catalog.max(global_sequence_id) from appended) as last_global_sequence,
    coalesce((select sequence_number from last_event), 0) as actual_version,
    pg_catalog.pg_current_xact_id() as transaction_id

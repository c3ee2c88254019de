-- name: append_group
-- purpose: append many batches, each to a stream of its own and on its own condition; one statement, one commit
-- parameters: tenant_ids text[], aggregate_ids text[], aggregate_types text[], expected_versions bigint[], batches integer[], steps integer[], event_ids uuid[], event_types text[], payloads jsonb[], metadatas jsonb[], timestamps timestamptz[], payload_types text[], payload_revisions text[]
-- index: domain_events_stream
-- A batch whose stream is not at its expected version is left out, and its row says so. Events are stored in the
-- order of batches, which callers sort by stream: two groups that meet wait for each other, and do not deadlock.
with turn as materialized (
    {turn}
), batch as materialized (
    select
        named.*, coalesce(last_event.sequence_number, 0) as actual_version
    from unnest(
        :tenant_ids::text[], :aggregate_ids::text[], :aggregate_types::text[], :expected_versions::bigint[]
    ) with ordinality as named (tenant_id, aggregate_id, aggregate_type, expected_version, number)
    left join lateral (
        select sequence_number
        from {schema}.domain_events
        where tenant_id = named.tenant_id and aggregate_id = named.aggregate_id
        order by sequence_number desc
        limit 1
    ) as last_event on true
), appended as (
    insert into {schema}.domain_events (
        sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type,
        aggregate_id, event_type, payload_type, payload_revision, payload, metadata
    )
    select
        batch.expected_version + step, batch.expected_version, happened_at, event_id, batch.tenant_id,
        batch.aggregate_type || ':' || batch.aggregate_id, batch.aggregate_type, batch.aggregate_id, event_type,
        payload_type, payload_revision, payload, metadata
    from turn cross join batch join unnest(
        :batches::integer[], :steps::integer[], :event_ids::uuid[], :event_types::text[], :payloads::jsonb[],
        :metadatas::jsonb[], :timestamps::timestamptz[], :payload_types::text[], :payload_revisions::text[]
    ) as event (
        number, step, event_id, event_type, payload, metadata, happened_at, payload_type, payload_revision
    ) using (number)
    where batch.actual_version = batch.expected_version
    order by number, step
    returning tenant_id, aggregate_id, global_sequence_id
)
select last_global_sequence, batch.actual_version, pg_current_xact_id() as transaction_id
from batch
left join (
    select tenant_id, aggregate_id, max(global_sequence_id) as last_global_sequence
    from appended
    group by tenant_id, aggregate_id
) as stored using (tenant_id, aggregate_id)
order by batch.number

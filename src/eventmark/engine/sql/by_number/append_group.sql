-- name: append_group
-- purpose: append many batches, each to a stream of its own and on its own condition; one statement, one commit
-- parameters: tenant_ids text, aggregate_ids text, aggregate_types text, expected_versions text, batches text, steps text, event_ids text, event_types text, payloads text, metadatas text, timestamps timestamptz[], payload_types text, payload_revisions text
-- index: domain_events_stream
-- Each text holds the values of one column, separated by the character 30, which neither ids nor JSON can hold.
-- A batch whose stream is not at its expected version is left out, and named in the answer. Events are stored, and
-- numbered, in the order of batches, which callers sort by stream: two groups that meet wait for each other, and do
-- not deadlock.
with turn as materialized (
    {turn}
), batch as materialized (
    select
        named.*, coalesce(last_event.sequence_number, 0) as actual_version,
        coalesce(last_event.sequence_number, 0) = named.expected_version as goes_on
    from rows from (
        pg_catalog.unnest(pg_catalog.string_to_array(:tenant_ids::text, e'\x1e')),
        pg_catalog.unnest(pg_catalog.string_to_array(:aggregate_ids::text, e'\x1e')),
        pg_catalog.unnest(pg_catalog.string_to_array(:aggregate_types::text, e'\x1e')),
        pg_catalog.unnest(pg_catalog.string_to_array(:expected_versions::text, e'\x1e')::bigint[])
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
    from turn cross join batch join rows from (
        pg_catalog.unnest(pg_catalog.string_to_array(:batches::text, e'\x1e')::integer[]),
        pg_catalog.unnest(pg_catalog.string_to_array(:steps::text, e'\x1e')::integer[]),
        pg_catalog.unnest(pg_catalog.string_to_array(:event_ids::text, e'\x1e')::uuid[]),
        pg_catalog.unnest(pg_catalog.string_to_array(:event_types::text, e'\x1e')),
        pg_catalog.unnest(pg_catalog.string_to_array(:payloads::text, e'\x1e')::{payload}[]),
        pg_catalog.unnest(pg_catalog.string_to_array(:metadatas::text, e'\x1e')::{payload}[]),
        pg_catalog.unnest(:timestamps::timestamptz[]),
        pg_catalog.unnest(pg_catalog.string_to_array(:payload_types::text, e'\x1e')),
        pg_catalog.unnest(pg_catalog.string_to_array(:payload_revisions::text, e'\x1e'))
    ) as event (
        number, step, event_id, event_type, payload, metadata, happened_at, payload_type, payload_revision
    ) using (number)
    where batch.goes_on
    order by number, step
    returning global_sequence_id
)
select
    (select pg_catalog.array_agg(global_sequence_id order by global_sequence_id) from appended) as global_sequences,
    (select pg_catalog.array_agg(number order by number) from batch where not goes_on) as left_out,
    (select pg_catalog.array_agg(actual_version order by number) from batch where not goes_on) as actual_versions,
    pg_catalog.pg_current_xact_id() as transaction_id

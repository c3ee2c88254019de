-- name: store_snapshot
-- purpose: store a snapshot, unless its event does not exist or a younger snapshot does
-- parameters: tenant_id text, aggregate_id text, aggregate_type text, sequence_number bigint, timestamp_utc timestamptz, payload_type text, payload_revision text, payload {payload}
-- index: domain_events_stream
insert into {schema}.aggregate_snapshots (
    sequence_number, timestamp_utc, tenant_id, aggregate_id, aggregate_type, payload_type, payload_revision,
    payload
)
select
    :sequence_number, :timestamp_utc, :tenant_id, :aggregate_id, :aggregate_type, :payload_type,
    :payload_revision, :payload
where exists (
    select from {schema}.domain_events
    where tenant_id = :tenant_id and aggregate_id = :aggregate_id and sequence_number = :sequence_number
) and not exists (
    select from {schema}.aggregate_snapshots
    where tenant_id = :tenant_id and aggregate_id = :aggregate_id and sequence_number > :sequence_number
)
on conflict on constraint aggregate_snapshots_key do update set
    payload = excluded.payload, payload_type = excluded.payload_type,
    payload_revision = excluded.payload_revision, timestamp_utc = excluded.timestamp_utc
returning sequence_number

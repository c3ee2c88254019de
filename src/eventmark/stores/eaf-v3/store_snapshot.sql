-- name: store_snapshot
-- purpose: keep a snapshot; the same sequence number again replaces it
-- parameters: tenant_id text, aggregate_id text, aggregate_type text, sequence_number bigint, timestamp_utc timestamptz, payload_type text, payload_revision text, payload jsonb
-- index: none
insert into {schema}.aggregate_snapshots (
    sequence_number, timestamp_utc, tenant_id, aggregate_id, aggregate_type, payload_type, payload_revision, payload
)
values (
    :sequence_number, :timestamp_utc, :tenant_id, :aggregate_id, :aggregate_type, :payload_type, :payload_revision,
    :payload
)
on conflict on constraint aggregate_snapshots_key do update set
    payload = excluded.payload, payload_type = excluded.payload_type, payload_revision = excluded.payload_revision,
    timestamp_utc = excluded.timestamp_utc

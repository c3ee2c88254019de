-- name: read_snapshot
-- purpose: the latest snapshot of an aggregate
-- parameters: tenant_id text, aggregate_id text
-- index: aggregate_snapshots_key
select
    sequence_number, timestamp_utc, tenant_id, aggregate_id, aggregate_type, payload_type, payload_revision, payload
from {schema}.aggregate_snapshots
where tenant_id = :tenant_id and aggregate_id = :aggregate_id
order by sequence_number desc
limit 1

-- name: read_snapshot
-- purpose: the latest snapshot of an aggregate
-- parameters: aggregate_id uuid
-- index: snapshots_pkey
select originator_version as sequence_number, state as payload
from {schema}.snapshots
where originator_id = :aggregate_id
order by originator_version desc
limit 1

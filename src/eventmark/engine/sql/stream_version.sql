-- name: stream_version
-- purpose: the sequence number of a stream's last event
-- parameters: tenant_id text, aggregate_id text
-- index: domain_events_stream
select sequence_number
from {schema}.domain_events
where tenant_id = :tenant_id and aggregate_id = :aggregate_id
order by sequence_number desc
limit 1

-- name: stream_length
-- purpose: how many events a stream has, from the index alone where the visibility map allows it
-- parameters: tenant_id text, aggregate_id text
-- index: domain_events_stream
select count(*) as events, max(sequence_number) as sequence_number
from {schema}.domain_events
where tenant_id = :tenant_id and aggregate_id = :aggregate_id

-- name: load_aggregate
-- purpose: the events of one aggregate
-- parameters: aggregate_id text, from_sequence bigint
-- index: event_stream_aggregate
select (metadata ->> '_aggregate_version')::int as sequence_number, event_id, event_name as event_type, payload, metadata,
    created_at as timestamp_utc
from {schema}.event_stream
where metadata ->> '_aggregate_type' = 'order' and metadata ->> '_aggregate_id' = :aggregate_id
    and (metadata ->> '_aggregate_version')::int >= :from_sequence
order by (metadata ->> '_aggregate_version')::int

-- name: load_aggregate
-- purpose: the events of one stream
-- parameters: aggregate_id text, from_sequence bigint
-- index: ix_stream_events
select p.stream_version as sequence_number, e.event_id, e.event_type, e.data as payload, e.metadata, e.created_at as timestamp_utc
from {schema}.stream_events p
join {schema}.events e using (event_id)
where p.stream_id = (select stream_id from {schema}.streams where stream_uuid = :aggregate_id)
    and p.stream_version >= :from_sequence
order by p.stream_version

-- name: load_aggregate
-- purpose: the events of one stream
-- parameters: aggregate_id text, from_sequence integer
-- index: index_event_store_events_in_streams_on_stream_and_position
select s.position + 1 as sequence_number, e.event_id, e.event_type, e.data as payload, e.metadata, e.created_at as timestamp_utc
from {schema}.event_store_events_in_streams s
join {schema}.event_store_events e using (event_id)
where s.stream = :aggregate_id and s.position >= :from_sequence - 1
order by s.position

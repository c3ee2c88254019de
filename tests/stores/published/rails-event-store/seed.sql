insert into {schema}.event_store_events (id, event_id, event_type, metadata, data, created_at)
select global_sequence_id, event_id, event_type, metadata, payload, timestamp_utc from seeded_events;

insert into {schema}.event_store_events_in_streams (stream, position, event_id, created_at)
select aggregate_id, sequence_number, event_id, timestamp_utc from seeded_events order by global_sequence_id;

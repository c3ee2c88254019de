insert into {schema}.event_stream (no, event_id, event_name, payload, metadata, created_at)
select global_sequence_id, event_id, event_type, payload, metadata || jsonb_build_object(
    '_aggregate_type', 'order', '_aggregate_id', aggregate_id, '_aggregate_version', sequence_number
), timestamp_utc
from seeded_events;

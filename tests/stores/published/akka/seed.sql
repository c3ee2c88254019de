insert into {schema}.event_journal (ordering, persistence_id, sequence_number, writer, write_timestamp, event_ser_id,
    event_ser_manifest, event_payload, meta_payload)
select global_sequence_id, aggregate_id, sequence_number, 'seed', timestamp_utc, 33, event_type, payload, metadata
from seeded_events;

insert into {schema}.event_tag (event_id, persistence_id, sequence_number, tag)
select global_sequence_id, aggregate_id, sequence_number, 'order' from seeded_events;

-- name: load_aggregate
-- purpose: the events of one persistence id
-- parameters: aggregate_id text, from_sequence bigint
-- index: event_journal_pkey
select sequence_number, event_ser_manifest as event_type, event_payload as payload, meta_payload as metadata,
    write_timestamp as timestamp_utc
from {schema}.event_journal
where persistence_id = :aggregate_id and sequence_number >= :from_sequence and not deleted
order by sequence_number

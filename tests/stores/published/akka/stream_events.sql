-- name: stream_events
-- purpose: a batch of one tag's events after a number
-- parameters: global_sequence bigint, batch_size bigint
-- index: event_journal_ordering_idx
select j.ordering as global_sequence_id, j.persistence_id as aggregate_id, j.sequence_number,
    j.event_ser_manifest as event_type, j.event_payload as payload, j.write_timestamp as timestamp_utc
from {schema}.event_journal j
join {schema}.event_tag t on t.event_id = j.ordering
where t.tag = 'order' and j.ordering > :global_sequence and not j.deleted
order by j.ordering
limit :batch_size

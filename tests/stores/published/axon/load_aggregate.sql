-- name: load_aggregate
-- purpose: the events of one aggregate
-- parameters: aggregate_id text, from_sequence bigint
-- index: domain_event_entry_aggregate_identifier_sequence_number_key
select sequence_number + 1 as sequence_number, event_identifier as event_id, payload_type as event_type, payload,
    meta_data as metadata, time_stamp as timestamp_utc
from {schema}.domain_event_entry
where aggregate_identifier = :aggregate_id and sequence_number >= :from_sequence - 1
order by sequence_number

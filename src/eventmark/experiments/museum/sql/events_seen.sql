-- name: events_seen
-- purpose: a batch of events after a place in the log; whose they are is left to row-level security
-- parameters: transaction_id xid8, global_sequence bigint, batch_size bigint
-- index: none
select global_sequence_id, sequence_number, event_type, payload
from {schema}.domain_events
where (transaction_id, global_sequence_id) > (:transaction_id, :global_sequence)
order by transaction_id, global_sequence_id
limit :batch_size

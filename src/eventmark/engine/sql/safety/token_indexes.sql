-- Indexes that create_token_at is answered from alone, as in stores that are made today: for one of the default ordering
-- that is older. In one transaction it locks writers out while it builds; either "create index" may be run beforehand
-- with "concurrently", outside of a transaction.
create unique index domain_events_covering_position
    on {schema}.domain_events (transaction_id, global_sequence_id) include (timestamp_utc);
alter table {schema}.domain_events
    drop constraint domain_events_position,
    add constraint domain_events_position primary key using index domain_events_covering_position;
create index domain_events_covering_timestamp
    on {schema}.domain_events (timestamp_utc) include (transaction_id, global_sequence_id);
drop index {schema}.domain_events_timestamp;
alter index {schema}.domain_events_covering_timestamp rename to domain_events_timestamp;

-- As first published. What each was meant for is a guess; which of them a statement needs can be measured.
create unique index domain_events_pkey on {schema}.domain_events (global_sequence_id);

create unique index domain_events_event_id_key on {schema}.domain_events (event_id);

create unique index domain_events_stream_key on {schema}.domain_events (tenant_id, aggregate_id, sequence_number);

create index idx_events_timestamp on {schema}.domain_events (timestamp_utc);

create index idx_events_tenant_sequence on {schema}.domain_events (tenant_id, global_sequence_id);

create index idx_events_stream on {schema}.domain_events (tenant_id, stream_id, sequence_number);

create index idx_events_stream_replay on {schema}.domain_events (tenant_id, stream_id, sequence_number);

create index idx_events_streaming on {schema}.domain_events (tenant_id, global_sequence_id, timestamp_utc);

create index idx_events_payload_type on {schema}.domain_events (tenant_id, payload_type);

create index idx_events_type_time on {schema}.domain_events (tenant_id, event_type, timestamp_utc);

create index idx_events_aggregate on {schema}.domain_events (tenant_id, aggregate_id, sequence_number);

create index idx_events_business_critical on {schema}.domain_events (tenant_id, event_type, timestamp_utc)
    where event_type in ('OrderPlaced', 'OrderCancelled', 'PaymentRegistered', 'InvoiceVoided');

alter table {schema}.domain_events
    add constraint domain_events_pkey primary key using index domain_events_pkey;

alter table {schema}.domain_events
    add constraint domain_events_event_id_key unique using index domain_events_event_id_key;

alter table {schema}.domain_events
    add constraint domain_events_stream_key unique using index domain_events_stream_key;

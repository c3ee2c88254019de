-- One statement per index, each with the queries that need it. Built after a bulk load, or with the schema.

-- stream_events of all tenants; also keeps a place in the log from being taken twice; create_token_at, as below
create unique index domain_events_position on {schema}.domain_events (global_sequence_id) include (timestamp_utc);

-- load_aggregate; append_events (the stream's last event; one winner per version)
create unique index domain_events_stream on {schema}.domain_events (tenant_id, aggregate_id, sequence_number);

-- append_events (no event id twice); led by the tenant, so that one tenant cannot probe another's ids
create unique index domain_events_event_id on {schema}.domain_events (tenant_id, event_id);

-- stream_events of one tenant
create index domain_events_tenant_position on {schema}.domain_events (tenant_id, global_sequence_id);

-- create_token_at, from the index alone: on the table's pages, a look-up takes longer the more events there are
create index domain_events_timestamp on {schema}.domain_events (timestamp_utc) include (global_sequence_id);

alter table {schema}.domain_events
    add constraint domain_events_position primary key using index domain_events_position;

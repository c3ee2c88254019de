-- One statement per index, each with the queries that need it. Built after a bulk load, or with the schema.
-- Nothing is read without a tenant: there is no index on the number alone.

-- stream_tenant_events, create_head_token; also keeps a place in a tenant's log from being taken twice; create_token_at
create unique index domain_events_tenant_position
    on {schema}.domain_events (tenant_id, global_sequence_id) include (timestamp_utc);

-- load_aggregate; append_events (the stream's last event; one winner per version)
create unique index domain_events_stream on {schema}.domain_events (tenant_id, aggregate_id, sequence_number);

-- append_events (no event id twice); led by the tenant, so that one tenant cannot probe another's ids
create unique index domain_events_event_id on {schema}.domain_events (tenant_id, event_id);

-- create_token_at; by the time alone, a small tenant's would be looked for among all others' events
-- From the index alone: on the table's pages, a look-up takes longer the more events there are.
create index domain_events_timestamp
    on {schema}.domain_events (tenant_id, timestamp_utc) include (global_sequence_id);

alter table {schema}.domain_events
    add constraint domain_events_tenant_position primary key using index domain_events_tenant_position;

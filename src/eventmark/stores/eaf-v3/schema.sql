-- The table grew: payload_type and payload_revision came later, with a trigger for writers that do not know them.
create table {schema}.domain_events (
    global_sequence_id bigserial not null,
    event_id uuid not null,
    stream_id text not null,
    aggregate_id text not null,
    aggregate_type text not null,
    expected_version bigint not null,
    sequence_number bigint not null,
    tenant_id text not null,
    event_type text not null,
    payload jsonb not null,
    metadata jsonb not null default '{}',
    timestamp_utc timestamptz not null default now(),
    payload_type text not null,
    payload_revision text not null,
    constraint domain_events_payload_type_check check (length(trim(payload_type)) > 0),
    constraint domain_events_payload_revision_check check (payload_revision ~ '^[0-9]+\.[0-9]+$')
);

create table {schema}.aggregate_snapshots (
    sequence_number bigint not null,
    timestamp_utc timestamptz not null,
    tenant_id text not null,
    aggregate_id text not null,
    aggregate_type text not null,
    payload_type text not null,
    payload_revision text not null,
    payload jsonb not null,
    constraint aggregate_snapshots_key primary key (tenant_id, aggregate_id, sequence_number)
);

create function {schema}.fill_payload_columns() returns trigger language plpgsql as $$
begin
    if new.payload_type is null then
        new.payload_type := new.event_type;
    end if;
    if new.payload_revision is null then
        new.payload_revision := '1.0';
    end if;
    return new;
end
$$;

create trigger domain_events_fill_payload_columns
    before insert on {schema}.domain_events
    for each row execute function {schema}.fill_payload_columns();

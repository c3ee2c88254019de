create table {schema}.event_stream (
    no bigserial primary key,
    event_id uuid not null unique,
    event_name varchar(100) not null,
    payload json not null,
    metadata jsonb not null,
    created_at timestamp(6) not null,
    constraint aggregate_version_not_null check ((metadata ->> '_aggregate_version') is not null),
    constraint aggregate_type_not_null check ((metadata ->> '_aggregate_type') is not null),
    constraint aggregate_id_not_null check ((metadata ->> '_aggregate_id') is not null)
);

create view {schema}.log as
select no, (metadata ->> '_aggregate_id') as aggregate_id, (metadata ->> '_aggregate_version')::int as aggregate_version,
    event_id, event_name, payload, metadata - '{_aggregate_type, _aggregate_id, _aggregate_version}'::text[] as metadata, created_at
from {schema}.event_stream;

create function {schema}.put(id uuid, name text, body json, about jsonb, at timestamp) returns bigint
language plpgsql as $$
declare
    last bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('event_stream', 0));
    insert into {schema}.event_stream (event_id, event_name, payload, metadata, created_at)
    values (id, name, body, about, at) returning no into last;
    return last;
end
$$;

create table {schema}.streams (
    stream_id bigserial primary key,
    stream_uuid text not null unique,
    stream_version bigint not null default 0,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);

create table {schema}.events (
    event_id uuid primary key,
    event_type text not null,
    causation_id uuid,
    correlation_id uuid,
    data bytea not null,
    metadata bytea,
    created_at timestamptz not null default now()
);

create table {schema}.stream_events (
    event_id uuid not null references {schema}.events,
    stream_id bigint not null references {schema}.streams,
    stream_version bigint not null,
    original_stream_id bigint references {schema}.streams,
    original_stream_version bigint,
    primary key (event_id, stream_id)
);

insert into {schema}.streams (stream_id, stream_uuid) values (0, '$all');

create view {schema}.log as
select a.stream_version as event_number, s.stream_uuid, a.original_stream_version as stream_version, e.event_id, e.event_type,
    e.data, e.metadata, e.created_at
from {schema}.stream_events a
join {schema}.streams s on s.stream_id = a.original_stream_id
join {schema}.events e using (event_id)
where a.stream_id = 0;

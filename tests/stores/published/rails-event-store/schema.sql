create table {schema}.event_store_events (
    id bigserial primary key,
    event_id uuid not null,
    event_type varchar not null,
    metadata jsonb,
    data jsonb not null,
    created_at timestamp not null,
    valid_at timestamp
);

create table {schema}.event_store_events_in_streams (
    id bigserial primary key,
    stream varchar not null,
    position integer,
    event_id uuid not null,
    created_at timestamp not null
);

create view {schema}.log as
select e.id, s.stream, s.position, e.event_id, e.event_type, e.metadata, e.data, e.created_at
from {schema}.event_store_events e
join {schema}.event_store_events_in_streams s using (event_id);

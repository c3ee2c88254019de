create table {schema}.stored_events (
    originator_id uuid not null,
    originator_version bigint not null,
    topic text,
    state bytea,
    notification_id bigserial,
    primary key (originator_id, originator_version)
);

create table {schema}.snapshots (
    originator_id uuid not null,
    originator_version bigint not null,
    topic text,
    state bytea,
    primary key (originator_id, originator_version)
);

create function {schema}.put(originator uuid, before bigint, topics text[], states bytea[]) returns bigint
language plpgsql as $$
declare
    last bigint;
begin
    lock table {schema}.stored_events in exclusive mode;
    with stored as (
        insert into {schema}.stored_events (originator_id, originator_version, topic, state)
        select originator, before + place, topic, state
        from unnest(topics, states) with ordinality as batch (topic, state, place)
        returning notification_id
    )
    select max(notification_id) into last from stored;
    return last;
end
$$;

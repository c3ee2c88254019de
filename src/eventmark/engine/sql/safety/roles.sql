-- The store's three roles: groups without login, to be granted to the roles that log in. Can be run again.
-- Needs CREATEROLE, or that the roles are there already.
do $$
declare
    name text;
begin
    foreach name in array array['{prefix}_owner', '{prefix}_appender', '{prefix}_reader'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute pg_catalog.format('create role %I nologin', name);
        elsif exists (
            select from pg_roles
            where rolname = name and (rolcanlogin or rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)
        ) then
            raise exception 'role % is there already and is more than a group', name using errcode = 'duplicate_object';
        end if;
    end loop;
    if not pg_catalog.pg_has_role('{prefix}_owner', 'usage') then
        execute pg_catalog.format('grant %I to %I', '{prefix}_owner', current_user);
    end if;
end
$$;

-- owner: installs, migrates, rebases
do $$
declare
    relation regclass;
    routine regprocedure;
begin
    execute 'alter schema {schema} owner to "{prefix}_owner"';
    for relation in
        select oid from pg_class where relnamespace = '{schema}'::regnamespace and relkind in ('r', 'p')
    loop
        execute pg_catalog.format('alter table %s owner to "{prefix}_owner"', relation);
    end loop;
    for routine in select oid from pg_proc where pronamespace = '{schema}'::regnamespace and not prosecdef loop
        execute pg_catalog.format('alter routine %s owner to "{prefix}_owner"', routine);
    end loop;
end
$$;

-- reader: reads; appender: reads and appends. Positions are the server's to give: no privilege on those columns.
grant usage on schema {schema} to "{prefix}_appender", "{prefix}_reader";
grant select on {schema}.eventmark_store, {schema}.domain_events, {schema}.aggregate_snapshots
    to "{prefix}_appender", "{prefix}_reader";
grant select on all sequences in schema {schema} to "{prefix}_appender", "{prefix}_reader";
grant insert (
    sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type, aggregate_id,
    event_type, payload_type, payload_revision, payload, metadata
) on {schema}.domain_events to "{prefix}_appender";
grant insert, update on {schema}.aggregate_snapshots to "{prefix}_appender";
do $$
begin
    if pg_catalog.to_regclass('{schema}.tracking_tokens') is not null then
        grant select, insert, update, delete on {schema}.tracking_tokens to "{prefix}_appender";
        grant select on {schema}.tracking_tokens to "{prefix}_reader";
    end if;
end
$$;

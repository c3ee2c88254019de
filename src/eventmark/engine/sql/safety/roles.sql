-- What the store's roles may do, once role.sql has made them. Can be run again.
do $$
begin
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

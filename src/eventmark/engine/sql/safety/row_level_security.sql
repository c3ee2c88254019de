-- Each tenant's rows are seen and written only by a transaction that has said to be that tenant's, by
-- set_config('eventmark.tenant_id', ..., true). Unset it is null, and '' where it was set once: neither sees a row.
alter table {schema}.domain_events enable row level security, force row level security;
alter table {schema}.aggregate_snapshots enable row level security, force row level security;

create policy own_tenant on {schema}.domain_events
    using (tenant_id = nullif(pg_catalog.current_setting('eventmark.tenant_id', true), ''))
    with check (tenant_id = nullif(pg_catalog.current_setting('eventmark.tenant_id', true), ''));
create policy own_tenant on {schema}.aggregate_snapshots
    using (tenant_id = nullif(pg_catalog.current_setting('eventmark.tenant_id', true), ''))
    with check (tenant_id = nullif(pg_catalog.current_setting('eventmark.tenant_id', true), ''));

-- Consumers of all tenants: a policy of their own, to their role alone. An OR in the tenants' policy would be
-- paid by every statement of every tenant.
create policy every_tenant on {schema}.domain_events for select to "{prefix}_consumer" using (true);
create policy every_tenant on {schema}.aggregate_snapshots for select to "{prefix}_consumer" using (true);
grant usage on schema {schema} to "{prefix}_consumer";
grant select on {schema}.eventmark_store, {schema}.domain_events, {schema}.aggregate_snapshots
    to "{prefix}_consumer";
grant select on all sequences in schema {schema} to "{prefix}_consumer";
do $$
begin
    if pg_catalog.to_regclass('{schema}.tracking_tokens') is not null then
        grant select, insert, update, delete on {schema}.tracking_tokens to "{prefix}_consumer";
    end if;
end
$$;

-- Connecting asks whether events lie ahead of the server, which who sees one tenant's rows cannot tell.
create function {schema}.events_ahead() returns boolean
    language sql stable security definer set search_path = pg_catalog, pg_temp
    as 'select exists (select from {schema}.domain_events
        where transaction_id >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))';
revoke all on function {schema}.events_ahead() from public;
grant execute on function {schema}.events_ahead()
    to "{prefix}_owner", "{prefix}_appender", "{prefix}_reader", "{prefix}_consumer";
do $$
begin
    if not pg_catalog.pg_has_role('{prefix}_consumer', 'usage') then
        execute pg_catalog.format('grant "{prefix}_consumer" to %I', current_user);
    end if;
    -- Who comes to own something in a schema must be allowed to create there, for as long as that takes.
    grant create on schema {schema} to "{prefix}_consumer";
    alter function {schema}.events_ahead() owner to "{prefix}_consumer";
    revoke create on schema {schema} from "{prefix}_consumer";
end
$$;

update {schema}.eventmark_store set row_level_security = true;

-- Version 2: the marker tells whether row-level security is on; stored events are neither changed nor removed.
alter table {schema}.eventmark_store add column row_level_security boolean not null default false;

-- engine tables
create function {schema}.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% of events is refused: %.% is append-only', tg_op, tg_table_schema, tg_table_name
        using errcode = 'restrict_violation', hint = 'append an event that corrects what was stored';
end
$$;

create trigger domain_events_append_only
    before update or delete or truncate on {schema}.domain_events
    for each statement execute function {schema}.refuse_change();

-- always: session_replication_role does not get round it
alter table {schema}.domain_events enable always trigger domain_events_append_only;

-- One of the store's roles: a group without login, to be granted to the roles that log in. Can be run again.
-- Needs CREATEROLE. A role that is there already is this store's where its comment names it, or where the schema
-- belongs to it or was granted to it; any other is somebody else's and is not taken over.
do $$
declare
    mark constant text := (select 'eventmark store ' || store_id from {schema}.eventmark_store);
begin
    if not exists (select from pg_catalog.pg_roles where rolname = '{role}') then
        create role "{role}" nologin;
        execute pg_catalog.format('comment on role "{role}" is %L', mark);
    elsif exists (
        select from pg_catalog.pg_roles
        where rolname = '{role}' and (rolcanlogin or rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)
    ) then
        raise exception 'role {role} is there already and is more than a group' using errcode = 'duplicate_object';
    elsif not exists (
        select from pg_catalog.pg_roles r, pg_catalog.pg_namespace n
        where r.rolname = '{role}' and n.nspname = '{prefix}' and (
            pg_catalog.shobj_description(r.oid, 'pg_authid') = mark
            or n.nspowner = r.oid
            or exists (select from pg_catalog.aclexplode(n.nspacl) as granted where granted.grantee = r.oid)
        )
    ) then
        raise exception 'role {role} is there already and is not this store''s'
            using errcode = 'duplicate_object', hint = pg_catalog.format('comment on role "{role}" is %L', mark);
    end if;
end
$$;

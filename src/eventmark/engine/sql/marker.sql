-- The marker: this schema is Eventmark's, whose store it is, what it is for, and which tokens belong to it.
create table {schema}.eventmark_store (
    only_row boolean primary key default true check (only_row),
    store_id uuid not null default pg_catalog.gen_random_uuid(),
    epoch integer not null default 1 check (epoch > 0),
    schema_version integer not null,
    store_name text not null,
    created_at timestamptz not null default pg_catalog.now(),
    row_level_security boolean not null default false,
    ordering text not null,
    purpose text not null check (purpose in ('in use', 'corpus', 'scratch')),
    owner text not null,
    digest text not null
);

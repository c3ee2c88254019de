-- Version 4: the marker tells what a schema is for, which run made it, and from which files. What has no ledger of the
-- seeding was not seeded: it is in use, and no verb drops it.
alter table {schema}.eventmark_store
    add column purpose text not null default 'in use' check (purpose in ('in use', 'corpus', 'scratch')),
    add column owner text not null default '',
    add column digest text not null default '';
update {schema}.eventmark_store set purpose = 'corpus' where pg_catalog.to_regclass('{schema}.eventmark_corpus') is not null;
alter table {schema}.eventmark_store
    alter column purpose drop default, alter column owner drop default, alter column digest drop default;

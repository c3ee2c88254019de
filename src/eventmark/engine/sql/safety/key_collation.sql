-- Keys compared byte by byte, as in stores that are made today: for one that is older, with its clients stopped. The
-- table is not written anew, its indexes are. Under row-level security the policies have to be dropped first.
alter table {schema}.domain_events
    alter column tenant_id type text collate "C", alter column aggregate_id type text collate "C";
alter table {schema}.aggregate_snapshots
    alter column tenant_id type text collate "C", alter column aggregate_id type text collate "C";
alter table {schema}.tracking_tokens alter column processor type text collate "C";

-- Version 3: the marker tells how consumers read the log; processors keep their tokens in the store.
alter table {schema}.eventmark_store add column ordering text not null default 'horizon';
alter table {schema}.eventmark_store alter column ordering drop default;

-- engine tables
create table {schema}.tracking_tokens (
    processor text not null,
    segment integer not null check (segment >= 0),
    segments integer not null check (segments > segment),
    token text not null,
    fence bigint not null default 0,
    owner text,
    lease_until timestamptz,
    constraint tracking_tokens_key primary key (processor, segment)
) with (fillfactor = 50);

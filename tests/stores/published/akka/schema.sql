create table {schema}.event_journal (
    ordering bigserial,
    persistence_id varchar(255) not null,
    sequence_number bigint not null,
    deleted boolean not null default false,
    writer varchar(255) not null,
    write_timestamp bigint,
    adapter_manifest varchar(255),
    event_ser_id integer not null,
    event_ser_manifest varchar(255) not null,
    event_payload bytea not null,
    meta_ser_id integer,
    meta_ser_manifest varchar(255),
    meta_payload bytea,
    primary key (persistence_id, sequence_number)
);

create unique index event_journal_ordering_idx on {schema}.event_journal (ordering);

create table {schema}.event_tag (
    event_id bigint references {schema}.event_journal (ordering) on delete cascade,
    persistence_id varchar(255),
    sequence_number bigint,
    tag varchar(256),
    primary key (event_id, tag)
);

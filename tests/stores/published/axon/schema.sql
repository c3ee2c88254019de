create sequence {schema}.domain_event_entry_seq increment by 1;

create table {schema}.domain_event_entry (
    global_index bigint not null default nextval('{schema}.domain_event_entry_seq') primary key,
    event_identifier varchar(255) not null unique,
    meta_data bytea,
    payload bytea not null,
    payload_revision varchar(255),
    payload_type varchar(255) not null,
    time_stamp varchar(255) not null,
    aggregate_identifier varchar(255) not null,
    sequence_number bigint not null,
    type varchar(255),
    unique (aggregate_identifier, sequence_number)
);

-- Places below all that this server will write, in the old order: transactions 3 to the oldest one running.
-- Several old transactions share a new one where there are not enough: the global sequence keeps their order. Not
-- one for all: the planner, which estimates by the transaction alone, would take every place to be the last.
with numbered as materialized (
    select
        ctid as row_place,
        pg_catalog.row_number() over (order by transaction_id, global_sequence_id) as place,
        pg_catalog.dense_rank() over (order by transaction_id) - 1 as transaction_place
    from {schema}.domain_events
), room as materialized (
    select
        pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::numeric - 3 as new_transactions,
        (select pg_catalog.max(transaction_place) + 1 from numbered)::numeric as old_transactions
)
update {schema}.domain_events as events
set global_sequence_id = numbered.place,
    transaction_id = (
        3 + pg_catalog.floor(numbered.transaction_place * least(old_transactions, new_transactions) / old_transactions)
    )::text::xid8
from numbered, room
where events.ctid = numbered.row_place

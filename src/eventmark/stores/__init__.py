"""Stores that can be tested: one folder each, ours and the user's."""

from eventmark.stores.beside import append_beside
from eventmark.stores.catalogue import engine_store, find_store, store_names, write_template
from eventmark.stores.claims import claimed
from eventmark.stores.definition import REFUSALS, StoreDefinition, read_definition
from eventmark.stores.existing import WRITING_STATEMENTS, check_existing
from eventmark.stores.install import (
    METRICS_VARIABLE,
    check_store,
    install_store,
    make_scratch_store,
    naming_of,
    open_store,
)
from eventmark.stores.log_end import end_of_log
from eventmark.stores.own import read_own, with_own
from eventmark.stores.parameters import (
    PER_EVENT_PARAMETERS,
    STREAM_PARAMETERS,
    append_values,
    event_values,
    snapshot_values,
)
from eventmark.stores.pooled import PooledStore
from eventmark.stores.scans import large_tables, scanned_table, would_scan
from eventmark.stores.scratch import (
    begin_run,
    drop_scratch,
    drop_scratch_schema,
    make_scratch_schema,
    run_id,
    scratch_name,
)
from eventmark.stores.script import ScriptStatement, index_statements
from eventmark.stores.session import StoreSessions, open_sessions
from eventmark.stores.shape import (
    Shape,
    check_shape,
    check_types,
    instant_sql,
    line_of,
    read_naming,
    read_shape,
)
from eventmark.stores.sql_store import SqlEventStore
from eventmark.stores.staging import RAW, RAW_TYPES, SEEDED, Staging, staging_of
from eventmark.stores.values import encoder_of

__all__ = [
    "METRICS_VARIABLE",
    "PER_EVENT_PARAMETERS",
    "RAW",
    "RAW_TYPES",
    "REFUSALS",
    "SEEDED",
    "STREAM_PARAMETERS",
    "WRITING_STATEMENTS",
    "PooledStore",
    "ScriptStatement",
    "Shape",
    "SqlEventStore",
    "Staging",
    "StoreDefinition",
    "StoreSessions",
    "append_beside",
    "append_values",
    "begin_run",
    "check_existing",
    "check_shape",
    "check_store",
    "check_types",
    "claimed",
    "drop_scratch",
    "drop_scratch_schema",
    "encoder_of",
    "end_of_log",
    "engine_store",
    "event_values",
    "find_store",
    "index_statements",
    "install_store",
    "instant_sql",
    "large_tables",
    "line_of",
    "make_scratch_schema",
    "make_scratch_store",
    "naming_of",
    "open_sessions",
    "open_store",
    "read_definition",
    "read_naming",
    "read_own",
    "read_shape",
    "run_id",
    "scanned_table",
    "scratch_name",
    "snapshot_values",
    "staging_of",
    "store_names",
    "with_own",
    "would_scan",
    "write_template",
]

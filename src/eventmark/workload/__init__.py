"""The corpus, pure and seeded: tenants, calendar, lifecycles, payloads, and the batches made of them."""

from eventmark.workload.cohort import LONGEST_STREAM_EVENTS
from eventmark.workload.columns import BatchColumns, make_columns, sliced
from eventmark.workload.corpus import (
    PAYLOAD_REVISION,
    SNAPSHOT_EVERY_EVENTS,
    Batch,
    EventRow,
    SnapshotRow,
    event_rows,
    make_batch,
    snapshot_rows,
    transaction_ids_needed,
)
from eventmark.workload.identity import ONLY_TENANT, Naming, uuid_7, uuid_7_number, uuid_text
from eventmark.workload.payloads import PROFILES, example_payloads
from eventmark.workload.plan import BATCH_EVENTS, COHORT_EVENTS, EVENTS_MAX, CorpusPlan
from eventmark.workload.shape import USUAL_SHAPE, CorpusShape, parse_sizes

__all__ = [
    "BATCH_EVENTS",
    "COHORT_EVENTS",
    "EVENTS_MAX",
    "LONGEST_STREAM_EVENTS",
    "ONLY_TENANT",
    "PAYLOAD_REVISION",
    "PROFILES",
    "SNAPSHOT_EVERY_EVENTS",
    "USUAL_SHAPE",
    "Batch",
    "BatchColumns",
    "CorpusPlan",
    "CorpusShape",
    "EventRow",
    "Naming",
    "SnapshotRow",
    "event_rows",
    "example_payloads",
    "make_batch",
    "make_columns",
    "parse_sizes",
    "sliced",
    "snapshot_rows",
    "transaction_ids_needed",
    "uuid_7",
    "uuid_7_number",
    "uuid_text",
]

"""The corpus, pure and seeded: tenants, calendar, lifecycles, payloads, and the batches made of them."""

from eventmark.workload.cohort import LONGEST_STREAM_EVENTS
from eventmark.workload.corpus import (
    SNAPSHOT_EVERY_EVENTS,
    Batch,
    EventRow,
    SnapshotRow,
    make_batch,
    transaction_ids_needed,
)
from eventmark.workload.payloads import PROFILES, example_payloads
from eventmark.workload.plan import BATCH_EVENTS, EVENTS_MAX, CorpusPlan

__all__ = [
    "BATCH_EVENTS",
    "EVENTS_MAX",
    "LONGEST_STREAM_EVENTS",
    "PROFILES",
    "SNAPSHOT_EVERY_EVENTS",
    "Batch",
    "CorpusPlan",
    "EventRow",
    "SnapshotRow",
    "example_payloads",
    "make_batch",
    "transaction_ids_needed",
]

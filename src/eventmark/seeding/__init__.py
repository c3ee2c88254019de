"""Filling a store with a corpus, proving what is in it, drawing from it."""

from eventmark.seeding.accounts import Kept, check_usable, drop_corpus, settle
from eventmark.seeding.aging import Aging, age, read_aging, rejuvenate
from eventmark.seeding.audit import AuditReport, audit
from eventmark.seeding.beside import fill_beside
from eventmark.seeding.existing import TableSize, sample_existing, table_size
from eventmark.seeding.indexes import remove_appended
from eventmark.seeding.payload_samples import read_payload_samples
from eventmark.seeding.progress import Progress, no_progress
from eventmark.seeding.sample import CorpusSample, SampledStream, refreshed_sample, sample_corpus
from eventmark.seeding.seed import (
    SeedReport,
    estimated_bytes,
    missing_events,
    seed,
    seeded_events,
    whole_batches,
)
from eventmark.seeding.trial import try_store

__all__ = [
    "Aging",
    "AuditReport",
    "CorpusSample",
    "Kept",
    "Progress",
    "SampledStream",
    "SeedReport",
    "TableSize",
    "age",
    "audit",
    "check_usable",
    "drop_corpus",
    "estimated_bytes",
    "fill_beside",
    "missing_events",
    "no_progress",
    "read_aging",
    "read_payload_samples",
    "refreshed_sample",
    "rejuvenate",
    "remove_appended",
    "sample_corpus",
    "sample_existing",
    "seed",
    "seeded_events",
    "settle",
    "table_size",
    "try_store",
    "whole_batches",
]

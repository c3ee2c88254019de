"""Filling a store with a corpus, proving what is in it, drawing from it."""

from eventmark.seeding.audit import AuditReport, audit
from eventmark.seeding.indexes import remove_appended
from eventmark.seeding.progress import Progress, no_progress
from eventmark.seeding.sample import CorpusSample, SampledStream, refreshed_sample, sample_corpus
from eventmark.seeding.seed import SeedReport, estimated_bytes, missing_events, seed

__all__ = [
    "AuditReport",
    "CorpusSample",
    "Progress",
    "SampledStream",
    "SeedReport",
    "audit",
    "estimated_bytes",
    "missing_events",
    "no_progress",
    "refreshed_sample",
    "remove_appended",
    "sample_corpus",
    "seed",
]

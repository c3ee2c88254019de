"""The operations of a worker's mix, with streams that no other worker appends to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eventmark.loadgen.plan import LoadPlan
from eventmark.operations.appends import AppendEvents
from eventmark.operations.catalogue import StreamEvents
from eventmark.operations.operation import Operation
from eventmark.operations.streams import StreamVersions
from eventmark.seeding import CorpusSample
from eventmark.stores import PooledStore


def mix_operations(plan: LoadPlan, sample: CorpusSample, number: int, store: PooledStore) -> list[Operation]:
    """Those of worker ``number``; contended streams alone are everybody's."""
    streams = sample.streams
    contended = streams[: plan.contended_streams] if plan.contended_share else []
    own = streams[len(contended) + number :: plan.worker_count] or streams[:1]
    sample = replace(sample, streams=own)
    versions: StreamVersions | None = None
    operations = []
    for name in plan.mix.shares:
        random = np.random.default_rng([plan.seed, number, *name.encode()])
        operation = plan.mix.operation(name)(store, sample, random)
        if isinstance(operation, AppendEvents):
            versions = versions or StreamVersions(
                own, contended=contended, contended_share=plan.contended_share, naming=sample.naming
            )
            operation.versions = versions
        elif isinstance(operation, StreamEvents):
            operation.tenants = plan.tenants
        operations.append(operation)
    return operations

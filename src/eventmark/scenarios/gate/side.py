"""One side of the gate, in a process of its own: a request on standard input, its answer on standard output.

The gate starts it with the side's own interpreter and import path: whatever revision is imported here is what
is measured, with all it needs.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg
import msgspec

from eventmark import __version__
from eventmark.errors import EventmarkError, UsageError
from eventmark.measure.quantiles import latency_of
from eventmark.plans import examine_plans, sampled_cases
from eventmark.scenarios.core.forks import ForkSamples, ForkTask, own_part, run_fork
from eventmark.scenarios.core.operations import OPERATIONS
from eventmark.scenarios.core.work import statements_now, work_per_call
from eventmark.scenarios.gate.protocol import (
    PROTOCOL_VERSION,
    Answer,
    Examine,
    Examined,
    Failure,
    Measure,
    Measured,
    OperationFork,
    Place,
    Prepare,
    Prepared,
    Request,
    decode_request,
    encode,
)
from eventmark.scenarios.profiles import Profile
from eventmark.seeding import CorpusSample, SampledStream, sample_corpus, seed, streams_now
from eventmark.stores import StoreDefinition, check_store, find_store
from eventmark.workload import CorpusPlan

PARTS = 16
"""Forks that follow each other append to streams of their own; after so many, it is the first part's turn."""

WARMUP_CALLS, WARMUP_ITERATIONS_MAX = 8, 10


def main() -> int:
    """Answer one request. What Eventmark refuses is an answer as well; anything else is a crash."""
    try:
        answer = answer_to(decode_request(sys.stdin.buffer.read()))
    except msgspec.MsgspecError as error:
        answer = Failure(message=f"a request of another kind: {error}", remedy="", exit_code=4)
    except EventmarkError as error:
        answer = Failure(message=error.message, remedy=error.remedy, exit_code=error.exit_code)
    sys.stdout.buffer.write(encode(answer))
    return 0


def answer_to(request: Request) -> Answer:
    """Raises ``EventmarkError``."""
    if request.version != PROTOCOL_VERSION:
        raise UsageError(
            f"this revision speaks version {PROTOCOL_VERSION} of the gate's protocol, asked for {request.version}",
            remedy="compare revisions that lie closer together",
        )
    if isinstance(request, Prepare):
        return _prepare(request)
    return asyncio.run(_examine(request.place)) if isinstance(request, Examine) else _measure(request)


def _prepare(request: Prepare) -> Prepared:
    """By one worker: what is loaded first lies first, so that rows of both sides lie on the same pages."""
    place, corpus = request.place, request.corpus
    definition = find_store(place.store)
    plan = CorpusPlan(
        corpus.events, seed=corpus.seed, tenant_count=corpus.tenants, payload_profile=corpus.payload
    )
    asyncio.run(_check(place, definition))
    seed(place.dsn, definition, plan, schema=place.schema, workers=1, replace=True)
    sample = asyncio.run(_sample(place, definition, corpus.events))
    Path(request.sample).write_bytes(msgspec.json.encode(sample))
    asking = {name: kind for name, kind in OPERATIONS.items() if kind.statement}
    skipped = {
        name: reason
        for name, kind in asking.items()
        if (reason := kind.missing(definition.capabilities, sample))
    }
    return Prepared(
        eventmark=__version__, store=definition.name, schema_sha256=definition.schema_sha256,
        events=corpus.events, operations=[name for name in asking if name not in skipped], skipped=skipped,
    )  # fmt: skip


async def _check(place: Place, definition: StoreDefinition) -> None:
    connection = await asyncpg.connect(place.dsn)
    try:
        await check_store(connection, definition, place.schema)
    finally:
        await connection.close()


async def _sample(place: Place, definition: StoreDefinition, events: int) -> CorpusSample:
    connection = await asyncpg.connect(place.dsn)
    try:
        return await sample_corpus(connection, definition, schema=place.schema, events=events)
    finally:
        await connection.close()


async def _examine(place: Place) -> Examined:
    definition = find_store(place.store)
    connection = await asyncpg.connect(place.dsn)
    try:
        cases = await sampled_cases(
            connection, definition.statements, place.schema, definition.columns, definition.events_table,
            definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
        )  # fmt: skip
        return Examined(plans=await examine_plans(connection, definition.statements, place.schema, cases))
    finally:
        await connection.close()


def _measure(request: Measure) -> Measured:
    sample = msgspec.json.decode(Path(request.sample).read_bytes(), type=CorpusSample)
    return Measured(operations={name: _measure_one(request, name, sample) for name in request.operations})


def _measure_one(request: Measure, name: str, sample: CorpusSample) -> OperationFork:
    place = request.place
    profile = Profile(
        name="gate", forks=1, warmup_calls=WARMUP_CALLS, warmup_iterations_max=WARMUP_ITERATIONS_MAX,
        samples=request.samples, seconds_max=request.seconds, cold_samples=0,
    )  # fmt: skip
    task = ForkTask(
        dsn=place.dsn, store=place.store, schema=place.schema, operation=name, sample=sample, profile=profile,
        seed=request.fork,
    )  # fmt: skip
    task = own_part(task, request.fork % PARTS, PARTS)
    if task.sample is not sample:  # a writing operation, with streams that earlier forks have appended to
        streams = asyncio.run(_streams_now(place, task.sample))
        task = replace(task, sample=replace(task.sample, streams=streams))
    before = asyncio.run(statements_now(place.dsn))
    found = run_fork(task)
    return _figures(found, work_per_call(before, asyncio.run(statements_now(place.dsn)), found.calls))


async def _streams_now(place: Place, sample: CorpusSample) -> list[SampledStream]:
    connection = await asyncpg.connect(place.dsn)
    try:
        return await streams_now(connection, find_store(place.store), sample.streams, schema=place.schema)
    finally:
        await connection.close()


def _figures(found: ForkSamples, work: dict[str, float]) -> OperationFork:
    latency = latency_of(found.samples_ns) if len(found.samples_ns) else None
    return OperationFork(
        samples=len(found.samples_ns), p50_ms=latency.p50 if latency else 0.0, p95_ms=latency.p95 if latency else 0.0,
        failed=found.failed, failure=found.failure, steady=found.steady, cpu_share=found.cpu_share, work=work,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

"""One side of the gate, in a process of its own: a request a line on standard input, an answer a line.

The gate starts it with the side's own interpreter and import path: whatever revision is imported here is what
is measured, with all it needs.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from eventmark import __version__
from eventmark.engine.schema import Purpose
from eventmark.errors import EventmarkError, UsageError
from eventmark.jobs.profiles import PROFILES
from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.forks import ForkTask, Tally, own_part
from eventmark.operations.work import statements_now, work_per_call
from eventmark.plans import examine_plans, sampled_cases
from eventmark.seeding import CorpusSample, refreshed_sample, sample_corpus, seed, try_store
from eventmark.server.loop import connection_to
from eventmark.sidebyside.protocol import (
    PROTOCOL_VERSION,
    Answer,
    Begin,
    End,
    Ended,
    Examine,
    Examined,
    Failure,
    Open,
    Opened,
    Place,
    Prepare,
    Prepared,
    Turn,
    Turned,
    decode_request,
    encode,
)
from eventmark.sidebyside.unique_keys import UniqueKey, read_unique_keys
from eventmark.stores import PooledStore, StoreDefinition, find_store, open_store
from eventmark.workers import loop_factory
from eventmark.workload import CorpusPlan

PARTS = 16
"""Forks that follow each other append to streams of their own; after so many, it is the first part's turn."""


def main() -> int:
    """Answer until there are no more requests. What Eventmark refuses is an answer as well; else it is a crash."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        fork: OpenSide | None = None
        for line in sys.stdin.buffer:
            try:
                request = decode_request(line)
                if isinstance(request, Open):
                    _check_version(request)
                    sample = msgspec.json.decode(Path(request.sample).read_bytes(), type=CorpusSample)
                    fork = runner.run(OpenSide.open(request, sample))
                    answer: Answer = Opened()
                elif isinstance(request, Prepare | Examine):
                    answer = _answer_once(request, runner)
                else:
                    if fork is None:
                        raise UsageError("no store was opened")
                    answer = runner.run(fork.answer(request))
            except msgspec.MsgspecError as error:
                answer = Failure(message=f"a request of another kind: {error}", remedy="", exit_code=4)
            except EventmarkError as error:
                answer = Failure(message=error.message, remedy=error.remedy, exit_code=error.exit_code)
            sys.stdout.buffer.write(encode(answer) + b"\n")
            sys.stdout.buffer.flush()
        if fork is not None:
            runner.run(fork.close())
    return 0


@dataclass(slots=True)
class OpenSide:
    """An open store and its operations, measured turn by turn."""

    place: Place
    store: PooledStore
    tallies: Mapping[str, Tally]

    @classmethod
    async def open(cls, request: Open, sample: CorpusSample) -> OpenSide:
        """Raises ``EventmarkError``."""
        place = request.place
        parts = {name: await _own_sample(request, name, sample) for name in request.operations}
        store = await open_store(find_store(place.store), place.dsn, schema=place.schema, pool_max=2)
        tallies = {}
        for name, part in parts.items():
            operation = OPERATIONS[name](store, part, np.random.default_rng([request.fork, *name.encode()]))
            await operation.prepare()
            tallies[name] = Tally(operation)
        gc.collect()
        gc.freeze()
        return cls(place, store, tallies)

    async def answer(self, request: Begin | Turn | End) -> Answer:
        """A turn measured, or the server's account of some calls."""
        tally = self.tallies[request.operation]
        if isinstance(request, End):
            return Ended(work=await self._work(tally, request.calls) if request.calls else {})
        if isinstance(request, Begin):
            await tally.sample(request.calls)
        failed = tally.failed
        samples = await tally.sample(request.calls)
        return Turned(samples_ns=samples.tolist(), failed=tally.failed - failed, failure=tally.failure)

    async def _work(self, tally: Tally, calls: int) -> dict[str, float]:
        before = await statements_now(self.place.dsn)
        await tally.sample(calls)
        return work_per_call(before, await statements_now(self.place.dsn), calls)

    async def close(self) -> None:
        await self.store.close()


async def _own_sample(request: Open, name: str, sample: CorpusSample) -> CorpusSample:
    """For a writing operation the streams that are this fork's own, as earlier forks have left them."""
    place = request.place
    task = ForkTask(
        dsn=place.dsn, store=place.store, schema=place.schema, operation=name, sample=sample,
        profile=PROFILES["quick"], seed=request.fork,
    )  # fmt: skip
    own = own_part(task, request.fork % PARTS, PARTS).sample
    if own is sample:
        return sample
    async with connection_to(place.dsn) as connection:
        return await refreshed_sample(connection, find_store(place.store), place.schema, own)


def _answer_once(request: Prepare | Examine, runner: asyncio.Runner) -> Answer:
    """Raises ``EventmarkError``."""
    _check_version(request)
    if isinstance(request, Prepare):
        return _prepare(request, runner)
    return runner.run(_examine(request.place))


def _check_version(request: Prepare | Examine | Open) -> None:
    if request.version != PROTOCOL_VERSION:
        raise UsageError(
            f"this revision speaks version {PROTOCOL_VERSION} of the gate's protocol, asked for {request.version}",
            remedy="compare revisions that lie closer together",
        )


def _prepare(request: Prepare, runner: asyncio.Runner) -> Prepared:
    """By one worker: what is loaded first lies first, so that rows of both sides lie on the same pages."""
    place, corpus = request.place, request.corpus
    definition = find_store(place.store)
    plan = CorpusPlan(
        corpus.events,
        seed=corpus.seed,
        tenant_count=corpus.tenants,
        payload_profile=corpus.payload,
        samples=corpus.samples,
        shape=corpus.shape,
    )
    sample, unique_keys = runner.run(_seeded(place, definition, plan))
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
        unique_keys=unique_keys,
    )  # fmt: skip


async def _seeded(
    place: Place, definition: StoreDefinition, plan: CorpusPlan
) -> tuple[CorpusSample, list[UniqueKey]]:
    await try_store(place.dsn, definition, place.schema)
    await seed(
        place.dsn, definition, plan, schema=place.schema, workers=1, replace=True, purpose=Purpose.SCRATCH
    )
    async with connection_to(place.dsn) as connection:
        sample = await sample_corpus(connection, definition, schema=place.schema, events=plan.events)
        return sample, await read_unique_keys(connection, place.schema)


async def _examine(place: Place) -> Examined:
    definition = find_store(place.store)
    async with connection_to(place.dsn) as connection:
        cases = await sampled_cases(
            connection, definition.statements, place.schema, definition.read_columns, definition.events_table,
            definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
 first_sequence=definition.first_sequence,
        )  # fmt: skip
        return Examined(plans=await examine_plans(connection, definition.statements, place.schema, cases))


if __name__ == "__main__":
    sys.exit(main())

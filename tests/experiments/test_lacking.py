"""What a store lacks is skipped with the reason, by every experiment, and breaks nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eventmark.domain import Capabilities
from eventmark.domain.store import LACKING
from eventmark.jobs.job import draw_sample
from eventmark.operations.catalogue import OPERATIONS
from eventmark.results.files import read_result
from eventmark.results.results import Verdict
from eventmark.server import Server
from eventmark.stores import end_of_log, open_store, write_template
from tests.cli.conftest import Command, command
from tests.experiments.seeded import job_on

__all__ = ["command"]

FILES = {
    "all_tenants_stream": ("stream_events",),
    "tenant_stream": ("stream_tenant_events",),
    "tokens": ("stream_events", "stream_tenant_events"),
    "head_token": ("create_head_token",),
    "token_at": ("create_token_at",),
    "snapshots": ("read_snapshot",),
}
NEEDED = {"append_events", "load_aggregate"}


def folder_without(place: Path, *names: str) -> Path:
    folder = place / "own"
    write_template(folder)
    for name in names:
        (folder / f"{name}.sql").unlink()
    return folder


def bare(place: Path) -> Path:
    """A store that appends and loads, and nothing else."""
    folder = folder_without(place)
    for file in folder.glob("*.sql"):
        if file.stem not in NEEDED | {"schema", "indexes"}:
            file.unlink()
    return folder


def test_every_capability_has_a_reason_for_what_needs_it() -> None:
    fields = set(Capabilities.__dataclass_fields__)
    assert set(LACKING) == fields | {"tokens"}
    for name in fields:
        assert replace(Capabilities(), **{name: False}).lack(name) == LACKING[name]
        assert not Capabilities().lack(name)


@pytest.mark.parametrize("lacks", FILES)
def test_an_operation_is_skipped_with_the_reason_or_succeeds(
    server: Server, own_corpus: str, tmp_path: Path, lacks: str
) -> None:
    job = job_on(server, own_corpus, str(folder_without(tmp_path, *FILES[lacks])))
    capabilities = job.definition.capabilities
    assert capabilities.lack(lacks) == LACKING[lacks]
    sample = draw_sample(job)
    skipped = {name for name, kind in OPERATIONS.items() if kind.missing(capabilities, sample)}
    assert skipped == {name for name, kind in OPERATIONS.items() if set(kind.needs) & lacking(capabilities)}

    async def call_all() -> None:
        async with await open_store(job.definition, job.server.dsn, schema=job.schema, pool_max=1) as store:
            if capabilities.tokens:
                tenant = None if capabilities.all_tenants_stream else "tenant-0001"
                end = await end_of_log(store, tenant)
                assert not (await store.stream_events(end, tenant_id=tenant)).events
            for number, name in enumerate(OPERATIONS.keys() - skipped):
                # Streams of its own: appends of one operation change the versions that another one knows
                own = replace(sample, streams=sample.streams[number :: len(OPERATIONS)])
                operation = OPERATIONS[name](store, own, np.random.default_rng(1))
                await operation.prepare()
                arguments = operation.draw()
                assert operation.is_right(arguments, await operation.call(arguments)), name

    asyncio.run(call_all())


def lacking(capabilities: Capabilities) -> set[str]:
    return {name for name in LACKING if not getattr(capabilities, name)}


VERBS = {
    "run": ("run", "--no-floors"),
    "bench": ("bench", "--no-floors"),
    "explain": ("explain",),
    "load": ("load", "--rate", "50", "--seconds", "2"),
    "capacity": ("capacity", "--seconds", "2"),
    "sweep": ("sweep", "--seconds", "2"),
    "soak": ("soak", "--seconds", "4", "--rate", "50"),
    "isolate": ("isolate",),
    "stress": ("stress",),
    "verify": ("verify",),
    "advise": ("advise",),
}


@pytest.mark.long
@pytest.mark.parametrize("verb", VERBS)
def test_no_experiment_calls_what_a_store_lacks(
    command: Command, database: str, tmp_path: Path, verb: str
) -> None:
    store = bare(tmp_path)
    done = command(
        *VERBS[verb], "--events", "3k" if verb == "verify" else "20k", "--profile", "quick", "--server", database,
        "--store", str(store),
    )  # fmt: skip
    assert done.code in (0, 1, 3), done.err
    result = read_result(tmp_path / "out" / "result.json")
    for name, one in result.operations.items():
        assert OPERATIONS[name.partition(",")[0]].statement in NEEDED
        assert one.failed == 0, (name, one.failure)
    assert not any("has no create_head_token" in said for said in result.reasons)
    assert {one.statement for one in result.plans} <= NEEDED
    assert all(one.verdict is not Verdict.BROKEN for one in result.orderings)

"""The collector of garbage is off while a worker generates: no call may leave behind what it alone would find."""

from __future__ import annotations

import gc

from eventmark.errors import EventStoreError
from eventmark.jobs.job import Job
from eventmark.loadgen.wire.operations import Call
from tests.database import execute
from tests.loadgen.conftest import Loaded

APPEND = "append_events[1]"


def test_nothing_is_collected_during_a_load_and_no_call_is_left_to_be_collected(
    job: Job, loaded: Loaded
) -> None:
    execute(
        job.server.dsn,
        "create function eventmark.refuse() returns trigger language plpgsql as"
        " $$ begin if random() < 0.2 then raise exception 'refused'; end if; return new; end $$",
        "create trigger refuse before insert on eventmark.domain_events for each row execute function eventmark.refuse()",
    )
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        outcome = loaded(
            f"{APPEND}=1, stream_events[1000]=0.1",
            users=4,
            contended_share=0.5,
            contended_streams=1,
            warm_rounds=0,
        )
        gc.collect()
        calls = [one for one in gc.garbage if isinstance(one, Call) and hasattr(one, "ended_ns")]
        errors = [one for one in gc.garbage if isinstance(one, EventStoreError)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    one = outcome.operations[APPEND]
    assert min(one.succeeded, one.failed, one.conflicted) > 0
    assert sum(worker.gc_count for worker in outcome.health.workers) == 0
    assert (calls, errors) == ([], [])

"""A consumer of one tenant's events during a load: how long after it was made each event is delivered."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Self

from eventmark.domain import EventStore, TrackingToken
from eventmark.errors import EventStoreError
from eventmark.experiments.isolation.aggressors import rename_sessions
from eventmark.jobs.job import Job
from eventmark.stores import end_of_log, open_store

APPLICATION = "eventmark-follower"
POLL_EVERY_S = 0.02
CAUGHT_UP_AFTER_S = 0.3
"""So long without an event after the load has ended, and there is none left."""

GIVEN_UP_AFTER_S = 15.0
_OPEN_TIMEOUT_S = 30.0


class Follower:
    """From the head on when entered, until it is caught up after it is left. ``lag_s`` of each event, by arrival.

    In a thread with a loop and a store of its own. By the clock of this machine; events have their writers' times.
    ``failure`` says why it could not follow, empty otherwise.
    """

    def __init__(self, job: Job, tenant: str) -> None:
        self.lag_s: list[float] = []
        self.failure = ""
        self._job = job
        self._tenant = tenant
        self._began = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="eventmark-follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._began.wait(_OPEN_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(GIVEN_UP_AFTER_S + _OPEN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._follow())
        except (EventStoreError, OSError) as error:
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self._began.set()

    async def _follow(self) -> None:
        job = self._job
        store = await open_store(job.definition, job.server.dsn, schema=job.schema, pool_max=1)
        try:
            await rename_sessions(store, 1, APPLICATION)
            token = await end_of_log(store, self._tenant)
            self._began.set()
            stopped_s = 0.0
            seen_s = time.monotonic()
            while True:
                token, events = await self._poll(store, token)
                now_s = time.monotonic()
                seen_s = now_s if events else seen_s
                if self._stopping.is_set():
                    stopped_s = stopped_s or now_s
                    if (
                        now_s - max(seen_s, stopped_s) > CAUGHT_UP_AFTER_S
                        or now_s - stopped_s > GIVEN_UP_AFTER_S
                    ):
                        return
                await asyncio.sleep(POLL_EVERY_S)
        finally:
            await store.close()

    async def _poll(self, store: EventStore, token: TrackingToken) -> tuple[TrackingToken, int]:
        batch = await store.stream_events(token, limit=1000, tenant_id=self._tenant)
        arrived_s = time.time()
        self.lag_s += [arrived_s - event.timestamp.timestamp() for event in batch.events]
        return batch.token, len(batch.events)

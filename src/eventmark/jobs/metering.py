"""Metrics of a scenario while it runs: its workers' operations, the store's state, and the verdicts at its end.

Workers count into files of the metrics library's multi-process mode; this process adds them up for whoever
scrapes. The library chooses that mode when it is imported: here before the workers' variable is set, there
after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import asyncpg
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from eventmark.engine import PostgresEventStore
from eventmark.engine.metrics import StoreGauges, serve
from eventmark.errors import EventmarkError
from eventmark.results.exposition import ResultGauges
from eventmark.results.results import RunResult
from eventmark.server import Server
from eventmark.stores import METRICS_VARIABLE

ADDRESS = "127.0.0.1"
INTERVAL_S = 1.0
LAST_SCRAPE_S = 20.0  # longest wait for one more scrape, where there has been one at all


class Metering:
    """What is served while a scenario runs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._scrapes = _Scrapes()
        registry.register(self._scrapes)
        self._gauges = ResultGauges(registry)

    def finish(self, result: RunResult) -> None:
        """Show the verdicts, and let whoever has scraped so far see them."""
        self._gauges.show(result)
        if self._scrapes.count:
            self._scrapes.wait_for_another(LAST_SCRAPE_S)


class _Scrapes:
    """Counts how often it is asked; tells nothing."""

    def __init__(self) -> None:
        self.count = 0

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        self.count += 1
        return []

    def wait_for_another(self, seconds: float) -> None:
        before, deadline_s = self.count, time.monotonic() + seconds
        while self.count == before and time.monotonic() < deadline_s:
            time.sleep(0.05)


@contextmanager
def metered(server: Server, schema: str, port: int) -> Iterator[Metering]:
    """Serve on ``port`` of this machine alone until the block is left. Raises ``CannotRunError``."""
    with tempfile.TemporaryDirectory(prefix="eventmark-metrics-") as folder:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        metering = Metering(registry)
        endpoint = serve(registry, port, ADDRESS)
        os.environ[METRICS_VARIABLE] = folder
        stopping = threading.Event()
        sampler = threading.Thread(
            target=_sample, args=(server.dsn, schema, StoreGauges(registry), stopping), daemon=True
        )
        sampler.start()
        try:
            yield metering
        finally:
            stopping.set()
            del os.environ[METRICS_VARIABLE]
            endpoint.shutdown()
            endpoint.server_close()
            sampler.join(INTERVAL_S + 5)


def _sample(dsn: str, schema: str, gauges: StoreGauges, stopping: threading.Event) -> None:
    """Ask again and again; there is no store of the engine's before it is seeded, or for other stores."""

    async def ask() -> None:
        async with await PostgresEventStore.connect(dsn, schema=schema, pool_max=1, notify=False) as store:
            while not stopping.is_set():
                await gauges.sample(store)
                await asyncio.sleep(INTERVAL_S)

    while not stopping.wait(INTERVAL_S):
        with contextlib.suppress(EventmarkError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            asyncio.run(ask())

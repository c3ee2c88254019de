"""Time series alongside a run: processes of client and server, disk, WAL, buffers, commits, waits, checkpoints.

The monitor lives in a thread with an event loop and a connection of its own, so that it neither waits for
the measured loop nor makes it wait for more than the interpreter's lock. It never fails the run: what it
cannot see is named in ``missing``.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Self

import asyncpg

from eventmark.results.results import Series
from eventmark.server import machine
from eventmark.server.machine_load import MachineLoad
from eventmark.server.processes import ProcessTree, Usage
from eventmark.server.provision import Server

MIB = 2**20
SAMPLES_MAX = 7200  # an hour at the default interval; longer runs are thinned by averaging neighbours
WAITS_MAX = 12
_CONNECT_TIMEOUT_S = 2.0
_QUERY_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 15.0

_CHECKPOINTS_15 = "select checkpoints_timed + checkpoints_req from pg_stat_bgwriter"
_CHECKPOINTS_17 = "select num_timed + num_requested from pg_stat_checkpointer"

OTHERS = "others_cpu"
"""Name of the series of what other processes, and the hypervisor, took of the machine's cores."""

_SAMPLE = """
select
    (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end
        - '0/0'::pg_lsn)::float8 as wal_bytes,
    xact_commit::float8 as commits,
    blks_hit::float8 as buffers_hit,
    blks_read::float8 as buffers_read,
    ({checkpoints})::float8 as checkpoints,
    array(
        select coalesce(wait_event, 'CPU') from pg_stat_activity
        where state = 'active' and backend_type = 'client backend' and pid <> pg_backend_pid()
            and datname = current_database()
    ) as waits
from pg_stat_database where datname = current_database()
"""

# name of the series -> (counter of _SAMPLE, divisor, unit)
_RATES = {
    "wal_rate": ("wal_bytes", MIB, "MiB/s"),
    "commit_rate": ("commits", 1, "transactions/s"),
    "buffers_hit_rate": ("buffers_hit", 1, "pages/s"),
    "buffers_read_rate": ("buffers_read", 1, "pages/s"),
}


class Monitor:
    """Samples from entering to leaving, with ``with`` or ``async with``; then ``series()``.

    ``origin_s`` is the run's start on ``time.monotonic``, now when None. ``missing`` maps the name of a
    series, or of a group of them, to the reason it is not there.
    """

    def __init__(
        self,
        server: Server,
        dsn: str | None = None,
        *,
        interval_s: float = 0.5,
        origin_s: float | None = None,
    ) -> None:
        self.interval_s = interval_s
        self.missing: dict[str, str] = {}
        self._dsn = dsn or server.dsn
        self._origin_s = time.monotonic() if origin_s is None else origin_s
        self._query = _SAMPLE.format(
            checkpoints=_CHECKPOINTS_17 if server.version_num >= 170000 else _CHECKPOINTS_15
        )
        self._client = ProcessTree(os.getpid(), leave_out=server.pid)
        self._server = ProcessTree(server.pid) if server.pid else None
        if self._server is None:
            self.missing["server_*"] = "the server's processes are not this machine's, or not ours to see"
        self._machine = MachineLoad()
        self._disk = server.directory
        self._disk_counters: tuple[float, tuple[int, int]] | None = None
        self._samples = _Samples()
        self._connection: asyncpg.Connection | None = None
        self._counters: tuple[float, dict[str, float]] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="eventmark-monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def series(self) -> list[Series]:
        """What was sampled so far, ordered by name."""
        return self._samples.series()

    @property
    def waits_now(self) -> dict[str, float]:
        """What active sessions waited for at the last look, sessions by wait; ``CPU`` is no wait."""
        return self._samples.waits_now()

    def _run(self) -> None:
        try:
            asyncio.run(self._sample_until_stopped())
        except Exception as error:  # the run goes on without its monitor, and the result says so
            self.missing["monitor"] = f"stopped: {type(error).__name__}: {error}".partition("\n")[0]

    async def _sample_until_stopped(self) -> None:
        due_s = time.monotonic()
        try:
            while True:
                stopped = self._stopping.is_set()
                self._sample_processes()
                self._sample_disk()
                await self._sample_sql()
                if stopped:  # one last sample closes the interval that was under way
                    return
                due_s = max(due_s + self.interval_s, time.monotonic())
                # Blocks this loop, in which nothing else lives, and wakes at once when told to stop.
                self._stopping.wait(due_s - time.monotonic())
        finally:
            if self._connection is not None:
                self._connection.terminate()

    def _sample_processes(self) -> None:
        own_cores, at_s = 0.0, 0.0
        busy_cores = self._machine.cores_since_last()
        for side, tree in (("client", self._client), ("server", self._server)):
            if tree is None:
                continue
            usage = tree.sample()
            at_s = time.monotonic() - self._origin_s
            if isinstance(usage, str):
                self.missing[f"{side}_*"] = usage
            else:
                self._add_usage(side, at_s, usage)
                own_cores += usage.cpu_s / usage.interval_s if usage.interval_s else 0.0
        if not self._machine.is_visible:
            self.missing[OTHERS] = "the machine's cores are not to be seen from here"
        elif busy_cores is not None and own_cores:
            others = max(busy_cores - own_cores, 0.0) / machine.cpu_count()
            self._samples.add(OTHERS, "share of all cores", at_s, others)

    def _add_usage(self, side: str, at_s: float, usage: Usage) -> None:
        add = self._samples.add
        add(f"{side}_rss", "MiB", at_s, usage.resident_bytes / MIB)
        add(f"{side}_processes", "processes", at_s, usage.processes)
        if usage.interval_s is None:
            return
        add(f"{side}_cpu", "share of a core", at_s, usage.cpu_s / usage.interval_s)
        if usage.read_bytes is None or usage.write_bytes is None:
            self.missing[f"{side}_read_rate, {side}_write_rate"] = "counters of files are not readable"
            return
        add(f"{side}_read_rate", "MiB/s", at_s, usage.read_bytes / MIB / usage.interval_s)
        add(f"{side}_write_rate", "MiB/s", at_s, usage.write_bytes / MIB / usage.interval_s)

    def _sample_disk(self) -> None:
        """The disk of the cluster, whoever uses it."""
        counters = None if self._disk is None else machine.disk_counters(self._disk)
        if counters is None:
            self.missing["disk_read_rate, disk_write_rate"] = (
                "the server's disk cannot be observed from this machine"
            )
            return
        now_s = time.monotonic()
        if self._disk_counters is not None:
            before_s, before = self._disk_counters
            for name, now, earlier in zip(
                ("disk_read_rate", "disk_write_rate"), counters, before, strict=True
            ):
                rate = (now - earlier) / MIB / (now_s - before_s)
                self._samples.add(name, "MiB/s", now_s - self._origin_s, rate)
        self._disk_counters = (now_s, counters)

    async def _sample_sql(self) -> None:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    self._dsn,
                    timeout=_CONNECT_TIMEOUT_S,
                    server_settings={"application_name": "eventmark-monitor"},
                )
            row = await self._connection.fetchrow(self._query, timeout=_QUERY_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._counters = None
            self.missing["sql"] = f"no answer at times, {type(error).__name__}"
            return
        if row is not None:
            self._add_counters(time.monotonic(), row)

    def _add_counters(self, now_s: float, row: asyncpg.Record) -> None:
        at_s = now_s - self._origin_s
        counters = {name: row[name] for name, _, _ in _RATES.values()} | {"checkpoints": row["checkpoints"]}
        self._samples.add_waits(at_s, row["waits"])
        if self._counters is not None:
            before_s, before = self._counters
            for name, (counter, divisor, unit) in _RATES.items():
                # A crash resets the statistics: the counter then starts from nought.
                grown = max(0.0, counters[counter] - before[counter])
                self._samples.add(name, unit, at_s, grown / divisor / (now_s - before_s))
            done = max(0.0, counters["checkpoints"] - before["checkpoints"])
            self._samples.add("checkpoints", "checkpoints", at_s, done)
        self._counters = (now_s, counters)


class _Samples:
    """Series under construction, of bounded length."""

    def __init__(self) -> None:
        self._units: dict[str, str] = {}
        self._points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._waits: list[tuple[float, dict[str, float]]] = []

    def add(self, name: str, unit: str, at_s: float, value: float) -> None:
        self._units[name] = unit
        points = self._points[name]
        points.append((at_s, value))
        if len(points) > SAMPLES_MAX:
            points[:] = [
                (later[0], (earlier[1] + later[1]) / 2)
                for earlier, later in zip(points[::2], points[1::2], strict=False)
            ]

    def add_waits(self, at_s: float, waits: list[str]) -> None:
        """How many active sessions waited for what; ``CPU`` is no wait."""
        seen: dict[str, float] = defaultdict(float)
        for wait in waits:
            seen[wait] += 1
        self._waits.append((at_s, dict(seen)))
        if len(self._waits) > SAMPLES_MAX:
            self._waits = [
                (
                    later[0],
                    {
                        w: (earlier.get(w, 0) + later[1].get(w, 0)) / 2
                        for w in earlier.keys() | later[1].keys()
                    },
                )
                for (_, earlier), later in zip(self._waits[::2], self._waits[1::2], strict=False)
            ]

    def waits_now(self) -> dict[str, float]:
        return dict(self._waits[-1][1]) if self._waits else {}

    def series(self) -> list[Series]:
        plain = [
            Series(
                name=name,
                unit=self._units[name],
                at_s=[round(at_s, 3) for at_s, _ in points],
                values=[round(value, 4) for _, value in points],
            )
            for name, points in list(self._points.items())
        ]
        return sorted(plain + self._wait_series(), key=lambda series: series.name)

    def _wait_series(self) -> list[Series]:
        """The most frequent waits by name, the rest together as ``waits:other``."""
        waits = list(self._waits)
        totals: dict[str, float] = defaultdict(float)
        for _, seen in waits:
            for wait, sessions in seen.items():
                totals[wait] += sessions
        frequent = sorted(totals, key=lambda wait: (-totals[wait], wait))[:WAITS_MAX]
        at_s = [round(at, 3) for at, _ in waits]
        values = {wait: [seen.get(wait, 0.0) for _, seen in waits] for wait in frequent}
        if len(totals) > len(frequent):
            values["other"] = [
                sum(sessions for wait, sessions in seen.items() if wait not in frequent) for _, seen in waits
            ]
        return [
            Series(name=f"waits:{wait}", unit="sessions", at_s=at_s, values=counts)
            for wait, counts in values.items()
        ]

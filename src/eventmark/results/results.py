"""The result document: what one run found, as one JSON file.

Everything a report shows comes from here. Field names carry their unit last. The format is versioned; a
reader refuses a version it does not know.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

RESULT_FORMAT = "eventmark-result"
RESULT_FORMAT_VERSION = 3


class Verdict(StrEnum):
    """MET and BROKEN are shown by the evidence; INCONCLUSIVE is everything else."""

    MET = "MET"
    BROKEN = "BROKEN"
    INCONCLUSIVE = "INCONCLUSIVE"


class Document(msgspec.Struct, frozen=True):
    """Base of everything in a result: immutable, every field written."""


class Latency(Document, frozen=True, kw_only=True):
    """Quantiles of one operation, milliseconds."""

    p50: float
    p95: float
    p99: float
    p999: float
    max: float


class LatencyInterval(Document, frozen=True, kw_only=True):
    """95% confidence interval of a quantile, milliseconds. ``high`` is None where the samples cannot say."""

    low: float
    high: float | None


class Fork(Document, frozen=True, kw_only=True):
    """One fresh process: its own quantiles, and how it warmed up."""

    samples: int
    p50_ms: float
    p95_ms: float
    warmup_iterations: int
    steady: bool


class ClientHealth(Document, frozen=True, kw_only=True):
    """Whether the generator itself could be the reason for what was measured."""

    loop_lag_ms_p99: float
    cpu_share: float  # of one core, 0..1, the client process while measuring
    pool_wait_ms_p95: float
    bottleneck: bool
    reason: str = ""


class Floor(Document, frozen=True, kw_only=True):
    """The same work done by the field's own tool in the same run, and the distance from it."""

    tool: str  # "pgbench", "psql \\copy", "asyncpg", "eventsourcing"
    statistic: str  # "mean", "p50"
    value: float
    unit: str  # "ms", "rows/s"
    ratio: float  # ours / floor for times, floor / ours for rates: 1.0 is level, more is worse
    statement: str = ""  # what of ours was held against it, "p50"


class CacheState(Document, frozen=True, kw_only=True):
    """The operation's latency with its pages outside and inside shared buffers."""

    cold: Latency | None
    warm: Latency | None
    cold_samples: int = 0
    note: str = ""


class OperationResult(Document, frozen=True, kw_only=True):
    """One operation, e.g. ``load_aggregate[1000]``. ``latency_ms`` is None where no call succeeded.

    ``stretches``: from when to when it was measured, seconds since the run's start.
    """

    latency_ms: Latency | None
    interval_ms: dict[str, LatencyInterval]  # keys: p50, p95, p99, p999
    samples: int
    target_ms: float | None
    target_quantile: str  # "p95"
    verdict: Verdict
    reason: str
    mode: str  # "sample", "throughput", "open loop" or "closed loop"
    throughput_per_s: float  # operations per second of one client, measured phase
    failed: int
    histogram: str  # HdrHistogram V2, base64, nanoseconds
    forks: list[Fork]
    client: ClientHealth
    cache: CacheState | None = None
    floors: list[Floor] = []
    work: dict[str, float] = {}  # per call: shared_hit_buffers, shared_read_buffers, wal_bytes, rows, ...
    stretches: list[tuple[float, float]] = []

    def quantile_ms(self, name: str) -> float | None:
        """``p50``, ``p95``, ``p99``, ``p999`` or ``max`` in milliseconds; None where no call succeeded."""
        value: float | None = getattr(self.latency_ms, name, None)
        return value


class Finding(Document, frozen=True, kw_only=True):
    """One check with what was seen, what was expected, and what to do.

    ``timed``: it rests on times, so that a machine that slows everything down can be its reason.
    """

    name: str
    verdict: Verdict
    observed: str
    expected: str
    remedy: str = ""
    timed: bool = False


class PlanResult(Document, frozen=True, kw_only=True):
    """One statement EXPLAINed under one condition."""

    statement: str
    condition: str  # "largest tenant, middle of the log, generic plan"
    plan_kind: str  # "custom" or "generic"
    verdict: Verdict
    findings: list[Finding]
    parameters: dict[str, str]
    query: str
    expected_index: str
    work: dict[str, float]  # rows, buffers_per_row, rows_removed_per_row, heap_fetches, sorts, seq_scans
    plan: dict[str, Any]  # the server's JSON plan, root node


class Series(Document, frozen=True, kw_only=True):
    """A time series sampled alongside the run."""

    name: str  # "server_cpu", "client_rss", "wal_rate", "waits:WALWrite"
    unit: str  # "share of a core", "MiB", "MiB/s", "sessions"
    at_s: list[float]  # since the run's start
    values: list[float]


class Phase(Document, frozen=True, kw_only=True):
    """A stretch of the run, so that series can be read against what was going on."""

    name: str
    start_s: float
    end_s: float


class CorpusResult(Document, frozen=True, kw_only=True):
    """What was seeded, how fast, and what the audit found in the table itself."""

    events: int
    tenants: int
    aggregates: int
    snapshots: int
    seed: int
    checksum: str
    reused: bool
    seconds: float
    events_per_s: float
    stage_seconds: dict[str, float]  # load, indexes, analyze, ...
    client_peak_rss_mib: float
    audit: list[Finding]
    growth: Series | None  # events loaded over time
    distributions: dict[str, dict[str, float]]  # "events per tenant", "payload size", "hour of day", ...
    scatter_pages_per_load: float | None  # heap pages touched by loading an aggregate of 1000
    floors: list[Floor] = []


class OrderingResult(Document, frozen=True, kw_only=True):
    """One ordering hunted for lost events, and what it costs.

    ``lost``, ``duplicated`` and ``out_of_order`` are summed over ``consumers``. Latencies are of single
    appends at a steady rate during slow transactions: until acknowledged; from there until a consumer has
    the event; from the call until the consumer has handled it. Rates are of writers at full speed.
    """

    ordering: str
    description: str
    lossless: bool  # what the ordering promises
    verdict: Verdict
    reason: str
    committed: int
    consumers: int
    delivered: int
    lost: int
    duplicated: int
    out_of_order: int
    conflicts: int
    rolled_back: int
    unknown: int
    seconds: float  # writers at full speed
    appends_per_s: float
    events_per_s: float
    append_ms: Latency | None
    visible_ms: Latency | None
    handled_ms: Latency | None
    client_cpu_share: float  # of one core, writers at full speed
    findings: list[Finding]
    replay: str  # the command that runs it again
    not_asked: dict[str, str] = {}  # invariant -> why: the store's shape forbids it, or its clients see to it
    raced: int = 0  # appends that lost a version to one that ran at the same time
    overtaken: int = 0  # transactions that ended after one that began later


class Figure(Document, frozen=True, kw_only=True):
    """One number that a scenario came to, by its name, for comparison and for a history.

    ``low`` and ``high`` bound it with 95% confidence, None where nothing does. ``better`` is "less" or
    "more" where one direction is an improvement. ``exact`` tells a counter, the same on any machine, from a
    time or a rate, which belongs to the machine it was taken on.
    """

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    better: str = ""
    exact: bool = False


class Column(Document, frozen=True, kw_only=True):
    """A column of a table. Numbers in it are shown in ``unit``: "ms", "share", "s", "MiB", "events/s", "" ..."""

    name: str
    unit: str = ""


def columns(*names: str) -> list[Column]:
    """Columns by their names, each with its unit after a bar: ``columns("operation", "p95|ms")``."""
    return [Column(name=name, unit=unit) for name, _, unit in (text.partition("|") for text in names)]


Row = list[str | float | None]
"""Texts, numbers, or None where there is nothing."""


class Table(Document, frozen=True, kw_only=True):
    """``rows`` are as long as ``columns``."""

    title: str
    columns: list[Column]
    rows: list[Row]
    note: str = ""


class Point(Document, frozen=True, kw_only=True):
    """A place in a chart. ``low`` and ``high`` are its interval; ``value`` is the colour of a heat map's cell."""

    x: float | str
    y: float | str
    series: str = ""
    low: float | None = None
    high: float | None = None
    value: float | None = None


class Chart(Document, frozen=True, kw_only=True):
    """A chart by what it shows. ``mark``: "line", "point", "bar", "area" or "heat".

    ``dots`` are series of a "line" whose points are not joined, such as what was measured beside what was fitted.
    """

    title: str
    mark: str
    x: str  # titles of the axes, with their units
    y: str
    points: list[Point]
    x_log: bool = False
    y_log: bool = False
    note: str = ""
    dots: list[str] = []


class Block(Document, frozen=True, kw_only=True):
    """Text that is shown as it is: a statement, a plan, a command."""

    title: str
    text: str
    language: str = ""  # "sql", "text", "diff", ...


class Section(Document, frozen=True, kw_only=True):
    """What a scenario has to show, in the order of reading. ``verdict`` None: nothing is judged here.

    One that is ``closing`` comes after everything else of the result.
    """

    name: str  # its anchor in the page: lower case, hyphens
    title: str
    verdict: Verdict | None = None
    text: list[str] = []  # paragraphs
    findings: list[Finding] = []
    tables: list[Table] = []
    charts: list[Chart] = []
    blocks: list[Block] = []
    closing: bool = False


class Criterion(Document, frozen=True, kw_only=True):
    """One question that a certification answers.

    ``verdict`` None: not asked, and ``reason`` says why. ``figure`` is the one that decides, ``evidence`` the anchor of
    the section that shows it; "" where nothing was measured.
    """

    name: str
    question: str
    verdict: Verdict | None
    figure: str = ""
    reason: str = ""
    evidence: str = ""
    remedy: str = ""


class HostEnvironment(Document, frozen=True, kw_only=True):
    """The machine the client ran on."""

    system: str
    cpu_model: str
    cpu_count: int
    memory_mib: int
    python: str
    libraries: dict[str, str]
    eventmark: str
    revision: str  # git commit of the tested project when known, else ""


class ServerEnvironment(Document, frozen=True, kw_only=True):
    """The server under test. Never holds a password."""

    kind: str  # "embedded", "local", "dsn", "docker"
    version: str
    version_num: int
    address: str  # redacted
    settings: dict[str, str]
    tuning: dict[str, str]  # what Eventmark set, with its reason
    fsync_ms: float | None


class StoreEnvironment(Document, frozen=True, kw_only=True):
    """The store under test."""

    name: str
    ordering: str
    schema_sha256: str
    indexes: list[str]
    capabilities: dict[str, bool]
    own_statements: dict[str, str] = {}  # of the user, in a load: operation -> the text's SHA-256


class Environment(Document, frozen=True, kw_only=True):
    host: HostEnvironment
    server: ServerEnvironment
    store: StoreEnvironment
    fitness: list[Finding]  # what doctor found about the machine, and about those of a cluster's workers
    workers: dict[str, HostEnvironment] = {}  # of a cluster's workers that are elsewhere: their machines


class RunResult(Document, frozen=True, kw_only=True):
    """The whole of one run. ``scenario`` is the name of the experiment that made it.

    ``through`` is what generated a load: "wire" (libpq) or "client" (the store's own); "" where none was generated.
    """

    format: str = RESULT_FORMAT
    format_version: int = RESULT_FORMAT_VERSION
    scenario: str
    run_id: str
    started_at: str  # ISO 8601, UTC
    seconds: float
    command: str
    profile: str
    seed: int
    verdict: Verdict
    reasons: list[str]
    environment: Environment
    corpus: CorpusResult | None
    operations: dict[str, OperationResult]
    plans: list[PlanResult]
    skipped: dict[str, str]  # operation or statement -> reason
    phases: list[Phase]
    series: list[Series]
    orderings: list[OrderingResult] = []
    figures: dict[str, Figure] = {}  # "capacity_appends_per_s", ...
    sections: list[Section] = []
    criteria: list[Criterion] = []  # of a certification
    through: str = ""

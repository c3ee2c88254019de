"""The audit: what is in the table, proved from the table, held against the plan.

Counts, streams and identities are checked over every row. Sizes, hours and contents are checked on samples,
whose size is told: reading every payload would take longer than loading it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.results.results import Finding, Verdict
from eventmark.seeding.ledger import SeededCorpus, Stage, read_ledger, set_stage
from eventmark.seeding.progress import Progress, no_progress
from eventmark.seeding.sample import instant_of
from eventmark.server.search_path import confined_dsn
from eventmark.stores import Shape, StoreDefinition, read_shape
from eventmark.workload import BATCH_EVENTS, SNAPSHOT_EVERY_EVENTS, USUAL_SHAPE, CorpusPlan, make_batch

SAMPLE_EVENTS = 50_000
CONTENT_EVENTS = 1000
AGGREGATES_PER_TENANT = 1000
SHARE_TOLERANCE = 0.02
FULL_SHAPE_EVENTS = 500_000  # below, tenants cannot all have a thousand aggregates of a long-tailed length


@dataclass(slots=True)
class AuditReport:
    """Findings, and the distributions seen (name → label → share or count)."""

    findings: list[Finding] = field(default_factory=list)
    distributions: dict[str, dict[str, float]] = field(default_factory=dict)
    events: int = 0
    aggregates: int = 0
    snapshots: int = 0
    tenants: int = 0
    checksum: str = ""
    scatter_pages_per_load: float | None = None

    @property
    def verdict(self) -> Verdict:
        if any(finding.verdict is Verdict.BROKEN for finding in self.findings):
            return Verdict.BROKEN
        if any(finding.verdict is Verdict.INCONCLUSIVE for finding in self.findings):
            return Verdict.INCONCLUSIVE
        return Verdict.MET


async def audit(
    dsn: str, definition: StoreDefinition, *, schema: str, progress: Progress = no_progress
) -> AuditReport:
    """Audit the corpus in ``schema`` and note in its ledger when it passes. Raises ``CannotRunError``."""
    dsn = confined_dsn(dsn, schema)
    connection = await asyncpg.connect(dsn)
    try:
        corpus = await read_ledger(connection, schema)
        if corpus is None:
            raise CannotRunError(
                f"there is no corpus in schema {schema!r}", remedy="seed one: eventmark seed"
            )
        if corpus.stage is not Stage.READY:
            raise CannotRunError(
                f"the corpus in schema {schema!r} is not finished ({corpus.stage})",
                remedy="run the same seeding again: it goes on where it stopped",
            )
        shape = await read_shape(connection, definition, schema)
        auditor = _Auditor(connection, definition, schema, corpus, shape)
        steps: list[Callable[[], Awaitable[None]]] = [
            auditor.check_batches, auditor.check_streams, auditor.check_sizes, auditor.check_hours,
            auditor.check_contents, auditor.check_snapshots, auditor.measure_scatter,
        ]  # fmt: skip
        for number, step in enumerate(steps):
            progress("audit", number, len(steps))
            await step()
        progress("audit", len(steps), len(steps))
        if auditor.report.verdict is not Verdict.BROKEN:
            await set_stage(connection, schema, Stage.READY, audited=True)
        return auditor.report
    finally:
        await connection.close()


class _Auditor:
    """One audit; every check adds its finding to ``report``."""

    def __init__(
        self,
        connection: asyncpg.Connection[Any],
        definition: StoreDefinition,
        schema: str,
        corpus: SeededCorpus,
        shape: Shape,
    ) -> None:
        self._connection = connection
        self._corpus = corpus
        self._plan: CorpusPlan = corpus.plan
        self._quoted = quoted_schema(schema)
        self._table = f'{self._quoted}."{definition.events_table}"'
        self._definition = definition
        self._shape = shape
        self._column = {**definition.sql_columns, "sequence_number": definition.sql_sequence}
        self.report = AuditReport()

    def _sql(self, text: str) -> str:
        """``{name}`` stands for the store's column; only events of the corpus are looked at."""
        own = f"{self._column['global_sequence_id']} <= {self._plan.events}"
        return text.format(table=self._table, own=own, schema=self._quoted, **self._column)

    def _sampled(self) -> str:
        """A random part of the table's pages, the same each time, of about ``SAMPLE_EVENTS`` rows."""
        if self._shape.kind == "v":
            return self._table
        percent = min(100.0, 100.0 * SAMPLE_EVENTS / self._plan.events)
        return f"{self._table} tablesample system ({percent:.4f}) repeatable (1)"

    def _add(self, name: str, ok: bool | None, observed: str, expected: str, remedy: str = "") -> None:
        verdict = Verdict.INCONCLUSIVE if ok is None else Verdict.MET if ok else Verdict.BROKEN
        self.report.findings.append(
            Finding(
                name=name,
                verdict=verdict,
                observed=observed,
                expected=expected,
                remedy="" if ok else remedy or "seed the corpus anew with --replace",
            )
        )

    async def check_batches(self) -> None:
        """Every batch of the plan once, with the identities that were sent, in the log's order."""
        rows = await self._connection.fetch(
            self._sql(
                "select l.batch, l.events, l.checksum, t.found, t.seen from {schema}.eventmark_seed_batches l"
                " left join ("
                f"  select ({{global_sequence_id}}::bigint - 1) / {BATCH_EVENTS} as batch, count(*) as found,"
                "    md5(string_agg({tenant_id}::text || '|' || {aggregate_id}::text || '|' || {sequence_number}"
                "    || '|' || {event_type}::text,"
                "    E'\\n' order by {global_sequence_id})) as seen"
                "  from {table} where {own} group by 1"
                ") t using (batch) order by l.batch"
            )
        )
        stored = sum(row["found"] or 0 for row in rows)
        wrong = [
            row["batch"] for row in rows if row["events"] != row["found"] or row["checksum"] != row["seen"]
        ]
        total = await self._connection.fetchval(self._sql("select count(*) from {table} where {own}"))
        self.report.events = total
        self.report.checksum = _digest([row["seen"] or "" for row in rows])
        complete = len(rows) == self._plan.batch_count and stored == total == self._plan.events
        self._add("events", complete, f"{total:,}", f"{self._plan.events:,}")
        self._add(
            "checksum of every batch",
            not wrong and complete,
            f"{len(rows) - len(wrong)} of {self._plan.batch_count} as sent"
            + (f", wrong: {wrong[:5]}" if wrong else ""),
            "tenant, aggregate, sequence and type of each event as sent, in order",
        )

    async def check_streams(self) -> None:
        """Streams contiguous, lengths long-tailed, tenants 80/20, each with enough aggregates."""
        rows = await self._connection.fetch(
            self._sql(
                "select tenant, count(*) as streams, sum(events)::bigint as events, max(events) as longest,"
                " count(*) filter (where events = 1000) as thousands,"
                " count(*) filter (where first <> 1 or last <> events) as broken,"
                " count(*) filter (where events = 1) as singles,"
                " count(*) filter (where events between 2 and 9) as short,"
                " count(*) filter (where events between 10 and 99) as medium,"
                " count(*) filter (where events between 100 and 1000) as long"
                " from (select {tenant_id}::text as tenant, count(*) as events, min({sequence_number}) as first,"
                "  max({sequence_number}) as last from {table} where {own}"
                "  group by {tenant_id}::text, {aggregate_id}) s"
                " group by tenant order by events desc, tenant"
            )
        )
        report = self.report
        report.tenants, report.aggregates = len(rows), sum(row["streams"] for row in rows)
        report.distributions["events per tenant"] = {row["tenant"]: float(row["events"]) for row in rows}
        report.distributions["stream length"] = {
            label: float(sum(row[key] for row in rows))
            for label, key in (("1", "singles"), ("2-9", "short"), ("10-99", "medium"), ("100-1000", "long"))
        }
        broken = sum(row["broken"] for row in rows)
        self._add(
            "contiguous streams",
            broken == 0,
            f"{broken} with gaps",
            "sequence numbers 1, 2, 3, ... in every stream",
        )
        if self._definition.has_tenants:
            self._check_tenants(rows)
        longest = max((row["longest"] for row in rows), default=0)
        self._add("longest stream", longest <= 1000, f"{longest} events", "at most 1000")
        name = self._shape.naming.tenant_id
        large = {name(number) for number, tenant in enumerate(self._plan.tenants) if tenant.large}
        thousands = [
            sum(row["thousands"] for row in rows if (row["tenant"] in large) is kind)
            for kind in (True, False)
        ]
        wanted = thousands if self._definition.has_tenants else [sum(thousands)]
        enough = all(wanted) if self._plan.events >= 20_000 else None
        self._add(
            "streams of exactly 1000", enough, f"{thousands[0]} of large tenants, {thousands[1]} of small ones",
            "some of both", "ask for 20,000 events or more",
        )  # fmt: skip

    def _check_tenants(self, rows: list[Any]) -> None:
        plan, shape = self._plan, self._plan.shape
        large = max(1, round(plan.tenant_count * shape.large_tenants))
        share = sum(row["events"] for row in rows[:large]) / max(1, self.report.events)
        self._add(
            f"tenants {100 * shape.large_events:g}/{100 * shape.large_tenants:g}",
            abs(share - shape.large_events) <= SHARE_TOLERANCE if plan.events >= 1000 else None,
            f"the largest {large} of {len(rows)} own {share:.1%}",
            f"{shape.large_tenants:.0%} of the tenants own {shape.large_events:.0%} of the events",
            "ask for 1,000 events or more",
        )
        fewest = min((row["streams"] for row in rows), default=0)
        if shape.stream_length > USUAL_SHAPE.stream_length:
            expected = "any number, as streams are longer than usual"
        elif plan.events < FULL_SHAPE_EVENTS * plan.tenant_count / 20:
            expected = (
                f"any number, a corpus of {plan.events:,} events is too small for {AGGREGATES_PER_TENANT:,}"
            )
        else:
            expected = f"{AGGREGATES_PER_TENANT:,} or more"
        self._add(
            "aggregates per tenant",
            expected.startswith("any") or fewest >= AGGREGATES_PER_TENANT,
            f"{fewest:,} or more", expected, "name fewer tenants or more events",
        )  # fmt: skip

    async def check_sizes(self) -> None:
        """Payload sizes against the plan's classes, within what the sample can tell."""
        classes = self._plan.size_classes
        rows = await self._connection.fetch(
            self._sql(
                f"select octet_length({self._document('payload')}) as bytes from "
                + self._sampled()
                + " where {own}"
                f" limit {SAMPLE_EVENTS}"
            )
        )
        sizes = np.array([row["bytes"] for row in rows])
        seen = (
            {
                f"{size.name} ({size.low_bytes}-{size.high_bytes} B)": float(
                    np.mean((sizes >= size.low_bytes) & (sizes <= size.high_bytes))
                )
                for size in classes
            }
            if len(sizes)
            else {}
        )
        self.report.distributions["payload size"] = seen
        # Four standard errors: a sample of the right distribution fails once in 15,000 audits.
        ok = (
            [
                abs(share - size.share) <= 4 * (size.share * (1 - size.share) / len(sizes)) ** 0.5 + 0.005
                for share, size in zip(seen.values(), classes, strict=True)
            ]
            if seen
            else []
        )
        self._add(
            "payload sizes", all(ok) if len(sizes) >= 1000 else None,
            ", ".join(f"{name} {share:.1%}" for name, share in seen.items()) + f" of {len(sizes):,} sampled",
            ", ".join(f"{size.name} {size.share:.0%}" for size in classes), "ask for 1,000 events or more",
        )  # fmt: skip

    async def check_hours(self) -> None:
        """Most events in each tenant's own business hours."""
        if not self._definition.has_tenants or "timestamp_utc" not in self._definition.columns:
            return  # whose hours, or when, is not known
        name = self._shape.naming.tenant_id
        zones = {name(number): tenant.time_zone for number, tenant in enumerate(self._plan.tenants)}
        at = instant_of(self._definition, self._shape)
        rows = await self._connection.fetch(
            self._sql(
                "select extract(hour from at)::int as hour, extract(isodow from at) > 5 as weekend,"
                " count(*) as events from ("
                f" select {at} at time zone own_zone as at from " + self._sampled() +
                " join unnest($1::text[], $2::text[]) as z (own_tenant, own_zone)"
                " on own_tenant = {tenant_id}::text where {own}"
                ") t group by 1, 2"
            ),
            list(zones),
            list(zones.values()),
        )  # fmt: skip
        total = sum(row["events"] for row in rows)
        by_hour = dict.fromkeys((f"{hour:02d}" for hour in range(24)), 0.0)
        for row in rows:
            by_hour[f"{row['hour']:02d}"] += row["events"]
        self.report.distributions["local hour of day"] = by_hour
        business = sum(row["events"] for row in rows if 8 <= row["hour"] < 18 and not row["weekend"])
        share = business / max(1, total)
        self._add(
            "business hours", share >= 0.6 if total >= 1000 else None,
            f"{share:.1%} of {total:,} sampled on weekdays from 8 to 18 local time",
            "60% or more (30% of the week's hours)", "ask for 1,000 events or more",
        )  # fmt: skip

    async def check_contents(self) -> None:
        """Payload and metadata of a whole stretch of the log, equal to what the plan makes anew."""
        number = self._plan.batch_count // 2
        batch = make_batch(
            self._plan,
            number,
            first_transaction_id=self._corpus.first_transaction_id,
            naming=self._shape.naming,
        )
        expected = {event.global_sequence_id: event for event in batch.events[:CONTENT_EVENTS]}
        first = number * BATCH_EVENTS + 1
        names = [name for name in ("payload", "metadata") if name in self._column]
        documents = ", ".join(f"{self._document(name)} as {name}" for name in names)
        by_log = "{transaction_id}, " if "transaction_id" in self._column else ""
        rows = await self._connection.fetch(
            self._sql(
                f"select {{global_sequence_id}}::bigint as position, {documents}"
                " from {table} where {global_sequence_id} between $1 and $2"
                f" order by {by_log}{{global_sequence_id}}"
            ),
            first,
            first + len(expected) - 1,
        )
        same = sum(
            all(
                self._is_as_planned(name, row[name], getattr(expected[row["position"]], name))
                for name in names
            )
            for row in rows
        )
        self._add(
            "contents",
            same == len(expected),
            f"{same:,} of {len(expected):,} sampled equal",
            "payload and metadata as planned",
        )

    def _document(self, name: str) -> str:
        """A document as text, as SQL."""
        column = self._column[name]
        return (
            f"convert_from({column}, 'UTF8')"
            if self._shape.type_of(self._definition, name) == "bytea"
            else f"{column}::text"
        )

    def _is_as_planned(self, name: str, observed: str, planned: str) -> bool:
        """Whether a document is the planned one; one that the seeder adds keys to has all of its keys."""
        own = self._definition.columns[name]
        try:
            given: dict[str, Any] = json.loads(observed)
        except (TypeError, ValueError):  # no document at all
            return False
        wanted: dict[str, Any] = json.loads(planned)
        adds = own in self._definition.seeded_columns or any(
            column.key is not None and column.key[0] == own for column in self._shape.events.values()
        )
        return wanted.items() <= given.items() if adds else wanted == given

    async def check_snapshots(self) -> None:
        """One per hundredth event, or at least one per stream that has any, where a store keeps only the latest."""
        table = self._definition.snapshots_table
        if table is None:
            return
        column = self._definition.sql_snapshot_columns
        due = await self._connection.fetchrow(
            self._sql(
                "select count(*) as all, count(distinct ({tenant_id}, {aggregate_id})) as streams from {table}"
                f" where {{own}} and {{sequence_number}} % {SNAPSHOT_EVERY_EVENTS} = 0"
            )
        )
        value = await self._connection.fetchval(
            f'select count(*) from {self._quoted}."{table}"'
            f" where {column['sequence_number']} % {SNAPSHOT_EVERY_EVENTS} = 0"
        )
        self.report.snapshots = value
        self._add(
            "snapshots", value in (due["all"], due["streams"]), f"{value:,}",
            f"{due['all']:,}, one for every {SNAPSHOT_EVERY_EVENTS} events of a stream",
        )  # fmt: skip

    async def measure_scatter(self) -> None:
        """Heap pages that hold one stream of 1000 events, on average: what a cold load has to read."""
        if self._shape.kind == "v":
            return  # a view has no pages
        row = await self._connection.fetchrow(
            self._sql(
                "with longest as (select distinct e ->> 0 as own_tenant, e ->> 1 as own_aggregate"
                " from {schema}.eventmark_seed_batches, jsonb_array_elements(longest) e limit 5)"
                " select avg(pages)::float8 from (select count(distinct (t.ctid::text::point)[0]) as pages"
                "  from longest join {table} t on {tenant_id}::text = own_tenant"
                "   and {aggregate_id}::text = own_aggregate group by own_tenant, own_aggregate) s"
            )
        )
        self.report.scatter_pages_per_load = row[0]


def _digest(checksums: list[str]) -> str:
    return hashlib.md5("".join(checksums).encode(), usedforsecurity=False).hexdigest()

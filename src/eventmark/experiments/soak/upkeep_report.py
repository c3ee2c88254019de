"""What a soak did to the server's tables: growth, how full indexes are, autovacuum, WAL and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

from eventmark.experiments.soak.soaked import Soaked, thinned
from eventmark.experiments.soak.upkeep import MIB
from eventmark.judgement.verdicts import worst
from eventmark.results.results import Chart, Finding, Point, Row, Section, Table, Verdict, columns
from eventmark.server import Relation

OVERDUE = 2.0
"""Times the rows after which autovacuum is due: it is begun now and then, and takes its time."""

LOOKS_LEAST = 3.0
"""So often autovacuum has to have looked at the table before one that is overdue is its fault."""


def upkeep_section(soaked: Soaked) -> Section:
    findings = [_vacuumed(soaked)]
    return Section(
        name="upkeep",
        title="Tables, autovacuum and WAL",
        verdict=worst(findings),
        findings=findings,
        tables=[_growth_table(soaked), _autovacuum_table(soaked), _wal_table(soaked)],
        charts=[*_growth_charts(soaked)],
    )


def _vacuumed(soaked: Soaked) -> Finding:
    """One that is overdue is no fault in a run that autovacuum has hardly looked at."""
    waiting, due = soaked.after[soaked.events_table].rows_since_vacuum or 0, soaked.autovacuum
    if due is None:
        return Finding(
            name="autovacuum keeps up", verdict=Verdict.INCONCLUSIVE,
            observed="autovacuum is off for the table of events",
            expected="a table that is vacuumed as it grows", remedy="an aged corpus has it off on purpose",
        )  # fmt: skip
    overdue, short = waiting > OVERDUE * due.due_rows, soaked.seconds < LOOKS_LEAST * due.every_s
    verdict = Verdict.MET
    if overdue:
        verdict = Verdict.INCONCLUSIVE if short else Verdict.BROKEN
    return Finding(
        name="autovacuum keeps up", verdict=verdict,
        observed=f"{waiting:,} rows inserted since the last vacuum of the table of events",
        expected=f"less than {OVERDUE:g} times the {due.due_rows:,.0f} after which one is due",
        remedy=""
        if not overdue
        else f"soak for longer: it looks every {due.every_s:g} s"
        if short
        else "raise autovacuum_vacuum_cost_limit, or look for what keeps it from its work",
    )  # fmt: skip


def _growth_table(soaked: Soaked) -> Table:
    rows: list[Row] = []
    events = soaked.appended_events
    for name, after in soaked.after.items():
        before = soaked.upkeep.before.get(name)
        if before is None or not after.bytes:
            continue
        grown = _bytes(after) - _bytes(before)
        rows.append([
            name, _bytes(before) / MIB, _bytes(after) / MIB,
            grown / events if events and after.table_name == soaked.events_table else None,
            _number(after.dead_rows), before.leaf_density, after.leaf_density,
        ])  # fmt: skip
    return Table(
        title="Tables and indexes",
        columns=columns(
            "relation", "before|MiB", "after|MiB", "grown per event|B", "dead rows", "leaves full, before|share",
            "leaves full, after|share",
        ),
        rows=rows,
        note=f"Between the two readings the server counted {events:,} appended events. How full leaf pages "
        "are is measured by pgstattuple where it is installed.",
    )  # fmt: skip


def _autovacuum_table(soaked: Soaked) -> Table:
    rows: list[Row] = []
    for name, after in soaked.after.items():
        before = soaked.upkeep.before.get(name)
        if after.kind != "r" or before is None:
            continue
        rows.append([
            name, float((after.autovacuums or 0) - (before.autovacuums or 0)),
            float((after.autoanalyzes or 0) - (before.autoanalyzes or 0)), _number(after.rows_since_vacuum),
            _number(after.dead_rows),
        ])  # fmt: skip
    running = [value for _, value in soaked.upkeep.points.get("vacuums_running", [])]
    share = sum(value > 0 for value in running) / len(running) if running else 0.0
    return Table(
        title="Autovacuum",
        columns=columns("table", "vacuums", "analyzes", "rows since the last vacuum", "dead rows"),
        rows=rows,
        note=f"A vacuum was running on one of the tables in {share:.0%} of the samples.",
    )  # fmt: skip


def _wal_table(soaked: Soaked) -> Table:
    count, seconds, events = soaked.counters, max(soaked.seconds, 1e-9), soaked.appended_events
    wal = count.get("wal_bytes")

    def per_event(value: float | None) -> float | None:
        return None if value is None or not events else value / events

    rows: list[Row] = [
        ["WAL written, MiB/s", None if wal is None else wal / MIB / seconds],
        ["WAL per event, bytes", per_event(wal)],
        ["full page images per event", per_event(count.get("wal_page_images"))],
        ["flushes per second", _per(count.get("wal_syncs"), seconds)],
        ["time flushing, share", _per(count.get("wal_sync_ms"), seconds * 1e3)],
        ["times WAL buffers were full", count.get("wal_buffers_full")],
        ["checkpoints by time", count.get("checkpoints_timed")],
        ["checkpoints by volume or request", count.get("checkpoints_requested")],
        ["pages written by checkpoints", count.get("checkpoint_buffers")],
        ["time checkpoints wrote, s", _per(count.get("checkpoint_write_ms"), 1e3)],
        ["time checkpoints synced, s", _per(count.get("checkpoint_sync_ms"), 1e3)],
    ]
    return Table(title="WAL and checkpoints", columns=columns("of the server", "value"), rows=rows)


def _growth_charts(soaked: Soaked) -> Iterator[Chart]:
    sizes = [
        Point(x=round(at_s, 2), y=round(value, 3), series=name.removesuffix("_bytes"))
        for name in ("table_bytes", "index_bytes")
        for at_s, value in thinned(soaked.upkeep.points.get(name, []))
    ]
    if sizes:
        yield Chart(title="Size on disk", mark="line", x="seconds", y="MiB", points=sizes)
    dead = thinned(soaked.upkeep.points.get("dead_rows", []))
    if dead:
        points = [Point(x=round(at_s, 2), y=value) for at_s, value in dead]
        yield Chart(title="Dead rows", mark="line", x="seconds", y="rows", points=points)


def _bytes(relation: Relation) -> int:
    return relation.bytes + (relation.toast_bytes or 0)


def _number(count: int | None) -> float | None:
    return None if count is None else float(count)


def _per(value: float | None, of: float) -> float | None:
    return None if value is None else value / of

"""An aged corpus in the report: what was done to it, and what the server counts after it."""

from __future__ import annotations

from eventmark.jobs.job import Job
from eventmark.results.results import Finding, Row, Section, Table, Verdict, columns
from eventmark.seeding import Aging, read_aging
from eventmark.server.loop import ask


def aged_sections(job: Job) -> list[Section]:
    """The section on the age of the job's corpus; none where no corpus was filled."""
    aging = ask(job.server.dsn, read_aging, job.schema)
    return [] if aging is None else [_section(aging)]


def _section(aging: Aging) -> Section:
    rows: list[Row] = [
        ["events appended since the last VACUUM and ANALYZE", float(aging.tail_events)],
        ["events of appends that were rolled back", float(aging.rolled_back_events)],
        ["numbers of the sequence without an event", _number(aging.gaps)],
        ["dead rows in the table of events", float(aging.dead_rows)],
        ["its pages", float(aging.pages)],
        ["of these, all visible by the visibility map", float(aging.visible_pages)],
        ["rows that the planner believes it to hold", float(aging.analysed_rows)],
        ["dead rows of tokens", _number(aging.dead_token_rows)],
        ["pages of tokens", _number(aging.token_pages)],
    ]
    return Section(
        name="aged-corpus",
        title="Aged corpus",
        text=[
            "The corpus was aged after it was seeded: appends were rolled back, events were appended by the store with "
            "autovacuum off for its table, and a token was saved many times under an open snapshot. Counts are the "
            "server's, taken before anything was measured."
        ],
        findings=[_dead_rows(aging), _tail(aging)],
        tables=[
            Table(
                title="Effects of aging",
                columns=columns("of the store", "count"),
                rows=rows,
            )
        ],
        closing=True,
    )


def _number(count: int | None) -> float | None:
    return None if count is None else float(count)


def _dead_rows(aging: Aging) -> Finding:
    """Too few are no fault of the store's, but what was measured was younger than was asked for."""
    enough = aging.dead_rows >= aging.rolled_back_events
    return Finding(
        name="dead rows", verdict=Verdict.MET if enough else Verdict.INCONCLUSIVE,
        observed=f"{aging.dead_rows:,}", expected=f"{aging.rolled_back_events:,} or more",
        remedy="" if enough else "see whether something else vacuums the table",
    )  # fmt: skip


def _tail(aging: Aging) -> Finding:
    unseen = aging.pages - aging.visible_pages
    return Finding(
        name="unvacuumed tail", verdict=Verdict.MET if unseen > 0 else Verdict.INCONCLUSIVE,
        observed=f"{unseen:,} of {aging.pages:,} pages not known to be all visible", expected="some",
        remedy="" if unseen > 0 else "see whether something else vacuums the table",
    )  # fmt: skip

"""The advice shown: the ranked list, then for each part what was tried and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from eventmark.adviser.candidate import APPENDS, WORTH_RATIO, Trial
from eventmark.adviser.changes import SchemaTrials
from eventmark.adviser.copies import Copies
from eventmark.adviser.ranking import (
    INDEXES_TITLE,
    SCHEMA_TITLE,
    WHOLE,
    Advised,
    counted,
    found_wanting,
    is_worth,
)
from eventmark.adviser.script import INTERRUPTED, gain_text
from eventmark.adviser.server_use import ServerUse
from eventmark.adviser.wal import AppendWal
from eventmark.operations.pgbench import RATE_CLIENTS
from eventmark.results.results import (
    Block,
    Chart,
    Figure,
    Point,
    Row,
    Section,
    Table,
    Verdict,
    columns,
)
from eventmark.stats.ratios import Ratio

WHAT_TO_DO = "What to do: changes of the store, of the server, and of how it is used"

LOSES_EVENTS = (
    "First of all: consumers of this store can miss events. They read by global sequence alone, and a transaction that "
    "took a lower number may commit after a higher one was read: see docs/ordering.md, and try eventmark verify."
)

RATE_COLUMNS = ("times|times", "at least|times", "at most|times")


def advice_section(
    advice: Sequence[Advised],
    changes: SchemaTrials,
    everything: Trial | None,
    copies: Copies,
    script: str,
    verdict: Verdict,
    use: ServerUse | None = None,
    *,
    whole: bool = True,
) -> Section:
    """The list, in the order of what it brings. ``verdict``: whether the trials can be trusted.

    Not ``whole``: the trials were interrupted.
    """
    wanting = found_wanting(advice)
    nothing = f"No change of the store or its server was found that is worth more than {WORTH_RATIO - 1:.0%}."
    text = [
        *filter(None, [first_of_all(copies.definition.ordering)]),
        _headline(wanting) if wanting
        else nothing if whole else INTERRUPTED,
        f"Each change was tried on a copy of {copies.events:,} events. {RATE_CLIENTS} clients of pgbench appended and "
        "one client read, with the store's own statements, with and without the change in turns; intervals are 95%. "
        "Bytes and pages are the server's own counts, the same on any machine.",
    ]  # fmt: skip
    text += _said_of(changes)
    if everything is not None and not everything.refusal:
        text += _described_whole(everything, "With the settings advised as well")
    if use is not None:
        text.append(
            f"Time of the statements that the server in use has seen: {use}. Gains are weighed by it."
        )
    gains: list[Row] = [
        [
            float(rank), advised.what, advised.gain, advised.low, advised.high, advised.gained,
            *([] if use is None else [None if advised.server_time is None else f"{advised.server_time:.0%}"]),
            advised.saved,
        ]
        for rank, advised in enumerate(advice, 1)
    ]  # fmt: skip
    risks: list[Row] = [
        [float(rank), advised.risk, advised.evidence, "yes" if advised.script else "no"]
        for rank, advised in enumerate(advice, 1)
    ]
    weighed = () if use is None else ("server's time saved",)
    named = columns("rank", "what to do", *RATE_COLUMNS, "measured in", *weighed, "also")
    tables = [
        Table(title=WHAT_TO_DO, columns=named, rows=gains),
        Table(title="What it risks", columns=columns("rank", "risk", "evidence", "SQL"), rows=risks),
    ]
    return Section(
        name="advice", title="Advice", verdict=verdict, text=text, tables=tables if advice else [],
        charts=_gains(advice), blocks=[Block(title="advice.sql", text=script, language="sql")],
    )  # fmt: skip


def first_of_all(ordering: str) -> str:
    """What matters more than any change; empty where nothing does."""
    return LOSES_EVENTS if ordering == "global-sequence" else ""


def _headline(wanting: Sequence[Advised]) -> str:
    """How many changes there are, and what the first of them, which holds all, brings."""
    parts = [advised for advised in wanting if advised.evidence != WHOLE]
    best = wanting[0]
    gain = f": {gain_text(best)}" if best.gain and best.gain >= 1 else f": {best.saved}" if best.saved else ""
    many = (
        f"{len(parts)} changes are worth making, together" if len(parts) > 1 else "1 change is worth making"
    )
    return f"{many}{gain}."


def _said_of(changes: SchemaTrials) -> list[str]:
    """How far the copies can be told apart, and that no query gets worse."""
    if changes.alike is None:
        return []
    alike = {APPENDS: changes.alike, **changes.reads_alike}
    sentences = [
        "Control, one unchanged copy against the other: "
        + ", ".join(f"{name} {ratio}" for name, ratio in alike.items()) + "."
    ]  # fmt: skip
    together = changes.together
    if together is not None and not together.refusal:
        sentences += _described_whole(together, "With all sound changes at once")
        if not is_worth(together):
            sentences.append(
                f"What is sound was found to be worth less than {WORTH_RATIO - 1:.0%} together: {counted(together)}"
                + (f"; appends {together.rate}." if together.rate else ".")
            )
    return sentences


def _described_whole(trial: Trial, beginning: str) -> list[str]:
    sentences = [
        f"{beginning}, {len(trial.worse)} of {trial.compared} plans do more work than before (every statement, under "
        "every condition, custom and generic)."
    ]
    if trial.cpu is not None:
        sentences.append(f"Appends per second of the server's processor time: {trial.cpu}.")
    return sentences


def _gains(advice: Sequence[Advised]) -> list[Chart]:
    points = [
        Point(x=advised.what, y=advised.gain, low=advised.low, high=advised.high)
        for advised in advice
        if advised.gain is not None and advised.gained == "appends/s"
    ]
    if not points:
        return []
    return [
        Chart(title="appends per second, times what they were", mark="bar", x="", y="times", points=points)
    ]


def index_section(changes: SchemaTrials) -> Section:
    """Every index with its use, then what was tried."""
    use: list[Row] = [
        [
            use.name,
            use.bytes / 2**20,
            float(use.scans),
            use.wal_share,
            use.definition,
        ]
        for use in sorted(changes.use, key=lambda use: (-use.scans, use.name))
    ]
    tried = [trial for trial in changes.trials if trial.candidate.kind == "index"]
    return Section(
        name="advice-indexes",
        title=INDEXES_TITLE,
        text=[
            "Searched: how often, while every operation of the store was run through its interface and every "
            "statement under every condition. A unique index that is never searched still keeps duplicates out.",
            _said_of_wal(changes.wal),
        ],
        tables=[
            Table(
                title="Indexes as they are", rows=use,
                columns=columns("index", "size|MiB", "searched", "WAL of an append|share", "definition"),
            ),
            *_trial_tables(tried, "Tried, one at a time"),
        ],
    )  # fmt: skip


def _said_of_wal(wal: AppendWal) -> str:
    """What took the WAL of an append, the most first; or why that is not known."""
    if wal.missing or not wal.bytes:
        return f"WAL of an append by index is not known: {wal.missing or 'no record was found'}."
    shares = sorted(wal.bytes, key=lambda name: -wal.bytes[name])
    listed = ", ".join(f"{name} {wal.share(name):.0%}" for name in shares)
    return f"WAL of an append by pg_walinspect, without full-page images: {listed}."


def schema_section(changes: SchemaTrials) -> Section:
    """Triggers, checks, and variants of the table."""
    trials = [trial for trial in changes.trials if trial.candidate.kind != "index"]
    tried = [trial for trial in trials if trial.candidate.apply]
    not_tried: list[Row] = [
        [trial.candidate.kind, trial.candidate.name, trial.refusal]
        for trial in trials
        if not trial.candidate.apply
    ]
    tables = [*_trial_tables(tried, "Tried, one at a time"), *_read_table(tried)]
    if not_tried:
        tables.append(Table(title="Not tried", columns=columns("kind", "what", "why not"), rows=not_tried))
    return Section(
        name="advice-schema",
        title=SCHEMA_TITLE,
        text=[
            "A change that weakens the store is measured, so that its price is known, and never advised. A row trigger "
            "is dropped only where rows stay the same without it."
        ],
        tables=tables,
        blocks=[
            Block(title=f"{trial.candidate.name}: how", text=";\n".join(trial.candidate.script) + ";", language="sql")
            for trial in tried
        ],
    )  # fmt: skip


def _trial_tables(trials: Sequence[Trial], title: str) -> list[Table]:
    if not trials:
        return []
    return [
        Table(
            title=title,
            columns=columns(
                "change", "reason", *RATE_COLUMNS, "by processor|times", "plans worse", "outcome"
            ),
            rows=[
                [
                    trial.candidate.name, trial.candidate.reason, *_bounds(trial.rate),
                    trial.cpu.value if trial.cpu else None,
                    float(len(trial.worse)) if trial.before else None, outcome(trial),
                ]
                for trial in trials
            ],
            note="Times: appends per second with the change, divided by those without it; by processor: per second of "
            "the server's processor time. A plan is worse if it touches 10% more pages (a write 33%), or if it scans "
            "or sorts what it did not before.",
        ),
        Table(
            title="Counted, before and after the change",
            columns=columns(
                "change", "WAL per append|B", "after|B", "pages per append", "after", "table per event|B", "after|B",
                "indexes per event|B", "after|B",
            ),
            rows=[[trial.candidate.name, *_counts(trial)] for trial in trials if trial.before],
            note="Table: with its long values (TOAST).",
        ),
    ]  # fmt: skip


def _read_table(trials: Sequence[Trial]) -> list[Table]:
    """How fast reads and appends are with each change that was timed for both."""
    rows: list[Row] = [
        [trial.candidate.name, name, gain.value, *gain.bounds]
        for trial in trials
        for name, gain in trial.gains.items()
        if trial.reads
    ]
    if not rows:
        return []
    return [
        Table(
            title="Speed with the change", columns=columns("change", "operation", *RATE_COLUMNS), rows=rows,
            note="Times as fast as without the change; reads by one client, one call after the other.",
        )
    ]  # fmt: skip


def _counts(trial: Trial) -> Row:
    before, after, small, large = trial.before, trial.after, trial.sizes_before, trial.sizes_after
    assert before and after and small and large
    events = small.events
    return [
        before.wal_bytes, after.wal_bytes, before.pages, after.pages, small.table_bytes / events,
        large.table_bytes / events, small.index_bytes / events, large.index_bytes / events,
    ]  # fmt: skip


def outcome(trial: Trial) -> str:
    """What came of a trial, in a few words."""
    if trial.refusal:
        return trial.refusal
    if trial.worse:
        worst = max(trial.worse, key=lambda difference: difference.factor)
        return f"worse: {worst.statement}, {worst.condition}: {worst.what}"
    if trial.candidate.weakens:
        return f"weakens the store: {trial.candidate.weakens}"
    return "sound, and worth it" if is_worth(trial) else "sound"


def _bounds(rate: Ratio | None) -> Row:
    return [rate.value, *rate.bounds] if rate else [None, None, None]


def figures_of(
    advice: Sequence[Advised], changes: SchemaTrials, everything: Trial | None = None
) -> dict[str, Figure]:
    """For comparison: how much was found, what it brings, and what an append costs as the store is."""
    figures = {
        "advice_count": Figure(
            value=float(sum(advised.evidence != WHOLE for advised in found_wanting(advice))),
            unit="changes",
            better="less",
        )
    }
    if changes.alike is None:
        return figures
    together = changes.together
    if together is not None and is_worth(together):
        for name, gain in together.reads.items():
            figures[f"advised_{name.partition('[')[0]}_gain"] = Figure(
                value=gain.value, unit="times", low=gain.bounds[0], high=gain.bounds[1]
            )
    if together is not None and is_worth(together) and together.rate is not None:
        rate = together.rate
        figures["advised_append_gain"] = Figure(
            value=rate.value, unit="times", low=rate.bounds[0], high=rate.bounds[1]
        )
        if (cpu := together.cpu) is not None:
            figures["advised_append_gain_by_processor"] = Figure(
                value=cpu.value, unit="times", low=cpu.low, high=cpu.high
            )
    else:
        figures["advised_append_gain"] = Figure(value=1.0, unit="times")
    if everything is not None and is_worth(everything) and everything.rate is not None:
        rate = everything.rate
        figures["advised_append_gain_with_settings"] = Figure(
            value=rate.value, unit="times", low=rate.bounds[0], high=rate.bounds[1]
        )
    if together is not None and together.before and together.after:
        for name, work in (("append", together.before), ("advised_append", together.after)):
            figures[f"{name}_wal_bytes"] = Figure(
                value=round(work.wal_bytes, 1), unit="B", better="less", exact=True
            )
            figures[f"{name}_pages"] = Figure(
                value=round(work.pages, 2), unit="pages", better="less", exact=True
            )
    return figures

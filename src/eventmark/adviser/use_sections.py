"""The server's settings and the store's use shown: what was tried, what was measured."""

from __future__ import annotations

from eventmark.adviser.application import Application
from eventmark.adviser.ranking import APPLICATION_TITLE, SERVER_TITLE, enough_connections
from eventmark.adviser.sections import RATE_COLUMNS
from eventmark.adviser.settings import SettingTrial, SettingTrials
from eventmark.results.results import Row, Section, Table, columns


def server_section(settings: SettingTrials) -> Section:
    """Each setting, as it is and as it was tried."""
    fresh, later = settings.wal_bytes_after_checkpoint, settings.wal_bytes_later
    checkpoints = "What a checkpoint costs appends could not be measured: this role may not make one."
    if not settings.checkpoint_tried:
        checkpoints = "Interrupted before it was measured what a checkpoint costs appends."
    if fresh is not None and later is not None:
        checkpoints = (
            f"Right after a checkpoint an append writes {fresh:,.0f} bytes of WAL, when its pages have been written "
            f"whole {later:,.0f}. checkpoint_timeout ({settings.checkpoint_timeout}) and max_wal_size "
            f"({settings.max_wal_size}) decide how often that is; they work over minutes, so that a short trial of "
            "them would show nothing."
        )  # fmt: skip
    return Section(
        name="advice-server",
        title=SERVER_TITLE,
        text=[
            "Tried by sessions with the setting and sessions without it, in turns; nothing was changed "
            "on the server. What weakens durability is measured, and never part of the advice.",
            checkpoints,
        ],
        tables=[
            Table(
                title="tried",
                columns=columns(
                    "setting", "current", "tried", "reason", *RATE_COLUMNS, "outcome"
                ),
                rows=[_setting_row(trial) for trial in settings.trials],
                note="times: appends per second with it over without",
            )
        ],
    )  # fmt: skip


def _setting_row(trial: SettingTrial) -> Row:
    rate = trial.rate
    bounds: Row = [rate.value, *rate.bounds] if rate else [None, None, None]
    return [trial.name, trial.now, trial.value, trial.reason, *bounds, _outcome(trial)]


def _outcome(trial: SettingTrial) -> str:
    if trial.refusal:
        return trial.refusal
    if trial.weakens:
        return f"weakens {trial.weakens}"
    if trial.by_plans:
        return f"{trial.better_plans} plans do less, {trial.worse_plans} more"
    if trial.worse_plans:
        return f"{trial.worse_plans} plans do more"
    return "worth it" if trial.is_advice else "not worth it"


def application_section(application: Application) -> Section:
    """How the store is used: one table for each choice."""
    text = [f"{name}: {reason}." for name, reason in application.missing.items()]
    return Section(
        name="advice-application", title=APPLICATION_TITLE, text=text,
        tables=[
            _batches(application), _connections(application), _statements(application),
            *_snapshots(application), *_caches(application),
            *_groups(application),
        ],
    )  # fmt: skip


def _batches(application: Application) -> Table:
    rates = application.batch_events_per_s
    return Table(
        title="batches, by one connection",
        columns=columns("events in a batch", "rate|events/s", "times one|times"),
        rows=[[float(batch), rate, rate / rates[1]] for batch, rate in rates.items()],
    )  # fmt: skip


def _connections(application: Application) -> Table:
    rates = application.connections_appends_per_s
    return Table(
        title="connections that append at once",
        columns=columns("connections", "rate|appends/s"),
        rows=[[float(count), rate] for count, rate in rates.items()],
        note=f"{enough_connections(rates)} give nearly the highest rate",
    )


def _statements(application: Application) -> Table:
    prepared = application.prepared
    return Table(
        title="prepared statements, over statements parsed at each call",
        columns=columns(*RATE_COLUMNS),
        rows=[[prepared.value, prepared.low, prepared.high]],
    )  # fmt: skip


def _snapshots(application: Application) -> list[Table]:
    times = application.times
    if times is None:
        return []
    rows: list[Row] = [[f"load {events} events", took_ms] for events, took_ms in times.load_ms.items()]
    rows += [["read a snapshot", times.read_snapshot_ms], ["store a snapshot", times.store_snapshot_ms]]
    snapshots = application.snapshots
    note = "the store keeps no snapshots"
    if snapshots is not None:
        note = (
            "for an aggregate that is loaded once for each event appended, "
            f"a snapshot every {snapshots.every_events} events costs least, "
            f"and streams of {snapshots.from_events} events and more gain by it"
        )
    return [
        Table(
            title="snapshots: what is weighed", columns=columns("operation", "p50|ms"), rows=rows, note=note
        )
    ]


def _caches(application: Application) -> list[Table]:
    if not application.caches:
        return []
    return [
        Table(
            title="a cache of recently used aggregates",
            columns=columns("aggregates", "loads answered|share", "time saved|share"),
            rows=[[float(cache.aggregates), cache.hit_share, cache.time_share] for cache in application.caches],
            note="as the corpus grew: a client that appends an event has loaded its aggregate",
        )
    ]  # fmt: skip


def _groups(application: Application) -> list[Table]:
    if not application.groups:
        return []
    return [
        Table(
            title="group append",
            columns=columns("callers", "rate|appends/s", "times pgbench|times"),
            rows=[
                [name, group.throughput_per_s, 1 / group.floors[0].ratio] for name, group in application.groups.items()
            ],
            note="compared with pgbench's 32 clients, each append a transaction of its own",
        )
    ]  # fmt: skip

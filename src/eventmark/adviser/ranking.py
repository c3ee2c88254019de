"""The advice: what to do, what it brings, what it risks; the most worth first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eventmark.adviser.application import Application
from eventmark.adviser.candidate import APPENDS, WORTH_RATIO, Trial
from eventmark.adviser.changes import SchemaTrials
from eventmark.adviser.server_use import ServerUse
from eventmark.adviser.settings import SettingTrials
from eventmark.stats.ratios import Ratio

INDEXES_TITLE, SCHEMA_TITLE = "Indexes", "Schema"
SERVER_TITLE, APPLICATION_TITLE = "Server settings", "How the store is used"
WHOLE = "above"  # what is said of the parts of advice, taken together
_EVIDENCE = {"index": INDEXES_TITLE, "combination": WHOLE}

CLOSE_SHARE = 0.95
"""A number of connections is enough when it brings this share of the most appends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """One piece of advice. ``gain`` is how many times as much of ``gained``, or, where that is an operation, how
    many times as fast it is; ``script`` may be empty.

    ``server_time`` is the share that it saves of the time that a server in use was seen to spend, None where none was.
    ``counted`` says what the server counted, ``saved`` the same in short; ``evidence`` is the section it
    stands in. What is of the store or its server counts as found wanting; what is of its use (``of_use``) is
    a choice that every application has.
    """

    what: str
    gain: float | None
    low: float | None = None
    high: float | None = None
    gained: str = "appends/s"
    server_time: float | None = None
    counted: str = ""
    saved: str = ""
    script: tuple[str, ...] = ()
    risk: str = ""
    evidence: str = ""
    of_use: bool = False


def is_worth(trial: Trial) -> bool:
    """Whether a trial shows advice: by the server's own counts, by reads that do less or are quicker, or by the rate.

    Counts are the same on a busy machine; a rate that falls all the same speaks against them.
    """
    if not trial.is_sound or trial.is_slower:
        return False
    if trial.candidate.by_time:
        return trial.is_quicker
    counted = trial.before is not None and trial.after is not None and (
        trial.before.wal_bytes >= WORTH_RATIO * trial.after.wal_bytes
        or trial.before.pages >= WORTH_RATIO * trial.after.pages
    )  # fmt: skip
    return counted or trial.is_quicker or bool(trial.better)


def advice_on_schema(changes: SchemaTrials, use: ServerUse | None = None) -> list[Advised]:
    """All sound changes as one, then each of them; nothing where together they are not worth it.

    The most worth first: what saves most of the server's time where its ``use`` was seen, else what gains most.
    """
    together = changes.together
    if together is None or not is_worth(together):
        return []
    trials = {trial.candidate.name: trial for trial in changes.trials}
    parts = [
        _of_trial(trials[candidate.name], use) for candidate in changes.chosen if candidate.name in trials
    ]
    whole = _of_trial(together, use)
    if len(parts) == 1:
        # It was measured again as the whole of the advice, and longer
        return [replace(whole, what=parts[0].what, risk=parts[0].risk, evidence=parts[0].evidence)]
    return [whole, *sorted(parts, key=lambda part: (-(part.server_time or 0.0), -(part.gain or 0.0)))]


def advice_on_everything(everything: Trial | None, use: ServerUse | None = None) -> list[Advised]:
    """The changes and the settings as one, where nothing gets worse."""
    return [_of_trial(everything, use)] if everything is not None and is_worth(everything) else []


def _of_trial(trial: Trial, use: ServerUse | None) -> Advised:
    candidate, (gained, gain) = trial.candidate, trial.best_gain
    if gain is not None and gain.value < 1:  # noise about no change: what it saves is said beside it
        gain = None
    took = f"; it took {trial.took_s:.1f} s on the copy{_copy_size(trial)}" if trial.candidate.by_time else ""
    return Advised(
        what=candidate.name, gain=gain.value if gain else None, low=gain.bounds[0] if gain else None,
        high=gain.bounds[1] if gain else None, gained=gained, counted=counted(trial), saved=saved(trial),
        server_time=None if use is None else use.saved(trial.gains),
        script=candidate.script, risk=candidate.risk + took, evidence=_EVIDENCE.get(candidate.kind, SCHEMA_TITLE),
    )  # fmt: skip


def _copy_size(trial: Trial) -> str:
    sizes = trial.sizes_before
    return f" of {(sizes.table_bytes + sizes.index_bytes) / 2**20:.0f} MiB" if sizes else ""


def counted(trial: Trial) -> str:
    """What the server counted with and without, in words."""
    sentences = []
    if trial.before and trial.after:
        sentences.append(f"WAL {trial.before.wal_bytes:.0f} to {trial.after.wal_bytes:.0f} B an append")
        sentences.append(f"pages {trial.before.pages:.1f} to {trial.after.pages:.1f}")
    if trial.sizes_before and trial.sizes_after:
        before, after = trial.sizes_before.index_bytes, trial.sizes_after.index_bytes
        sentences.append(f"indexes {before / 2**20:.1f} to {after / 2**20:.1f} MiB")
    if trial.better:
        least = min(trial.better, key=lambda difference: difference.factor)
        sentences.append(f"{len(trial.better)} plans do less, {least.statement} {least.what}")
    return ", ".join(sentences)


def saved(trial: Trial) -> str:
    """How fast each operation is with it, where reads were timed, and what an append does less, in shares."""
    if not (trial.before and trial.after and trial.sizes_before and trial.sizes_after):
        return ""
    shares = {
        "WAL": trial.after.wal_bytes / trial.before.wal_bytes - 1,
        "pages": trial.after.pages / trial.before.pages - 1,
        "table size": trial.sizes_after.table_bytes / max(trial.sizes_before.table_bytes, 1) - 1,
        "index size": trial.sizes_after.index_bytes / max(trial.sizes_before.index_bytes, 1) - 1,
    }
    if trial.cpu is not None:
        shares["processor"] = 1 / trial.cpu.value - 1
    sentences = [f"{name} {gain.value:.2f} × as fast" for name, gain in trial.gains.items() if trial.reads]
    sentences += [f"{name} {share:+.0%}" for name, share in shares.items() if abs(share) >= 0.005]
    many = len(trial.better)
    return ", ".join(
        [*sentences, *([f"{many} {'plan does' if many == 1 else 'plans do'} less"] if many else [])]
    )


def advice_on_server(settings: SettingTrials, use: ServerUse | None = None) -> list[Advised]:
    """The settings that are worth it; none that weakens durability."""
    return [
        Advised(
            what=f"set {trial.name} to {trial.value}", gain=trial.rate.value if trial.rate else None,
            low=trial.rate.bounds[0] if trial.rate else None, high=trial.rate.bounds[1] if trial.rate else None,
            saved=f"{trial.better_plans} plans do less" if trial.better_plans else "",
            server_time=use.saved({APPENDS: trial.rate}) if use is not None and trial.rate else None,
            script=(f"alter system set {trial.name} = '{trial.value}'", "select pg_reload_conf()"),
            risk="it applies to the whole server: ask its other users", evidence=SERVER_TITLE,
        )
        for trial in settings.trials
        if trial.is_advice
    ]  # fmt: skip


def advice_on_use(application: Application) -> list[Advised]:
    """What an application can choose, where it brings something."""
    advices = (
        _batches(application), *_groups(application), _prepared(application), _snapshots(application),
        *_cache(application), _pool(application),
    )  # fmt: skip
    return [advised for advised in advices if advised is not None]


def _batches(application: Application) -> Advised | None:
    rates = application.batch_events_per_s
    best = max(rates, key=lambda batch: rates[batch])
    if rates[best] < WORTH_RATIO * rates[1]:
        return None
    return _use(
        f"append what belongs together in one batch, up to {best} events", rates[best] / rates[1],
        gained="events/s", risk="a batch is stored whole or not at all, and belongs to one stream",
    )  # fmt: skip


def _groups(application: Application) -> list[Advised]:
    """Concurrent callers in groups, compared with pgbench's clients that append each for itself."""
    ratios = {
        name: 1 / group.floors[0].ratio for name, group in application.groups.items() if "in groups" in name
    }
    if not ratios:
        return []
    name = max(ratios, key=lambda name: ratios[name])
    if ratios[name] < WORTH_RATIO:
        return []
    what = "let concurrent callers of one process append in groups (GroupAppender)"
    text = f"{name}, compared with pgbench's {application.groups[name].floors[0].tool.partition(', ')[2]}"
    return [_use(what, ratios[name], risk="none: each append keeps its own outcome", measured=text)]


def _prepared(application: Application) -> Advised | None:
    ratio = application.prepared
    if ratio.value < WORTH_RATIO:
        return None
    return _use(
        "prepare statements once per connection", ratio.value, ratio=ratio,
        risk="a pool in transaction mode must keep prepared statements (pgbouncer 1.21 and later)",
    )  # fmt: skip


def _snapshots(application: Application) -> Advised | None:
    snapshots = application.snapshots
    if snapshots is None or application.times is None:
        return None
    base, slope = application.times.base_and_slope_ms
    return _use(
        f"store snapshots every {snapshots.every_events} events, of streams of {snapshots.from_events} events and more",
        None,
        gained="",
        risk="a snapshot's format must stay readable, or its snapshots be deleted",
        measured=f"a load takes {base:.2f} ms and {1000 * slope:.1f} µs an event",
    )


def _cache(application: Application) -> list[Advised]:
    worth = [cache for cache in application.caches if cache.time_share >= 1 - 1 / WORTH_RATIO]
    if not worth:
        return []
    best = worth[0]
    return [
        _use(
            f"keep the {best.aggregates} most recently used aggregates in memory", 1 / max(1 - best.time_share, 1e-3),
            gained="loads in the same time", risk="a conflict shows that a cached aggregate is old: load it again then",
            measured=f"{best.hit_share:.0%} of loads and {best.time_share:.0%} of their time",
        )
    ]  # fmt: skip


def _pool(application: Application) -> Advised | None:
    rates = application.connections_appends_per_s
    enough = enough_connections(rates)
    return _use(
        f"{enough} connections that append at once are enough", None, gained="",
        risk="measured on this machine: more cores can use more",
        measured=f"{rates[enough]:.0f} appends/s, {max(rates.values()):.0f} at most",
    )  # fmt: skip


def enough_connections(rates: Mapping[int, float]) -> int:
    """The fewest that give nearly the highest rate appends."""
    most = max(rates.values())
    return min(count for count, rate in rates.items() if rate >= CLOSE_SHARE * most)


def _use(
    what: str, gain: float | None, *, ratio: Ratio | None = None, gained: str = "appends/s", risk: str = "",
    measured: str = "",
) -> Advised:  # fmt: skip
    return Advised(
        what=what, gain=gain, low=ratio.bounds[0] if ratio else None, high=ratio.bounds[1] if ratio else None,
        gained=gained,
        counted=measured, saved=measured, risk=risk, evidence=APPLICATION_TITLE, of_use=True,
    )  # fmt: skip


def found_wanting(advice: Sequence[Advised]) -> list[Advised]:
    """Of the advice, what concerns the store and its server."""
    return [advised for advised in advice if not advised.of_use]

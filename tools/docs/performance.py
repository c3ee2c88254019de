"""``docs/performance.md``: documented performance, made from result files that are kept in the repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from eventmark.errors import UsageError
from eventmark.report import numbers
from eventmark.report.markdown import cell, code, operations_table, price_table, section_lines, table
from eventmark.report.numbers import NONE, against, milliseconds, whole
from eventmark.report.orderings import NOTE
from eventmark.report.summary import parts_shown, tallies
from eventmark.report.text import counted
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import Chart, RunResult
from tools.docs.pictures import svg_of

_HEAD = """# Performance

Made from the files in `docs/results` by `make docs`.
Absolute figures belong to the machine they were taken on. The baselines compare with what other tools did beside
them, in the same run.
"""


# What the page shows of each scenario, in the order of reading: its title, and its sections where not all of them
SCENARIOS: dict[str, tuple[str, tuple[str, ...]]] = {
    "capacity": ("Capacity", ("capacity",)),
    "load": ("Load", ("load",)),
    "sweep": ("From one client to many", ("sweep",)),
    "stream": ("Streaming", ()),
    "scale": ("A log that grows", ()),
    "soak": ("Steady load for long", ("soak", "garbage", "upkeep")),
    "stress": ("Under stress", ()),
    "isolation": ("One tenant beside another", ("isolation", "tenant-filter")),
}
PICTURES = {"scale": "growth", "sweep": "sweep"}
"""Of these the first chart of a section: a file in ``PICTURES_FOLDER`` beside the page."""

PICTURES_FOLDER = "pictures"
REASONS_MAX = 6
INSTRUMENT_SECTIONS = ("certificate", "gate-calibration")
_PRICES_BEGIN, _PRICES_END = "<!-- prices -->", "<!-- end of prices -->"


def render_performance(results: Sequence[RunResult]) -> str:
    """The page: all volumes beside each other, then a section per result, the smallest corpus first."""
    if not results:
        return _HEAD + "\nThere are no results yet.\n"
    scenarios = {result.run_id: name for result in results if (name := _scenario_of(result))}
    main_jobs = [
        result for result in results if "operations" in parts_shown(result) and result.run_id not in scenarios
    ]
    ordered = sorted(main_jobs, key=lambda result: (not result.corpus, _events(result), result.started_at))
    hunts = [line for result in results for line in _hunt(result)]
    hunts = ["## Orderings", "", *hunts] if hunts else []
    checks = [line for result in results for line in _check(result)]
    checks = ["## The instrument", "", *checks] if checks else []
    return "\n".join(
        [
            _HEAD,
            *_volumes([one for one in ordered if one.corpus]),
            *(_section(result) for result in ordered),
            *(
                line
                for name in SCENARIOS
                for result in results
                if scenarios.get(result.run_id) == name
                for line in _scenario(name, result)
            ),
            *hunts,
            *checks,
        ]
    )


def fill_prices(results: Sequence[RunResult], page: str) -> str:
    """``page`` with the hunts' tables between its two marks. Raises ``UsageError`` for a page without them."""
    before, begun, rest = page.partition(_PRICES_BEGIN)
    _, ended, after = rest.partition(_PRICES_END)
    if not begun or not ended:
        raise UsageError(
            f"the page has no {_PRICES_BEGIN} ... {_PRICES_END}", remedy="put both where tables go"
        )
    tables = "\n".join(line for result in results for line in _hunt(result))
    return f"{before}{_PRICES_BEGIN}\n{tables}{_PRICES_END}{after}"


def write_performance(results: Path, page: Path) -> None:
    """The page and its pictures from every result in a folder. Raises ``UsageError`` for what is no result."""
    listed = [read_result(path) for path in sorted(results.glob("*.json"))]
    write_whole(page, render_performance(listed).encode())
    for result in listed:
        if (chart := _pictured(result)) is not None:
            path = page.parent / _picture_path(result)
            path.parent.mkdir(exist_ok=True)
            write_whole(path, svg_of(chart).encode())


def write_prices(results: Path, page: Path) -> None:
    """The tables of every hunt in a folder, put into a page that has a place for them."""
    listed = [read_result(path) for path in sorted(results.glob("*.json"))]
    write_whole(page, fill_prices(listed, page.read_text(encoding="utf-8")).encode())


def _check(result: RunResult) -> list[str]:
    """What the instrument, checked, was found to resolve, and the gate's rates."""
    shown = [section for section in result.sections if section.name in INSTRUMENT_SECTIONS]
    if not shown:
        return []
    told = _taken(result)
    return [line for section in shown for line in (*section_lines(section, level=3), told, "")]


def _taken(result: RunResult) -> str:
    """By which command, when and where."""
    host, server = result.environment.host, result.environment.server
    return (
        f"{code(result.command)}, {cell(result.started_at)}, {numbers.duration(result.seconds)}, "
        f"{cell(host.cpu_model)}, {counted(host.cpu_count, 'core')}, PostgreSQL {cell(server.version)}."
    )


def _scenario_of(result: RunResult) -> str | None:
    """The scenario of a result whose sections are shown here; or nothing."""
    return result.scenario if result.scenario in SCENARIOS else None


def _scenario(name: str, result: RunResult) -> list[str]:
    """What a scenario found: its sections. What is folded away in the report, and the evidence of what
    closes it, is in the result's own report."""
    title, chosen = SCENARIOS[name]
    store = result.environment.store
    events = f", {whole(_events(result))} events" if _events(result) else ""
    reasons = result.reasons[:REASONS_MAX]
    more = len(result.reasons) - len(reasons)
    sections = (
        replace(one, blocks=[], tables=[] if one.closing else one.tables)
        for one in sorted(result.sections, key=lambda one: one.closing)
        if one.closing or not chosen or one.name in chosen
    )
    return [
        f"## {title}: {cell(store.name)}{events}: {result.verdict.value}",
        "",
        _taken(result),
        "",
        *(f"- {cell(reason)}" for reason in reasons),
        *([f"- and {more} more"] if more > 0 else []),
        "",
        *_picture(result),
        *(line for section in sections for line in section_lines(section, level=3)),
    ]


def _picture(result: RunResult) -> list[str]:
    chart = _pictured(result)
    return [f"![{cell(chart.title)}]({_picture_path(result)})", ""] if chart is not None else []


def _pictured(result: RunResult) -> Chart | None:
    wanted = PICTURES.get(_scenario_of(result) or "")
    return next(
        (section.charts[0] for section in result.sections if section.name == wanted and section.charts), None
    )


def _picture_path(result: RunResult) -> str:
    """By what was measured where, relative to the page."""
    major = result.environment.server.version.partition(".")[0]
    events = f"-{_events(result)}" if _events(result) else ""
    name = f"{_scenario_of(result)}-{result.environment.store.name}{events}-postgresql-{major}"
    return f"{PICTURES_FOLDER}/{re.sub(r'[^a-z0-9-]', '', name)}.svg"


def _hunt(result: RunResult) -> list[str]:
    """What each ordering lost and costs, in one hunt."""
    if not result.orderings:
        return []
    return [
        f"### Orderings on PostgreSQL {cell(result.environment.server.version)}: {result.verdict.value}",
        "",
        f"{code(result.command)}, seed {result.seed}, {cell(result.started_at)}, "
        f"{numbers.duration(result.seconds)} in all, {cell(result.environment.host.cpu_model)}, "
        f"{counted(result.environment.host.cpu_count, 'core')}.",
        "",
        *price_table(result.orderings),
        "",
        NOTE,
        "",
    ]


def _volumes(results: Sequence[RunResult]) -> list[str]:
    """How each operation's p95 goes along with the events in the table."""
    if len(results) < 2:
        return []
    rows = [["events", *(whole(_events(result)) for result in results)]]
    rows.append(["started", *(cell(result.started_at) for result in results)])
    rows.append(["seeding, events/s", *(_rate(result) for result in results)])
    for name in _names(results):
        found = [result.operations.get(name) for result in results]
        rows.append(
            [f"{code(name)} p95", *(milliseconds(one.quantile_ms("p95")) if one else NONE for one in found)]
        )
    head = ["", *(cell(result.environment.store.name) for result in results)]
    return ["## By data volume", "", *table(head, rows, "l" + "r" * len(results)), ""]


def _section(result: RunResult) -> str:
    host, server, store = result.environment.host, result.environment.server, result.environment.store
    found = tallies(result)
    checked = (
        f"Plans: {found['plans'].met} of {found['plans'].total} met. "
        f"Corpus checks: {found['corpus'].met} of {found['corpus'].total} met."
    )
    lines = [
        f"## {_subject(result)}, {cell(store.name)} on PostgreSQL {cell(server.version)}: "
        f"{result.verdict.value}",
        "",
        f"{cell(host.cpu_model)}, {counted(host.cpu_count, 'core')}, {numbers.mebibytes(host.memory_mib)}, "
        f"{cell(host.system)}, {cell(host.python)}; {cell(server.kind)} server, "
        f"flush {milliseconds(server.fsync_ms)}; {cell(result.profile)} profile, seed {result.seed}, "
        f"{cell(result.started_at)}, {numbers.duration(result.seconds)} in all.",
        "",
        *_seeding(result),
        *operations_table(result.operations),
        "",
        *([checked, ""] if result.corpus else []),
    ]
    return "\n".join(lines)


def _subject(result: RunResult) -> str:
    return f"{whole(_events(result))} events" if result.corpus else code(result.command)


def _seeding(result: RunResult) -> list[str]:
    corpus = result.corpus
    if corpus is None or not corpus.events_per_s:
        return []
    stages = ", ".join(
        f"{cell(stage)} {numbers.duration(seconds)}" for stage, seconds in corpus.stage_seconds.items()
    )
    floors = "".join(f"; {cell(against(floor))}" for floor in corpus.floors)
    return [
        f"Seeding: {whole(corpus.events_per_s)} events/s ({stages}){floors}. "
        f"Client processes together at most {numbers.mebibytes(corpus.client_peak_rss_mib)}.",
        "",
    ]  # fmt: skip


def _names(results: Iterable[RunResult]) -> list[str]:
    """The operations of all results, each once, in the order they come."""
    return list(dict.fromkeys(name for result in results for name in result.operations))


def _rate(result: RunResult) -> str:
    return whole(result.corpus.events_per_s) if result.corpus and result.corpus.events_per_s else NONE


def _events(result: RunResult) -> int:
    if result.corpus:
        return result.corpus.events
    kept = result.figures.get("corpus_events")
    if kept:
        return round(kept.value)
    grown = _pictured(result)  # a log that grows, by its last volume
    if grown is None or grown.x != "events":
        return 0
    return round(max(point.x for point in grown.points if isinstance(point.x, float)))


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 4:
        sys.exit("usage: python -m tools.docs.performance FOLDER_OF_RESULTS PAGE PAGE_OF_ORDERINGS")
    write_performance(Path(sys.argv[1]), Path(sys.argv[2]))
    write_prices(Path(sys.argv[1]), Path(sys.argv[3]))

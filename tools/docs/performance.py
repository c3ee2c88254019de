"""``docs/performance.md`` and a page for each question below it, from result files that are kept in the repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from eventmark.errors import UsageError
from eventmark.report import numbers
from eventmark.report.markdown import (
    cell,
    code,
    criteria_table,
    operations_table,
    section_lines,
    table,
    table_lines,
)
from eventmark.report.numbers import NONE, against, milliseconds, whole
from eventmark.report.orderings import price_tables
from eventmark.report.summary import parts_shown, tallies
from eventmark.report.text import counted, cut
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import Chart, RunResult, Verdict
from tools.docs.pictures import svg_of

_HEAD = """# Performance

Made from the files in `docs/results` by `make docs`. Absolute figures belong to the machine they were taken on.
Baselines are what other tools needed for the same work, in the same run.
"""
_SUMMARY_HEAD = ("question", "store and log", "verdict", "figure", "why not MET")


CERTIFICATION = "certify"
"""A result that is all others in short: it is on a page of its own alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A page: what it answers, by which scenarios, and the sections shown of each where not all of them are."""

    title: str
    scenarios: Mapping[str, tuple[str, ...]]


QUESTIONS = {
    "certification": Question(title="Will it hold at production scale?", scenarios={CERTIFICATION: ()}),
    "operations": Question(title="How quick is each operation?", scenarios={}),
    "load": Question(
        title="How much load does it carry?",
        scenarios={"capacity": ("capacity",), "load": ("load",), "sweep": ("sweep",)},
    ),
    "streaming": Question(title="How quickly do consumers receive events?", scenarios={"stream": ()}),
    "growth": Question(title="Is it as quick when the log grows?", scenarios={"scale": ()}),
    "endurance": Question(
        title="Is it stable in a long run?", scenarios={"soak": ("soak", "garbage", "upkeep")}
    ),
    "stress": Question(title="Does it recover from stress?", scenarios={"stress": ()}),
    "tenants": Question(
        title="Are tenants isolated from each other?",
        scenarios={
            "isolation": ("isolation", "tenant-filter"),
            "isolation in one service": ("isolation", "lone-tenant"),
        },
    ),
    "orderings": Question(title="What does it cost to lose no event?", scenarios={}),
    "instrument": Question(title="What can the instrument resolve?", scenarios={}),
}
"""By the name of the page, in the order of reading. Those without scenarios have parts of their own below."""

TITLES = {
    "capacity": "Capacity",
    "load": "Load",
    "sweep": "From one client to many",
    "stream": "Streaming",
    "scale": "A log that grows",
    "soak": "Steady load for long",
    "stress": "Under stress",
    "isolation": "One tenant under the load of another",
    "isolation in one service": "Two tenants of one service",
}
FIGURES = {
    "capacity": ("capacity_operations_per_s", "all targets hold up to {}"),
    "load": ("operations_per_s", "{} offered"),
    "sweep": ("sweep_peak_per_s append_events[1]", "single appends: up to {}"),
    "stream": ("catch_up_events_per_s", "a consumer catches up at {}"),
    "scale": (
        "load_aggregate[1000]_p95_growth",
        "p95 of `load_aggregate[1000]`: {} that of the first volume",
    ),
    "soak": ("server_memory_slope", "server memory grows by {}"),
    "stress": ("long-transaction:caught_up_s", "consumers catch up after a long transaction in {}"),
    "isolation in one service": (
        "inflation[bulk-append, append_events[1], p95]",
        "in one service, p95 under bulk appends: {} that alone",
    ),
    "isolation": ("inflation[bulk-append, append_events[1], p95]", "p95 under bulk appends: {} that alone"),
    "selfcheck": ("resolvable_ratio_12_pairs", "12 pairs resolve a ratio of {}"),
}
"""The figure of a scenario that the summary shows, and the words around it."""

PICTURES = {"scale": "growth", "sweep": "sweep"}
"""Of these the first chart of a section: a file in ``PICTURES_FOLDER`` beside the pages' folder."""

PICTURES_FOLDER = "pictures"
PAGES_FOLDER = "performance"
REASONS_MAX = 6
REASON_CHARACTERS_MAX = 160
INSTRUMENT_SECTIONS = ("certificate", "gate-calibration")
_PRICES_BEGIN, _PRICES_END = "<!-- prices -->", "<!-- end of prices -->"


def render_performance(results: Sequence[RunResult]) -> dict[str, str]:
    """Each page's text by its path: a summary of one screen, and the questions that have results."""
    pages = {name: lines for name, question in QUESTIONS.items() if (lines := _page(name, question, results))}
    texts = {
        f"{PAGES_FOLDER}/{name}.md": "\n".join([f"# {QUESTIONS[name].title}", "", *lines])
        for name, lines in pages.items()
    }
    return {f"{PAGES_FOLDER}.md": _summary(pages, results), **texts}


def _page(name: str, question: Question, results: Sequence[RunResult]) -> list[str]:
    shown = _of_question(name, results)
    if name == "operations":
        return [*_volumes([one for one in shown if one.corpus]), *(_section(result) for result in shown)]
    parts = {"certification": _certified, "orderings": _hunt, "instrument": _check}
    if part := parts.get(name):
        return [line for result in shown for line in part(result)]
    return [line for result in shown for line in _scenario(result, question.scenarios[result.scenario])]


def _of_question(name: str, results: Sequence[RunResult]) -> list[RunResult]:
    """The results that answer it, in the order of its page."""
    results = [one for one in results if (one.scenario == CERTIFICATION) is (name == "certification")]
    if name == "operations":
        jobs = [one for one in results if one.scenario not in TITLES and "operations" in parts_shown(one)]
        return sorted(jobs, key=lambda result: (not result.corpus, _events(result), result.started_at))
    if name == "orderings":
        return [result for result in results if result.orderings]
    if name == "instrument":
        return [one for one in results if any(part.name in INSTRUMENT_SECTIONS for part in one.sections)]
    scenarios = QUESTIONS[name].scenarios
    return [result for scenario in scenarios for result in results if result.scenario == scenario]


def _summary(pages: Iterable[str], results: Sequence[RunResult]) -> str:
    rows = [
        [_link(name) if number == 0 else "", *_summary_row(result)]
        for name in pages
        for number, result in enumerate(_of_question(name, results))
    ]
    if not rows:
        return f"{_HEAD}\nThere are no results yet.\n"
    return "\n".join([_HEAD, *table(_SUMMARY_HEAD, rows, "lllll"), ""])


def _link(name: str) -> str:
    return f"[{QUESTIONS[name].title}]({PAGES_FOLDER}/{name}.md)"


def _summary_row(result: RunResult) -> list[str]:
    events = f", {whole(_events(result))} events" if _events(result) else ""
    return [
        f"{cell(result.environment.store.name)}{events}",
        result.verdict.value,
        _figure(result),
        cell(cut(result.reasons[0], REASON_CHARACTERS_MAX)) if result.reasons else "",
    ]


def _figure(result: RunResult) -> str:
    """The figure that answers the question, in words."""
    if result.criteria:
        asked = [one for one in result.criteria if one.verdict is not None]
        return f"{sum(one.verdict is Verdict.MET for one in asked)} of {len(asked)} criteria met"
    if result.orderings:
        lost = {
            kept: sum(one.lost for one in result.orderings if one.lossless is kept) for kept in (True, False)
        }
        return f"{whole(lost[True])} events lost, and {whole(lost[False])} by the control"
    name, words = FIGURES.get(result.scenario, ("", ""))
    if figure := result.figures.get(name):
        ratio = figure.unit == "times"
        return words.format(
            numbers.times(figure.value) if ratio else numbers.quantity(figure.value, figure.unit)
        )
    slowest = [(code(key), one.quantile_ms("p95")) for key, one in list(result.operations.items())[:1]]
    return ", ".join(f"{key} p95 {milliseconds(value)}" for key, value in slowest) or NONE


def fill_prices(results: Sequence[RunResult], page: str) -> str:
    """``page`` with the hunts' tables between its two marks. Raises ``UsageError`` for a page without them."""
    before, begun, rest = page.partition(_PRICES_BEGIN)
    _, ended, after = rest.partition(_PRICES_END)
    if not begun or not ended:
        raise UsageError(
            f"the page has no {_PRICES_BEGIN} ... {_PRICES_END}", remedy="put both where tables go"
        )
    hunts = _of_question("orderings", results)
    tables = "\n".join(line for result in hunts for line in _hunt(result, level=3))
    return f"{before}{_PRICES_BEGIN}\n{tables}{_PRICES_END}{after}"


def write_performance(results: Path, page: Path) -> None:
    """The pages and their pictures from every result in a folder. Raises ``UsageError`` for what is no result."""
    listed = [read_result(path) for path in sorted(results.glob("*.json"))]
    for folder in (PAGES_FOLDER, PICTURES_FOLDER):
        (page.parent / folder).mkdir(exist_ok=True)
    for path, text in render_performance(listed).items():
        write_whole(page.parent / path, text.encode())
    for result in listed:
        if (chart := _pictured(result)) is not None:
            write_whole(page.parent / _picture_path(result), svg_of(chart).encode())


def write_prices(results: Path, page: Path) -> None:
    """The tables of every hunt in a folder, put into a page that has a place for them."""
    listed = [read_result(path) for path in sorted(results.glob("*.json"))]
    write_whole(page, fill_prices(listed, page.read_text(encoding="utf-8")).encode())


def _certified(result: RunResult) -> list[str]:
    """Each criterion with its verdict, the figure that decides it, and what to do."""
    title = f"{cell(result.environment.store.name)}, {whole(_events(result))} events"
    return [
        f"## {title}: {result.verdict.value}", "", _taken(result), "",
        *criteria_table(result.criteria), "",
    ]  # fmt: skip


def _check(result: RunResult) -> list[str]:
    """What the instrument, checked, was found to resolve, and the gate's rates."""
    shown = [section for section in result.sections if section.name in INSTRUMENT_SECTIONS]
    if not shown:
        return []
    told = _taken(result)
    return [line for section in shown for line in (*section_lines(section, level=2), told, "")]


def _taken(result: RunResult) -> str:
    """By which command, when and where."""
    host, server = result.environment.host, result.environment.server
    return (
        f"{code(result.command)}, {cell(result.started_at)}, {numbers.duration(result.seconds)}, "
        f"{cell(host.cpu_model)}, {counted(host.cpu_count, 'core')}, PostgreSQL {cell(server.version)}."
    )


def _scenario(result: RunResult, chosen: Sequence[str]) -> list[str]:
    """What a scenario found: its sections. What is folded away in the report, and the evidence of what
    closes it, is in the result's own report."""
    title = TITLES[result.scenario]
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
    return [f"![{cell(chart.title)}](../{_picture_path(result)})", ""] if chart is not None else []


def _pictured(result: RunResult) -> Chart | None:
    wanted = PICTURES.get(result.scenario)
    return next(
        (section.charts[0] for section in result.sections if section.name == wanted and section.charts), None
    )


def _picture_path(result: RunResult) -> str:
    """By what was measured where, relative to the summary."""
    major = result.environment.server.version.partition(".")[0]
    events = f"-{_events(result)}" if _events(result) else ""
    name = f"{result.scenario}-{result.environment.store.name}{events}-postgresql-{major}"
    return f"{PICTURES_FOLDER}/{re.sub(r'[^a-z0-9-]', '', name)}.svg"


def _hunt(result: RunResult, *, level: int = 2) -> list[str]:
    """What each ordering lost and costs, in one hunt."""
    if not result.orderings:
        return []
    return [
        f"{'#' * level} Orderings on PostgreSQL {cell(result.environment.server.version)}: {result.verdict.value}",
        "",
        f"{code(result.command)}, seed {result.seed}, {cell(result.started_at)}, "
        f"{numbers.duration(result.seconds)} in all, {cell(result.environment.host.cpu_model)}, "
        f"{counted(result.environment.host.cpu_count, 'core')}.",
        "",
        *(line for one in price_tables(result.orderings) for line in table_lines(one)),
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

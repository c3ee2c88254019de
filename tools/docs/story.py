"""``docs/story.md``: each line of the story Eventmark came from, its verb, and the committed verdict on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from eventmark.judgement.verdicts import overall
from eventmark.report.markdown import cell, code, table
from eventmark.results.files import read_result, write_whole
from eventmark.results.results import RunResult, Verdict

_HEAD = """# The story, line by line

Made from the files in `docs/results` by `make docs`. Each line of the user story that Eventmark came from: the verb
that shows it, the committed results that decide it, and their verdict. A line that rests on several results has
the worst of their verdicts. What is not met is listed as such.
"""

NOT_SHOWN = "not shown"
WHOLE = ""
SUSTAINED_EVENTS_PER_S = 990
"""1000 a second, less what an open-loop schedule of random arrivals may fall short of its rate in ten minutes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Result files by name, and the part of each that decides.

    ``part`` is empty for the whole verdict, or ``operations``, ``plans``, ``corpus``, ``sections`` or ``findings``
    followed by a pattern of names in which * stands for anything: ``operations append_events*``. ``figures NAME
    VALUE`` asks that a figure is at least this large: a run that asked for less leaves the line INCONCLUSIVE.
    """

    files: str
    part: str = WHOLE


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the story: what it asks for, the verb that answers, and what decides."""

    asks: str
    verb: str
    evidence: tuple[Evidence, ...]


_MAIN = "1m-postgresql-*"


def _corpus(part: str = "*") -> tuple[Evidence, ...]:
    return (Evidence(_MAIN, f"corpus {part}"),)


def _operations(*patterns: str, files: str = _MAIN) -> tuple[Evidence, ...]:
    return tuple(Evidence(files, f"operations {pattern}") for pattern in patterns)


STORY: dict[str, tuple[Line, ...]] = {
    "Acceptance criteria": (
        Line("At least 1M realistic events of many tenants and aggregates", "seed", _corpus()),
        Line("Latency of the storage engine's common operations", "run", _operations("*")),
        Line("Streaming stays within its target (50 ms a batch)", "run", _operations("stream_events*")),
        Line("Plans show that the right indexes are used", "explain", (Evidence(_MAIN, "plans *"),)),
    ),
    "Task 1 and 2: data": (
        Line("10 and more tenants, realistic payloads, batches of 10,000, bounded memory", "seed", _corpus()),
        Line("Lifecycles, streams of 1 to 1000 events, business hours, metadata", "audit", _corpus()),
        Line("A snapshot every 100 events", "audit", _corpus("*snapshot*")),
    ),
    "Task 3: framework": (
        Line("Forks, warm-up, intervals: the instrument is checked", "selfcheck", (Evidence("selfcheck-*"),)),
        Line("Concurrent load of many users", "load", (Evidence("load-*"),)),
    ),
    "Task 4: operations": (
        Line("Append 1, 10 and 100 events", "bench", _operations("append_events*")),
        Line("Load an aggregate", "bench", _operations("load_aggregate*")),
        Line("Read after a tracking token", "bench", _operations("stream_events*")),
        Line("Store and read snapshots", "bench", _operations("*_snapshot")),
        Line("Head and tail tokens", "bench", _operations("create_head_token", "create_tail_token")),
    ),
    "Task 5: streaming": (
        Line("Rates of processors, several at once, segments", "stream", (Evidence("stream-*"),)),
        Line(
            "Catching up over a large backlog", "stream", (Evidence("stream-*", "sections catch-up"),)
        ),
    ),
    "Task 6: plans": (
        Line("Every statement's EXPLAIN ANALYZE is judged", "explain", (Evidence(_MAIN, "plans *"),)),
        Line("The same plans under repetition", "explain --repeat 10", (Evidence("repeated-plans-*"),)),
        Line("Recommendations, each tried", "advise", (Evidence("advice-eaf-postgresql-*"),)),
    ),
    "Task 7: load and stress": (
        Line("1000 and more events appended a second", "soak", (
            Evidence("soak-*", f"figures appended_events_per_s {SUSTAINED_EVENTS_PER_S}"),
            *_operations("append_events*", files="soak-*"),
        )),
        Line("The highest rate within every target", "capacity", (Evidence("capacity-*"),)),
        Line("Memory and garbage collection in long runs", "soak", (Evidence("soak-*", "findings *memory*"),)),
        Line("The pool, locks and deadlocks under stress", "stress", (Evidence("stress-*"),)),
    ),
    "Task 8: regression": (
        Line("Slowdowns found, alike sides not", "gate", (Evidence("gate-rates-*"),)),
        Line("Performance documented at several volumes", "scale", (Evidence("scale-10m-*"),)),
    ),
    "Targets": (
        Line("Append: 10 ms for 1 event, 50 ms for 100", "run", _operations("append_events*")),
        Line("Load 1000 events: 20 ms", "run", _operations("load_aggregate*")),
        Line("Stream 1000 events: 50 ms", "run", _operations("stream_events*")),
        Line("Create or compare any token: 1 ms", "run", _operations("create_*", "compare_tokens")),
    ),
    "Tenants": (
        Line(
            "No tenant's queries slow another's", "isolate",
            (Evidence("isolation-*", "sections isolation-*"),),
        ),
        Line("The cost of row-level security", "bench --rls", (Evidence("row-level-security-*"),)),
    ),
    "Success criteria": (
        Line("Every operation meets its target under load", "load", (Evidence("load-*"),)),
        Line("Indexes are used, by EXPLAIN ANALYZE", "explain", (Evidence(_MAIN, "plans *"),)),
        Line("Memory stays stable in extended runs", "soak", (Evidence("soak-*", "findings *memory*"),)),
        Line("No significant degradation at 10M events", "scale", (Evidence("scale-10m-*"),)),
        Line("Throughput grows with clients up to the hardware", "sweep", (Evidence("sweep-*"),)),
        Line("No event is lost", "verify", (Evidence("orderings-*"),)),
    ),
    "Failure analysis": (
        Line("Reported incidents reproduced and shown mended", "museum", (Evidence("museum-*"),)),
        Line("Database settings, indexes and caching, each tried", "advise", (Evidence("advice-*"),)),
    ),
}  # fmt: skip


def render_story(results: dict[str, RunResult]) -> str:
    """The page. ``results`` by the name of their file."""
    parts = [_HEAD, *_summary(results)]
    for title, lines in STORY.items():
        rows = [_row(line, results) for line in lines]
        parts += [f"## {title}", "", *table(["asked for", "verb", "verdict", "results"], rows, "llll"), ""]
    return "\n".join(parts)


def write_story(results: Path, page: Path) -> None:
    """The page from every result in a folder. Raises ``UsageError`` for what is no result."""
    listed = {path.name: read_result(path) for path in sorted(results.glob("*.json"))}
    write_whole(page, render_story(listed).encode())


def decided(line: Line, results: dict[str, RunResult]) -> tuple[str, list[str]]:
    """The worst verdict of a line's evidence, and the files it is from. Evidence that no file holds shows nothing."""
    verdicts: list[Verdict] = []
    files: list[str] = []
    for evidence in line.evidence:
        matching = [name for name in results if fnmatchcase(name, f"{evidence.files}.json")]
        parts = [verdict for name in matching for verdict in _verdicts(results[name], evidence.part)]
        if not parts:
            return NOT_SHOWN, files
        verdicts += parts
        files += [name for name in matching if name not in files]
    return overall(("", verdict, "") for verdict in verdicts)[0].value, files


def _summary(results: dict[str, RunResult]) -> list[str]:
    counted: dict[str, int] = {}
    for lines in STORY.values():
        for line in lines:
            verdict = decided(line, results)[0]
            counted[verdict] = counted.get(verdict, 0) + 1
    total = sum(counted.values())
    return [
        f"Of {total} lines: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(counted.items())) + ".",
        "",
    ]


def _row(line: Line, results: dict[str, RunResult]) -> list[str]:
    verdict, files = decided(line, results)
    links = ", ".join(f"[{cell(name.removesuffix('.json'))}](results/{name})" for name in files)
    return [cell(line.asks), code(f"eventmark {line.verb}"), verdict, links or "none"]


def _verdicts(result: RunResult, part: str) -> Iterable[Verdict]:
    kind, _, pattern = part.partition(" ")
    named: Sequence[tuple[str, Verdict | None]]
    if kind == "figures":
        name, _, least = pattern.partition(" ")
        figure = result.figures.get(name)
        reached = figure is not None and figure.value >= float(least)
        return [Verdict.MET if reached else Verdict.INCONCLUSIVE]
    if kind == "operations":
        named = [(name, operation.verdict) for name, operation in result.operations.items()]
    elif kind == "plans":
        named = [(plan.statement, plan.verdict) for plan in result.plans]
    elif kind == "corpus":
        named = [
            (finding.name, finding.verdict) for finding in (result.corpus.audit if result.corpus else [])
        ]
    elif kind == "sections":
        named = [(section.name, section.verdict) for section in result.sections]
    elif kind == "findings":
        named = [(one.name, one.verdict) for section in result.sections for one in section.findings]
    else:
        return [result.verdict]
    return [verdict for name, verdict in named if verdict is not None and matches(name, pattern)]


def matches(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern in which only * stands for anything: names hold brackets of their own."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        sys.exit("usage: python -m tools.docs.story FOLDER_OF_RESULTS PAGE")
    write_story(Path(sys.argv[1]), Path(sys.argv[2]))

"""The criteria: which parts answer each question, and how what the parts found makes its verdict. Asks no server.

The rule is the same for all. BROKEN: something that answers the question is. Not asked: the store lacks what the
question is about. INCONCLUSIVE: a part that it needs was not done, or something that answers it is undecided. MET: all
that it needs was done, and everything that answers it is MET.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from eventmark.certify import figures
from eventmark.experiments.soak.soak_report import MEMORY_OF, OVER_TIME
from eventmark.jobs.bottleneck import SECTION_NAME as BOTTLENECK
from eventmark.jobs.bottleneck import TO_TRY, to_try
from eventmark.jobs.kernel import INTERRUPTED, UNFIT
from eventmark.judgement.symptoms import Limit
from eventmark.judgement.verdicts import judged, overall
from eventmark.results.results import Criterion, Finding, RunResult, Section, Verdict
from eventmark.verify.findings import LOST


class Part(StrEnum):
    """What a certification is made of, in the order in which it is done: what may end it early comes first.

    Growth is nearly last: how long loading takes is hardest to foresee, and it can do with less time.
    """

    VERIFY = "verify"
    OPERATIONS = "operations"
    CLIFFS = "cliffs"
    LOAD = "load"
    CAPACITY = "capacity"
    SWEEP = "sweep"
    ISOLATION = "isolation"
    STRESS = "stress"
    SOAK = "soak"
    GROWTH = "growth"
    ADVICE = "advice"


GROWN_EVENTS = 10_000_000
"""The volume up to which nothing may become significantly slower."""

HARDWARE = {Limit.SERVER_CPU, Limit.WAL_FLUSH, Limit.READS, Limit.WRITES}
OWN_FAULT = {Limit.LOCKS, Limit.STATEMENT}
"""What keeps a store from using the hardware, and lies in the store."""

MORE_TIME = "give it more --minutes, on a quiet machine"
RESUME = "the same command with --resume goes on with the next part"
_WORST_FIRST = (Verdict.BROKEN, Verdict.INCONCLUSIVE, Verdict.MET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was done of a certification: the results of its parts, and why the others were not done.

    ``lacking`` maps what the store or the corpus lacks, "tokens" or "tenants", to the reason. ``ruled_out`` are the
    parts that data in use is not asked for, each with the reason. ``ended``: too early.
    """

    parts: Mapping[Part, RunResult]
    not_done: Mapping[Part, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    ruled_out: Mapping[Part, str] = field(default_factory=dict)
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One thing that answers a question: what it is, its verdict, what was seen of it, and where the page shows it."""

    what: str
    verdict: Verdict
    seen: str
    evidence: str
    remedy: str = ""


Look = Callable[[Part, RunResult], Iterable[Seen]]
Tell = Callable[[RunResult], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """``needs`` are the parts without which it cannot be MET; what is seen by any of ``looks`` counts.

    ``tells`` give the figure that decides. ``about`` is what a store may lack, so that the question is not asked.
    ``timed``: it rests on times, so that a machine that is not fit leaves it undecided. ``in_use`` is what is asked of
    data in use, where that is less.
    """

    name: str
    text: str
    needs: Sequence[Part]
    looks: Mapping[Part, Look]
    tells: Mapping[Part, Tell]
    about: str = ""
    timed: bool = True
    in_use: str = ""


def criteria(done: Done) -> list[Criterion]:
    """Every question with its answer, in the order of the page."""
    return [_answered(question, done) for question in QUESTIONS]


def verdict_of(answers: Iterable[Criterion], done: Done) -> tuple[Verdict, list[str]]:
    """The verdict on all of it, with the reasons: the criteria that were asked, and the corpus they rest on."""
    corpus = next((part.corpus for part in done.parts.values() if part.corpus is not None), None)
    audit = [] if corpus is None else corpus.audit
    return overall([
        *(
            (criterion.question, criterion.verdict, criterion.reason)
            for criterion in answers
            if criterion.verdict is not None
        ),
        *((f"corpus, {check.name}", check.verdict, f"{check.observed}, expected {check.expected}") for check in audit),
    ])  # fmt: skip


def anchor(part: Part, section: str = "") -> str:
    """Where the page shows a part, or a section of it."""
    return f"{part}--{section}" if section else part.value


def _answered(question: Question, done: Done) -> Criterion:
    seen = [
        entry
        for part, look in question.looks.items()
        if part in done.parts
        for entry in (*look(part, done.parts[part]), *_doubts(part, done.parts[part], timed=question.timed))
    ]
    verdict, reason, remedy = _verdict(question, seen, done)
    first = next((finding for finding in seen if finding.verdict is verdict), seen[0] if seen else None)
    tells = {_told_by(part, done): tell for part, tell in question.tells.items()}
    told = [tell(done.parts[part]) for part, tell in tells.items() if part in done.parts]
    asked = question.in_use if question.in_use and done.ruled_out else question.text
    return Criterion(
        name=question.name, question=asked, verdict=verdict, reason=reason, remedy=remedy,
        figure="; ".join(filter(None, told)), evidence=first.evidence if first else "",
    )  # fmt: skip


def _told_by(part: Part, done: Done) -> Part:
    """Who has a part's figures: what is not measured under load is measured alone."""
    return Part.OPERATIONS if part is Part.LOAD and part in done.ruled_out else part


def _verdict(question: Question, seen: Sequence[Seen], done: Done) -> tuple[Verdict | None, str, str]:
    """With its reason and what to do. The one place where a criterion is decided."""
    worst = next(
        (verdict for verdict in _WORST_FIRST if any(entry.verdict is verdict for entry in seen)), None
    )
    lacking = done.lacking.get(question.about, "")
    needs = [part for part in question.needs if part not in done.ruled_out]
    missing = [done.not_done.get(part, f"{part} was not done") for part in needs if part not in done.parts]
    if worst is not Verdict.BROKEN and lacking:
        return None, f"not asked: {lacking}", ""
    if not needs:
        return None, f"not asked: {done.ruled_out[question.needs[0]]}", ""
    if worst is not Verdict.BROKEN and missing:
        return Verdict.INCONCLUSIVE, "; ".join(missing), RESUME if done.ended else MORE_TIME
    if worst is None:
        return Verdict.INCONCLUSIVE, "nothing was measured", ""
    if worst is Verdict.MET:
        return worst, "", ""
    first, *more = [finding for finding in seen if finding.verdict is worst]
    remedy = next((finding.remedy for finding in (first, *more) if finding.remedy), "")
    return worst, f"{first.what}: {first.seen}" + (f"; and {len(more)} more" if more else ""), remedy


# What the parts' results hold


def _doubts(part: Part, result: RunResult, *, timed: bool) -> Iterator[Seen]:
    """What the kernel holds against all that a run found: an interruption; if it is ``timed``, the machine."""
    for reason in result.reasons:
        if reason.startswith(INTERRUPTED) or (timed and reason.startswith(UNFIT)):
            yield Seen(what=part, verdict=Verdict.INCONCLUSIVE, seen=reason, evidence=anchor(part))


def _orderings(part: Part, result: RunResult) -> Iterator[Seen]:
    """What was lost comes first. A control that was not caught takes the certainty out of what was met."""
    for ordering in judged(result.orderings):
        broken = [finding for finding in ordering.findings if finding.verdict is Verdict.BROKEN]
        for fault in sorted(broken, key=lambda fault: not fault.observed.startswith(LOST)):
            yield Seen(
                what=ordering.ordering,
                verdict=fault.verdict,
                seen=fault.observed,
                remedy=fault.remedy,
                evidence="orderings",
            )
        if not broken:
            yield Seen(
                what=ordering.ordering, verdict=ordering.verdict, seen=ordering.reason, evidence="orderings"
            )
    if result.verdict is Verdict.INCONCLUSIVE:
        yield Seen(what=part, verdict=result.verdict, seen="; ".join(result.reasons), evidence="orderings")


def _operations(part: Part, result: RunResult, *, only: str = "") -> Iterator[Seen]:
    how = {Part.OPERATIONS: "", Part.LOAD: " under load"}.get(part, f" ({part})")
    where = "operations" if part in (Part.OPERATIONS, Part.LOAD) else anchor(part)
    for name, operation in result.operations.items():
        if name.startswith(only):
            yield Seen(
                what=f"{name}{how}", verdict=operation.verdict, seen=operation.reason, evidence=where,
                remedy=_remedies(result)[operation.verdict],
            )  # fmt: skip


EXAMINE = "examine its plan with eventmark explain, or give it a target that it can meet, with --target"

_OF_NO_LIMIT = {to_try(limit) for limit in (Limit.NONE, Limit.UNKNOWN)}


def _remedies(result: RunResult) -> Mapping[Verdict, str]:
    """Of an operation: what the bottleneck asks for, where it is broken and a bottleneck was named."""
    lines = [text for section in result.sections if section.name == BOTTLENECK for text in section.text]
    tried = next((text for text in lines if text.startswith(TO_TRY)), "")
    broken = EXAMINE if tried in _OF_NO_LIMIT else tried.removeprefix(TO_TRY)
    return {Verdict.MET: "", Verdict.BROKEN: broken, Verdict.INCONCLUSIVE: MORE_TIME}


def _streaming(part: Part, result: RunResult) -> Iterator[Seen]:
    yield from _operations(part, result, only=figures.STREAMING)


def _plans(part: Part, result: RunResult) -> Iterator[Seen]:
    for plan in result.plans:
        cause = next((finding for finding in plan.findings if finding.verdict is plan.verdict), None)
        yield Seen(
            what=f"plan of {plan.statement}, {plan.condition}", verdict=plan.verdict, evidence="plans",
            seen=f"{cause.name}: {cause.observed}, expected {cause.expected}" if cause else "",
            remedy=cause.remedy if cause else "",
        )  # fmt: skip


def _findings(
    part: Part, result: RunResult, wanted: Callable[[Section, Finding], bool] = lambda section, finding: True
) -> Iterator[Seen]:
    for section in result.sections:
        for item in section.findings if section.verdict is not None else ():
            if wanted(section, item):
                yield Seen(
                    what=f"{section.title}, {item.name}", verdict=item.verdict, remedy=item.remedy,
                    seen=f"{item.observed}, expected {item.expected}", evidence=anchor(part, section.name),
                )  # fmt: skip


def _measured(part: Part, result: RunResult) -> Iterator[Seen]:
    yield from _findings(part, result)
    yield from _operations(part, result)


def _is_memory(section: Section, finding: Finding) -> bool:
    return finding.name.startswith(MEMORY_OF)


def _memory(part: Part, result: RunResult) -> Iterator[Seen]:
    yield from _findings(part, result, _is_memory)


def _soaked(part: Part, result: RunResult) -> Iterator[Seen]:
    """All of a soak but its memory. A latency that drifts for certain counts; that one may, its section tells."""
    yield from _operations(part, result)
    yield from _findings(
        part, result,
        lambda section, finding: not _is_memory(section, finding)
        and (finding.verdict is Verdict.BROKEN or not finding.name.endswith(OVER_TIME)),
    )  # fmt: skip


def _grown(part: Part, result: RunResult) -> Iterator[Seen]:
    """What was measured, and that it may end short of where the question does."""
    yield from _measured(part, result)
    largest = figures.grown_to(result)
    if largest < GROWN_EVENTS:
        yield Seen(
            what="volume", verdict=Verdict.INCONCLUSIVE, evidence=anchor(part, "laws"),
            seen=f"measured up to {largest:,} events; the figure for {GROWN_EVENTS:,} is a forecast",
            remedy="give it more --minutes: with enough of them the log grows to 10 million",
        )  # fmt: skip


def _swept(part: Part, result: RunResult) -> Iterator[Seen]:
    """Whether throughput grew until the hardware, and nothing of the store's, ended it."""
    yield from _findings(part, result)
    for name, peak, clients, limit in figures.peaks(result):
        verdict, remedy = (
            Verdict.INCONCLUSIVE,
            "sweep from a machine of its own, where the client is not the limit",
        )
        if limit in HARDWARE:
            verdict, remedy = Verdict.MET, ""
        elif limit in OWN_FAULT:
            verdict, remedy = Verdict.BROKEN, "see what its sessions wait for, in its section"
        yield Seen(
            what=name, verdict=verdict, remedy=remedy, evidence=anchor(part, "sweep"),
            seen=f"{peak:,.0f}/s by {clients:.0f} clients at its peak, limited there by {limit}, not by the hardware",
        )  # fmt: skip


QUESTIONS = (
    Question(
        name="no-event-lost", text="Does every consumer receive every committed event?", about="tokens",
        needs=(Part.VERIFY,), looks={Part.VERIFY: _orderings}, tells={Part.VERIFY: figures.lost_figure},
    ),
    Question(
        name="targets-under-load", text="Do all operations meet their targets under load?",
        in_use="Do the operations that were measured meet their targets on this data?",
        needs=(Part.OPERATIONS, Part.LOAD),
        looks={
            Part.OPERATIONS: _operations, Part.LOAD: _operations, Part.CAPACITY: _findings, Part.SOAK: _soaked,
        },
        tells={Part.LOAD: figures.load_figure, Part.CAPACITY: figures.capacity_figure},
    ),
    Question(
        name="streaming", text="Is a batch of events streamed within its target?", about="tokens",
        needs=(Part.OPERATIONS, Part.LOAD), looks={Part.OPERATIONS: _streaming, Part.LOAD: _streaming},
        tells={Part.LOAD: figures.streaming_figure},
    ),
    Question(
        name="indexes", text="Does every statement use its index (EXPLAIN ANALYZE)?",
        needs=(Part.OPERATIONS,), looks={Part.OPERATIONS: _plans, Part.CLIFFS: _findings},
        tells={
            Part.OPERATIONS: figures.plans_figure, Part.CLIFFS: figures.cliffs_figure,
            Part.ADVICE: figures.costliest_index,
        }, timed=False,
    ),
    Question(
        name="memory", text="Does memory stay stable in an extended run?",
        needs=(Part.SOAK,), looks={Part.SOAK: _memory}, tells={Part.SOAK: figures.memory_figure}, timed=False,
    ),
    Question(
        name="growth", text=f"Is it as quick at {GROWN_EVENTS // 1_000_000} million events?",
        needs=(Part.GROWTH,), looks={Part.GROWTH: _grown}, tells={Part.GROWTH: figures.growth_figure},
    ),
    Question(
        name="concurrency", text="Does throughput grow with clients up to the hardware's limit?",
        needs=(Part.SWEEP,), looks={Part.SWEEP: _swept}, tells={Part.SWEEP: figures.sweep_figure},
    ),
    Question(
        name="tenants-isolated", text="Are tenants isolated from each other's load?", about="tenants",
        needs=(Part.ISOLATION,), looks={Part.ISOLATION: _measured}, tells={Part.ISOLATION: figures.isolation_figure},
    ),
    Question(
        name="stress", text="Does it recover from stress with every append stored?",
        needs=(Part.STRESS,), looks={Part.STRESS: _findings}, tells={Part.STRESS: figures.stress_figure},
    ),
)  # fmt: skip

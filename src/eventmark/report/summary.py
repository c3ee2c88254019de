"""What a result comes to in a few words and counts; every report tells it the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eventmark.judgement.verdicts import is_judged, judged
from eventmark.report.orderings import shown_sections
from eventmark.report.text import counted
from eventmark.results.results import Criterion, Finding, PlanResult, RunResult, Verdict

WORST_FIRST = {Verdict.BROKEN: 0, Verdict.INCONCLUSIVE: 1, Verdict.MET: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many of one kind there are, by verdict."""

    noun: str
    met: int
    broken: int
    inconclusive: int

    @property
    def total(self) -> int:
        return self.met + self.broken + self.inconclusive

    @property
    def verdict(self) -> Verdict:
        """The worst there is; INCONCLUSIVE of nothing."""
        if self.broken:
            return Verdict.BROKEN
        return Verdict.INCONCLUSIVE if self.inconclusive or not self.total else Verdict.MET

    def of(self, verdict: Verdict) -> int:
        counts = {Verdict.MET: self.met, Verdict.BROKEN: self.broken, Verdict.INCONCLUSIVE: self.inconclusive}
        return counts[verdict]


class Judged(Protocol):
    """Anything with a verdict, or None where it is not judged."""

    @property
    def verdict(self) -> Verdict | None: ...


def tally(noun: str, items: Iterable[Judged]) -> Tally:
    verdicts = [item.verdict for item in items]
    return Tally(
        noun=noun,
        met=verdicts.count(Verdict.MET),
        broken=verdicts.count(Verdict.BROKEN),
        inconclusive=verdicts.count(Verdict.INCONCLUSIVE),
    )


NOT_JUDGED = "not judged"
"""In place of the verdict of an operation that is only shown."""


def tallies(result: RunResult) -> dict[str, Tally]:
    """Of orderings, sections, operations, plans and the audit's checks."""
    return {
        "orderings": tally("ordering", judged(result.orderings)),
        "sections": tally("part", (section for section in result.sections if section.verdict is not None)),
        "operations": tally(
            "operation", (operation for operation in result.operations.values() if is_judged(operation))
        ),
        "plans": tally("plan", result.plans),
        "corpus": tally("corpus check", result.corpus.audit if result.corpus else ()),
    }


def parts_shown(result: RunResult) -> frozenset[str]:
    """Which parts of a report a result has something for; all of them where it found nothing at all."""
    parts = {
        "operations": result.operations,
        "course": result.series or result.phases,
        "corpus": result.corpus,
        "plans": result.plans,
        "baselines": any(operation.floors for operation in result.operations.values()) or result.corpus,
    }
    others = result.orderings or any(not section.closing for section in result.sections)
    everything = not (others or result.operations or result.corpus or result.plans)
    return frozenset(name for name, part in parts.items() if part or everything)


def verdict_sentence(result: RunResult) -> str:
    """The verdict in one sentence."""
    if result.criteria:
        return _certified(result.criteria)
    if result.scenario == "advise" and result.verdict is Verdict.MET:
        return _advised(result)
    parts = [part for part in tallies(result).values() if part.total]
    if not parts:
        return "No operation has a target." if result.operations else "Nothing was measured."
    if [part.noun for part in parts] == ["part"]:
        parts = _checks(result) or parts
    if result.verdict is Verdict.MET:
        return _sentence(_held(part) for part in parts)
    if broken := [_failed(part) for part in parts if part.broken]:
        return _sentence(broken)[:-1] + _beside(parts) + "."
    if unsure := [_of_all(part) for part in parts if part.inconclusive]:
        return "The evidence does not decide " + _listed(unsure) + "; nothing is broken."
    return "The evidence does not carry a verdict: " + (
        result.reasons[0] if result.reasons else "no reason given"
    )


_HELD = {
    "ordering": ("keeps every invariant", "keep every invariant"),
    "operation": ("meets its target", "meet their targets"),
    "plan": ("does no more work than it should", "do no more work than they should"),
}
_FAILED = {
    "ordering": ("breaks an invariant", "break an invariant"),
    "operation": ("fails or misses its target", "fail or miss their targets"),
    "plan": ("does more work than it should", "do more work than they should"),
}


def _held(tallied: Tally) -> str:
    """``all 11 operations meet their targets``."""
    singular, plural = _HELD.get(tallied.noun, ("passed", "passed"))
    whole = f"{'all ' * (tallied.total > 1)}{counted(tallied.total, tallied.noun)}"
    return f"{whole} {singular if tallied.total == 1 else plural}"


def _failed(tallied: Tally) -> str:
    """``1 of 78 plans does more work than it should``."""
    singular, plural = _FAILED.get(tallied.noun, ("failed", "failed"))
    of_all = tallied.noun if tallied.total == 1 else f"of {counted(tallied.total, tallied.noun)}"
    return f"{tallied.broken} {of_all} {singular if tallied.broken == 1 else plural}"


def _sentence(clauses: Iterable[str]) -> str:
    text = "; ".join(clauses)
    return text[:1].upper() + text[1:] + "."


def _advised(result: RunResult) -> str:
    count = int(result.figures["advice_count"].value) if "advice_count" in result.figures else 0
    if not count:
        return "No change of the store or its server was found that is worth making."
    return (
        f"{counted(count, 'change')} of the store or its server {'is' if count == 1 else 'are'} worth making."
    )


def _certified(criteria: Sequence[Criterion]) -> str:
    """``7 of 9 criteria are met, 1 is broken, 1 was not asked.``"""
    verdicts = [criterion.verdict for criterion in criteria]
    asked = len(verdicts) - verdicts.count(None)
    sentences = [f"{verdicts.count(Verdict.MET)} of {counted(asked, 'criterion', 'criteria')} met"]
    sentences += [
        f"{count} {what}"
        for verdict, what in (
            (Verdict.BROKEN, "broken"),
            (Verdict.INCONCLUSIVE, "undecided"),
            (None, "not asked"),
        )
        if (count := verdicts.count(verdict))
    ]
    return ", ".join(sentences) + "."


def tuning_sentence(result: RunResult) -> str:
    """What a reader has to know who takes the figures to a server of their own; empty where nothing was tuned."""
    count = len(result.environment.server.tuning)
    if not count:
        return ""
    return (
        f"Measured on a server that Eventmark tuned ({counted(count, 'setting')}, see the environment): "
        "a server with other settings may do otherwise."
    )


def scope_sentence(result: RunResult) -> str:
    """What a run of operations one by one leaves open; empty of anything else, such as a comparison of two."""
    if result.scenario not in ("run", "bench", "baselines") or not result.operations:
        return ""
    return (
        "Measured with one caller at a time. Load and lost events were not tested: "
        "eventmark load, eventmark verify, or eventmark certify for all of it."
    )


def next_step(result: RunResult) -> str:
    """What to do about the first thing that keeps a result from MET; empty where nothing is known to help.

    A certification's criteria have remedies of their own.
    """
    if result.criteria:
        return ""
    groups = (
        *(section.findings for section in shown_sections(result) if not section.closing),
        *(plan.findings for plan in worst_plans_first(result.plans)),
    )
    open_findings = [
        finding
        for group in groups
        for finding in group
        if finding.remedy and finding.verdict is not Verdict.MET
    ]
    if open_findings:
        worst = min(open_findings, key=lambda open_finding: WORST_FIRST[open_finding.verdict])
        return f"{worst.name}: {worst.remedy}"
    return ""


def worst_plans_first(plans: Iterable[PlanResult]) -> list[PlanResult]:
    return sorted(plans, key=lambda plan: WORST_FIRST[plan.verdict])


def plans_by_statement(plans: Iterable[PlanResult]) -> Mapping[str, list[PlanResult]]:
    """The plans of each statement, the worst statement and the worst plan first."""
    groups: dict[str, list[PlanResult]] = {}
    for plan in worst_plans_first(plans):
        groups.setdefault(plan.statement, []).append(plan)
    return groups


def faults(plan: PlanResult) -> list[Finding]:
    """The findings that are not MET, the worst first."""
    return sorted(
        (finding for finding in plan.findings if finding.verdict is not Verdict.MET),
        key=lambda finding: WORST_FIRST[finding.verdict],
    )


def remarks(plans: Iterable[PlanResult]) -> list[tuple[PlanResult, Finding]]:
    """What is MET and could still be better: of each statement's findings with a remedy, the largest of each name."""
    broken: dict[tuple[str, str], tuple[PlanResult, Finding]] = {}
    for plan in sorted(plans, key=lambda plan: -plan.work.get("serialization_share", 0.0)):
        for finding in plan.findings:
            if finding.verdict is Verdict.MET and finding.remedy:
                broken.setdefault((plan.statement, finding.name), (plan, finding))
    return list(broken.values())


def _beside(tallied_parts: list[Tally]) -> str:
    unsure = [counted(part.inconclusive, part.noun) for part in tallied_parts if part.inconclusive]
    return "; the evidence does not decide " + _listed(unsure) if unsure else ""


def _checks(result: RunResult) -> list[Tally]:
    """What the judged parts consist of, where they say: their own verdicts, counted, would tell nothing."""
    findings = [
        finding for section in result.sections if section.verdict is not None for finding in section.findings
    ]
    return [tally("check", findings)] if findings else []


def _of_all(tallied: Tally) -> str:
    whole = counted(tallied.total, tallied.noun)
    return whole if tallied.inconclusive == tallied.total else f"{tallied.inconclusive} of {whole}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]

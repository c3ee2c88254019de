"""``junit.xml``: what build servers read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from eventmark.judgement.verdicts import judged
from eventmark.report.summary import faults
from eventmark.results.results import Criterion, Finding, PlanResult, RunResult, Verdict
from eventmark.text import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test case; ``seconds`` is None where nothing was timed."""

    name: str
    verdict: Verdict
    reason: str
    details: str = ""
    seconds: float | None = None


def render_junit(result: RunResult) -> str:
    """A suite each for operations, orderings, sections, plans, corpus and what was skipped; a certification's criteria.

    BROKEN is a failure; INCONCLUSIVE and skipped are skipped, with the reason. An operation's time is its p95.
    """
    root = Xml.Element("testsuites", name="eventmark", time=f"{result.seconds:.3f}")
    for name, cases in _suites(result):
        _suite(root, name, list(cases), result.started_at)
    for count in ("tests", "failures", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("errors", "0")
    for node in root.iter():
        node.attrib.update({name: clean(text) for name, text in node.attrib.items()})
        node.text = clean(node.text) if node.text else None
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suites(result: RunResult) -> Iterator[tuple[str, Iterable[Case]]]:
    if result.criteria:
        yield "criteria", map(_criterion, result.criteria)
        return
    yield "operations", _operations(result)
    yield "orderings", _orderings(result)
    for section in result.sections:
        yield section.name, map(_finding, section.findings)
    yield "plans", map(_plan, result.plans)
    yield "corpus", _corpus(result)
    yield "skipped", _skipped(result)


def _criterion(criterion: Criterion) -> Case:
    """One that was not asked is skipped, with the reason."""
    text = "; ".join(filter(None, (criterion.reason, criterion.figure)))
    return Case(
        name=criterion.question, verdict=criterion.verdict or Verdict.INCONCLUSIVE, reason=text,
        details="\n".join(filter(None, (text, criterion.remedy))),
    )  # fmt: skip


def _operations(result: RunResult) -> Iterator[Case]:
    for name, operation in result.operations.items():
        yield Case(
            name=name,
            verdict=operation.verdict,
            reason=operation.reason,
            seconds=(operation.quantile_ms("p95") or 0.0) / 1e3,
        )


def _orderings(result: RunResult) -> Iterator[Case]:
    for ordering in judged(result.orderings):
        yield Case(
            name=ordering.ordering, verdict=ordering.verdict, reason=ordering.reason, details=ordering.replay
        )


def _plan(plan: PlanResult) -> Case:
    texts = [
        f"{fault.name}: {fault.observed}, expected {fault.expected}"
        + (f"; {fault.remedy}" if fault.remedy else "")
        for fault in faults(plan)
    ]
    kind = "" if plan.plan_kind in plan.condition else f", {plan.plan_kind} plan"
    return Case(
        name=f"{plan.statement}, {plan.condition}{kind}",
        verdict=plan.verdict,
        reason=texts[0] if texts else "",
        details="\n".join([*texts, "", plan.query]),
    )


def _corpus(result: RunResult) -> Iterator[Case]:
    yield from map(_finding, result.corpus.audit if result.corpus else ())


def _finding(finding: Finding) -> Case:
    reason = f"{finding.observed}, expected {finding.expected}" + (
        f"; {finding.remedy}" if finding.remedy else ""
    )
    return Case(name=finding.name, verdict=finding.verdict, reason=reason)


def _skipped(result: RunResult) -> Iterator[Case]:
    for name, reason in result.skipped.items():
        yield Case(name=name, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _suite(root: Xml.Element, name: str, cases: Iterable[Case], started_at: str) -> None:
    listed = list(cases)
    verdicts = [case.verdict for case in listed]
    suite = Xml.SubElement(
        root, "testsuite", name=name, tests=str(len(listed)), errors="0",
        failures=str(verdicts.count(Verdict.BROKEN)), skipped=str(verdicts.count(Verdict.INCONCLUSIVE)),
        time=f"{sum(case.seconds or 0.0 for case in listed):.6f}", timestamp=started_at.partition("+")[0],
    )  # fmt: skip
    for case in listed:
        node = Xml.SubElement(
            suite, "testcase", classname=f"eventmark.{name}", name=case.name, time=f"{case.seconds or 0.0:.6f}"
        )  # fmt: skip
        if case.verdict is Verdict.BROKEN:
            failure = Xml.SubElement(node, "failure", message=case.reason, type=case.verdict.value)
            failure.text = case.details or case.reason
        elif case.verdict is Verdict.INCONCLUSIVE:
            Xml.SubElement(node, "skipped", message=case.reason)


def clean(text: str) -> str:
    """Without what XML cannot hold, and without what would steer the terminal of a build server."""
    return plain(text).translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"})

"""``junit.xml``: what build servers read."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from eventmark.measure.results import RunResult, Verdict

_Case = tuple[str, Verdict, str, float]


def render_junit(result: RunResult) -> str:
    """A suite each for operations, plans and corpus. BROKEN fails, INCONCLUSIVE is skipped with its reason."""
    root = Xml.Element("testsuites", name="eventmark")
    _suite(
        root,
        "operations",
        ((name, o.verdict, o.reason, o.latency_ms.p95 / 1e3) for name, o in result.operations.items()),
    )
    _suite(
        root,
        "plans",
        (
            (
                f"{plan.statement}, {plan.condition}",
                plan.verdict,
                "; ".join(
                    f"{one.name}: {one.observed}, expected {one.expected}"
                    for one in plan.findings
                    if one.verdict is not Verdict.MET
                )
                + (f"\n{plan.query}" if plan.verdict is Verdict.BROKEN else ""),
                0.0,
            )
            for plan in result.plans
        ),
    )
    audit = result.corpus.audit if result.corpus else []
    _suite(
        root,
        "corpus",
        ((one.name, one.verdict, f"{one.observed}, expected {one.expected}", 0.0) for one in audit),
    )
    _suite(
        root,
        "skipped",
        ((name, Verdict.INCONCLUSIVE, reason, 0.0) for name, reason in result.skipped.items()),
    )
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: Xml.Element, name: str, cases: Iterable[_Case]) -> None:
    listed = list(cases)
    suite = Xml.SubElement(
        root, "testsuite", name=name, tests=str(len(listed)),
        failures=str(sum(verdict is Verdict.BROKEN for _, verdict, _, _ in listed)),
        skipped=str(sum(verdict is Verdict.INCONCLUSIVE for _, verdict, _, _ in listed)), errors="0",
    )  # fmt: skip
    for case, verdict, reason, seconds in listed:
        node = Xml.SubElement(
            suite, "testcase", classname=f"eventmark.{name}", name=clean(case), time=f"{seconds:.6f}"
        )
        if verdict is Verdict.BROKEN:
            Xml.SubElement(node, "failure", message=clean(reason.partition("\n")[0])).text = clean(reason)
        elif verdict is Verdict.INCONCLUSIVE:
            Xml.SubElement(node, "skipped", message=clean(reason))


def clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(
        character
        if character in "\t\n\r"
        or (character >= " " and not "\ud800" <= character <= "\udfff" and character not in "\ufffe\uffff")
        else "\ufffd"
        for character in text
    )

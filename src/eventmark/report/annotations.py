"""Annotations of a CI's page: what a workflow on GitHub prints to be shown next to the change."""

from __future__ import annotations

from collections.abc import Iterator

from eventmark.judgement.verdicts import UNDECIDED
from eventmark.report.summary import verdict_sentence
from eventmark.report.text import cut
from eventmark.results.results import RunResult, Verdict
from eventmark.text import one_line

ANNOTATIONS_MAX = 10  # of one step and kind; the page shows no more
TEXT_MAX = 800
_COMMANDS = {Verdict.BROKEN: "error", Verdict.INCONCLUSIVE: "warning", Verdict.MET: "notice"}


def render_annotations(result: RunResult) -> str:
    """One line for each reason, or for the verdict where it needs none."""
    reasons = [*_reasons(result)] or [verdict_sentence(result)]
    return "".join(
        _annotation(Verdict.INCONCLUSIVE if reason.startswith(UNDECIDED) else result.verdict, reason)
        for reason in reasons
    )


def _annotation(verdict: Verdict, text: str) -> str:
    title = f"Eventmark: {verdict.value}"
    return f"::{_COMMANDS[verdict]} title={_property(title)}::{_data(text.removeprefix(UNDECIDED))}\n"


def _reasons(result: RunResult) -> Iterator[str]:
    yield from result.reasons[: ANNOTATIONS_MAX - 1]
    if len(result.reasons) == ANNOTATIONS_MAX:
        yield result.reasons[-1]
    elif len(result.reasons) > ANNOTATIONS_MAX:
        yield f"and {len(result.reasons) - ANNOTATIONS_MAX + 1} more, see the report"


def _data(text: str) -> str:
    """Text that cannot end its line and begin a command of its own."""
    return cut(one_line(text), TEXT_MAX).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

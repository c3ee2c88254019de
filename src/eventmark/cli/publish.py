"""What is done with every result besides showing it: compared with a baseline, annotated in a CI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from eventmark.config import Settings, parse_share
from eventmark.errors import CannotRunError, UsageError
from eventmark.history import FailOn, compare_results, comparison_section, fail_on_of, judge
from eventmark.judgement.verdicts import overall
from eventmark.report.annotations import render_annotations
from eventmark.report.markdown import render_markdown
from eventmark.results.files import read_result
from eventmark.results.results import RunResult, Section, Verdict


def check_published(settings: Settings) -> None:
    """What can be wrong with it, found before the work and not after. Raises ``UsageError``."""
    fail_on_of(settings.fail_on)
    parse_share(settings.slowdown)
    if settings.baseline:
        read_result(Path(settings.baseline))


def held_against_baseline(settings: Settings, result: RunResult) -> RunResult:
    """The result with its comparison to the settings' baseline, where there is one, and the verdict of both."""
    if not settings.baseline:
        return result
    path = Path(settings.baseline)
    try:
        compared = compare_results(
            read_result(path), result, base_file=str(path), slowdown=parse_share(settings.slowdown)
        )
    except UsageError as error:
        section = Section(
            name="comparison",
            title="Comparison with the base",
            verdict=Verdict.INCONCLUSIVE,
            text=[str(error)],
        )
        parts = [("baseline", Verdict.INCONCLUSIVE, error.message)]
    else:
        fail_on = fail_on_of(settings.fail_on)
        section = comparison_section(compared, fail_on)
        verdict, reasons = judge(compared, fail_on)
        if verdict is Verdict.INCONCLUSIVE and fail_on is FailOn.SLOWER:
            verdict = (
                Verdict.MET
            )  # asked to fail on what is proven slower alone; the section tells what is not
            reasons = []
        parts = [("baseline", verdict, reason) for reason in reasons] or [("baseline", verdict, "")]
    verdict, reasons = overall([("this run", result.verdict, "; ".join(result.reasons[:3])), *parts])
    return msgspec.structs.replace(
        result,
        verdict=verdict,
        reasons=[*result.reasons, *(reason for reason in reasons if reason.startswith("baseline: "))],
        sections=[*result.sections, section],
    )


def announce(settings: Settings, result: RunResult) -> None:
    """The Markdown summary added to its file; annotations where a workflow on GitHub reads them.

    Raises ``CannotRunError`` where the file cannot be written.
    """
    if settings.summary:
        try:
            with Path(settings.summary).open("a", encoding="utf-8", errors="replace") as file:
                file.write(render_markdown(result) + "\n")
        except OSError as error:
            raise CannotRunError(
                f"{settings.summary} cannot be written: {error.strerror}", remedy="name another --summary"
            ) from error
    if os.environ.get("GITHUB_ACTIONS") == "true":
        # Beside a document on standard output, they would be part of it; workflows read both streams.
        (sys.stderr if settings.json else sys.stdout).write(render_annotations(result))

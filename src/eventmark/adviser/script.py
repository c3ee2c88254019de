"""``advice.sql``: the advice as statements for a store in use."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from eventmark.adviser.candidate import Trial
from eventmark.adviser.ranking import WHOLE, Advised
from eventmark.adviser.reads import READS
from eventmark.engine.statements import quoted_schema

WIDTH = 100
INTERRUPTED = "Interrupted before all was tried: nothing is advised yet."


def advice_script(
    advice: Sequence[Advised],
    weakening: Iterable[Trial],
    *,
    schema: str,
    store: str,
    evidence: str,
    first: str = "",
    whole: bool = True,
) -> str:
    """Runs with psql as it is: one statement after the other, because indexes are dropped and made concurrently.

    ``first`` is said before all else. Not ``whole``: the trials were interrupted. What weakens the store stands in it
    as a comment, for it is a decision and no advice.
    """
    parts = [advised for advised in advice if advised.script and advised.evidence != WHOLE]
    lines = [
        *_comment(first),
        f"-- Advice on store {_one_line(store)}, each change tried on a copy. Evidence: {_one_line(evidence)}.",
        "-- Run it outside a transaction, as CONCURRENTLY requires. If a step fails, correct what it names and run the",
        "-- rest again. Write the schema of your own store here:",
        f"set search_path = {quoted_schema(schema)};",
        "",
    ]
    if not parts:
        lines += [f"-- {'No change was found that is worth making.' if whole else INTERRUPTED}", ""]
    for part in parts:
        gain = f", {gain_text(part)}" if part.gain else ""
        lines += _comment(f"{part.what}{gain}. {part.saved}".rstrip(". ") + ".")
        lines += _comment(f"Risk: {part.risk}.")
        lines += [f"{statement};" for statement in part.script]
        lines.append("")
    for trial in weakening:
        lines += _comment(f"Not advised: {trial.candidate.name}. It weakens {trial.candidate.weakens}.")
        lines += [f"-- {_one_line(statement)};" for statement in trial.candidate.script]
        lines.append("")
    return "\n".join(lines)


def gain_text(advised: Advised) -> str:
    """A rate has a unit of its own; an operation is faster."""
    if advised.gained in READS:
        return f"{advised.gained} {advised.gain:.2f} × as fast"
    return f"{advised.gain:.2f} × the {advised.gained}"


def _comment(text: str) -> list[str]:
    return [f"-- {line}" for line in textwrap.wrap(_one_line(text), WIDTH)]


def _one_line(text: str) -> str:
    """No line of a comment may end it."""
    return " ".join(text.split())

"""gate: is the candidate slower than the base?"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from eventmark.choices import unknown
from eventmark.cli.options import Options, checked_seconds
from eventmark.cli.run import run_scenario
from eventmark.cli.session import console
from eventmark.config import Settings, parse_share
from eventmark.experiments.gate.gate import EVENTS, Gate
from eventmark.operations.catalogue import OPERATIONS
from eventmark.sidebyside.bout import SECONDS, Effort
from eventmark.sidebyside.contest import Rules
from eventmark.sidebyside.pair import TURNS
from eventmark.sidebyside.sides import NewStoreError, both_sides

_GATE = "Gate"
_SIDE = "a revision, . for the work tree, a store, server:work_mem=4MB, or a DSN"
_TURNS = {"quick": TURNS // 2, "full": 4 * TURNS}


def gate(
    *,
    base: Annotated[
        str | None,
        Parameter(group=_GATE, help=f"The side that the candidate is compared with: {_SIDE} [HEAD]."),
    ] = None,
    candidate: Annotated[
        str | None, Parameter(group=_GATE, help="The side that is judged, named in the same way [.].")
    ] = None,
    slowdown: Annotated[
        str | None, Parameter(group=_GATE, help="The smallest slowdown that matters [10%].")
    ] = None,
    only: Annotated[
        str | None, Parameter(group=_GATE, help="Operations, separated by commas [all that call the server].")
    ] = None,
    seconds: Annotated[
        int | None,
        Parameter(group=_GATE, help=f"Longest time to measure [{SECONDS}]; most gates end sooner."),
    ] = None,
    options: Options | None = None,
) -> int:
    """Measure base and candidate side by side, and decide whether the candidate is slower or does more work.

    Ends as soon as the answer is clear. Of two revisions, the store's folder (--store ./my-store) is taken from
    each; of two revisions of Eventmark itself, each runs its own code.
    """
    settings = (options or Options()).settings(
        {"events": EVENTS},
        base=base, candidate=candidate, slowdown=slowdown, only=only, seconds=checked_seconds(seconds),
    )  # fmt: skip
    rules, effort = Rules(slowdown=parse_share(settings.slowdown)), _effort(settings)
    try:
        with both_sides(settings.base, settings.candidate, settings.store) as (left, right):
            chosen = replace(settings, store=right.store, server=right.dsn or settings.server)
            return run_scenario(Gate(left, right, rules=rules, effort=effort), chosen)
    except NewStoreError as error:
        console.print(f"{error.message}: the store is new, and there is nothing to compare it with")
        return 0


def _effort(settings: Settings) -> Effort:
    return Effort(
        seconds=settings.seconds or SECONDS,
        turns=_TURNS.get(settings.profile, TURNS),
        only=operations_of(settings.only),
    )


def operations_of(text: str) -> tuple[str, ...]:
    """Operations, separated by commas. Raises ``UsageError`` for one that is none."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in OPERATIONS:
            raise unknown("operation", name, OPERATIONS)
    return names

"""advise: what could be better, tried."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventmark.adviser.advice import Advice, chosen_parts
from eventmark.cli.options import Options
from eventmark.cli.run import run_scenario
from eventmark.plans.observed import indexes_observed
from eventmark.results.files import read_result


def advise(
    *,
    parts: Annotated[
        str | None,
        Parameter(
            group="Advice", help="schema, server, application, or some of them with commas between [all]."
        ),
    ] = None,
    observed: Annotated[
        Path | None,
        Parameter(
            group="Advice",
            help="result.json of explain --observed: the indexes that its statements use are kept, and "
            "gains are weighed by their time.",
        ),
    ] = None,
    options: Options | None = None,
) -> int:
    """Find what could be better about a store, its server and its use, and try each of it in a copy.

    The advice is a ranked list in the report, and runnable SQL in advice.sql. A store that can be bettered is not
    broken: the verdict says whether the trials can be trusted.
    """  # fmt: skip
    settings = (options or Options()).settings(parts=parts)
    chosen = chosen_parts(settings.parts)
    seen = read_result(observed) if observed else None
    if seen is not None:
        indexes_observed(seen)  # refused here where it is another verb's
    return run_scenario(Advice(parts=chosen, observed=seen, out=Path(settings.out)), settings)

"""selfcheck: the instrument calibrated on this machine."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from eventmark.cli.gate import operations_of
from eventmark.cli.options import Options
from eventmark.cli.run import run_scenario
from eventmark.errors import UsageError
from eventmark.experiments.selfcheck.planted import PLANTABLE
from eventmark.experiments.selfcheck.selfcheck import SelfCheck

_SELFCHECK = "Self-check"


def selfcheck(
    *,
    gate: Annotated[
        int,
        Parameter(
            group=_SELFCHECK,
            help="Measure the gate's error rates by this number of gates of each kind instead.",
        ),
    ] = 0,
    only: Annotated[
        str | None,
        Parameter(
            group=_SELFCHECK, help="Operations of these gates, separated by commas [an append and a load]."
        ),
    ] = None,
    options: Options | None = None,
) -> int:
    """Plant causes of known size and see what the instrument says of them; its certificate for this machine."""
    settings = (options or Options()).settings(only=only)
    operations = operations_of(settings.only)
    if gate < 0:
        raise UsageError(f"--gate must be 1 or more, got {gate}", remedy="name how many gates of each kind")
    if unknown := [name for name in operations if name not in PLANTABLE]:
        raise UsageError(f"no delay can be planted in {unknown[0]}", remedy=f"use {', '.join(PLANTABLE)}")
    return run_scenario(SelfCheck(gates=gate, operations=operations), settings)

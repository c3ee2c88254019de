"""What an experiment measured, before anything is judged of it as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from eventmark.judgement.evidence import Evidence
from eventmark.results.results import (
    CorpusResult,
    Figure,
    OperationResult,
    OrderingResult,
    PlanResult,
    Section,
    Verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What an experiment measured.

    Operations, plans, the corpus' audit, orderings and the findings of sections that have a verdict count towards the
    run's verdict; of the operations only those named in ``counted``, where it is given. ``decided`` is the verdict
    instead, with its reasons, where a test of the experiment's own decides.
    ``evidence`` is of what limited it, where the experiment watched by itself; ``through`` is what generated a load.
    """

    operations: Mapping[str, OperationResult] = field(default_factory=dict)
    counted: Collection[str] | None = None
    plans: Sequence[PlanResult] = ()
    corpus: CorpusResult | None = None
    orderings: Sequence[OrderingResult] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    decided: tuple[Verdict, list[str]] | None = None
    evidence: Evidence | None = None
    through: str = ""

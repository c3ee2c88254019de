"""The adviser: finds what could be better about a store, its server and its use, and tries all of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from eventmark.adviser.application import Application, measure_application
from eventmark.adviser.candidate import ALIKE_RATIO_MAX, WORTH_RATIO, Candidate, Trial
from eventmark.adviser.changes import SchemaTrials, try_changes, try_everything
from eventmark.adviser.copies import EFFORTS, Copies
from eventmark.adviser.ranking import (
    Advised,
    advice_on_everything,
    advice_on_schema,
    advice_on_server,
    advice_on_use,
    is_worth,
)
from eventmark.adviser.script import advice_script
from eventmark.adviser.sections import (
    advice_section,
    figures_of,
    first_of_all,
    index_section,
    schema_section,
)
from eventmark.adviser.server_use import ServerUse, server_use
from eventmark.adviser.settings import SettingTrials, try_settings
from eventmark.adviser.use_sections import application_section, server_section
from eventmark.errors import CannotRunError, UsageError
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job, prepare_store
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.plans.observed import indexes_observed
from eventmark.results.files import write_whole
from eventmark.results.results import RunResult, Section, Verdict
from eventmark.seeding import Progress, no_progress
from eventmark.stats.ratios import Ratio

COPIES_ROOM = 4
"""Two copies, and as much again for what trials append to them."""

PARTS = ("schema", "server", "application")
SCRIPT = "advice.sql"


def chosen_parts(text: str) -> tuple[str, ...]:
    """``all``, or some of ``PARTS`` with commas between them. Raises ``UsageError``."""
    if text == "all":
        return PARTS
    parts = tuple(part.strip() for part in text.split(","))
    for part in parts:
        if part not in PARTS:
            raise UsageError(
                f"there is no advice on {part!r}", remedy=f"use {', '.join(PARTS)}, or all of them: all"
            )
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice(Experiment):
    """Advice on ``parts`` of the job's store. ``advice.sql`` goes to ``out``.

    ``observed`` is a result of ``explain --observed``: indexes that its statements search are kept, and gains are
    weighed by their time.

    The job's own corpus is left alone: trials are made on copies, seeded from the same plan, that are dropped
    afterwards. A store that can be bettered is not broken: the verdict is MET, and says whether the trials
    could be trusted.
    """

    name: ClassVar[str] = "advise"
    parts: Sequence[str] = PARTS
    observed: RunResult | None = None
    out: Path

    seeds: ClassVar[bool] = False

    def job_for(self, job: Job) -> Job:
        events = min(EFFORTS[job.profile.name].events, job.corpus.events)
        job = replace(job, corpus=replace(job.corpus, events=events))
        copies = _copies(job)
        copies.drop()
        prepare_store(replace(job, schema=copies.plain))
        return job

    def scratch_events(self, job: Job) -> int:
        return COPIES_ROOM * job.corpus.events

    def measure(self, run: Run) -> Findings:
        protected = indexes_observed(self.observed) if self.observed else frozenset()
        copies = _copies(run.job, run.progress, protected)
        run.skipped |= {
            f"without index {name}": "kept: statements that a server in use has seen search it"
            for name in sorted(protected)
        }
        gathered = _Found()
        run.so_far = lambda: self._findings(gathered, copies, whole=False)
        try:
            self._try_parts(copies, run, gathered)
        finally:
            copies.drop()
        return self._findings(gathered, copies, whole=True)

    def _findings(self, gathered: _Found, copies: Copies, *, whole: bool) -> Findings:
        """Raises ``CannotRunError`` where nothing was tried yet."""
        job = copies.job
        if not (sections := gathered.sections):
            raise CannotRunError("nothing was tried yet")
        script = advice_script(
            gathered.advice, weakening(gathered.changes), schema=job.schema, store=job.definition.name,
            evidence="result.json", first=first_of_all(job.definition.ordering), whole=whole,
        )  # fmt: skip
        write_whole(self.out / SCRIPT, script.encode())
        verdict, reasons = judge_trials(gathered.changes, gathered.everything)
        shown = verdict if whole else Verdict.INCONCLUSIVE
        first = advice_section(
            gathered.advice,
            gathered.changes,
            gathered.everything,
            copies,
            script,
            shown,
            gathered.use,
            whole=whole,
        )
        return Findings(
            decided=(verdict, reasons), sections=[first, *sections],
            figures=figures_of(gathered.advice, gathered.changes, gathered.everything),
        )  # fmt: skip

    def _try_parts(self, copies: Copies, run: Run, into: _Found) -> None:
        """The store first, for its trials make the copies that the others are measured on."""
        if "schema" in self.parts:
            with run.phase("schema"):
                try_changes(copies, into.changes)
            if self.observed:
                into.use = server_use(self.observed, copies.definition.events_table, into.changes.searched)
        else:
            copies.make()
        if "server" in self.parts:
            with run.phase("server"):
                try_settings(copies, into.settings)
                if into.chosen and into.settings.advised:
                    into.everything = try_everything(copies, into.chosen, into.settings.advised)
        if "application" in self.parts:
            with run.phase("application"):
                into.application = measure_application(copies)


def _copies(job: Job, progress: Progress = no_progress, protected: Collection[str] = ()) -> Copies:
    return Copies(job, EFFORTS[job.profile.name], progress, protected=protected)


@dataclass(slots=True)
class _Found:
    """What comes together, trial by trial; ``changes`` and ``settings`` of a part that was left out have none."""

    changes: SchemaTrials = field(default_factory=SchemaTrials)
    settings: SettingTrials = field(default_factory=SettingTrials)
    everything: Trial | None = None
    application: Application | None = None
    use: ServerUse | None = None

    @property
    def chosen(self) -> Sequence[Candidate]:
        """The changes of the schema that are worth it together."""
        together = self.changes.together
        return self.changes.chosen if together is not None and is_worth(together) else []

    @property
    def advice(self) -> list[Advised]:
        use = advice_on_use(self.application) if self.application is not None else []
        return [
            *advice_on_everything(self.everything, self.use), *advice_on_schema(self.changes, self.use),
            *advice_on_server(self.settings, self.use),
            *sorted(use, key=lambda advised: -(advised.gain or 0.0)),
        ]  # fmt: skip

    @property
    def sections(self) -> list[Section]:
        """What was tried, part by part; none where nothing was."""
        shown_sections = []
        if self.changes.trials:
            shown_sections += [index_section(self.changes), schema_section(self.changes)]
        if self.settings.trials:
            shown_sections.append(server_section(self.settings))
        if self.application is not None:
            shown_sections.append(application_section(self.application))
        return shown_sections


def weakening(changes: SchemaTrials) -> list[Trial]:
    """What was measured and would take something from the store."""
    return [
        trial for trial in changes.trials if trial.candidate.weakens and trial.before and not trial.refusal
    ]


def judge_trials(changes: SchemaTrials, everything: Trial | None = None) -> tuple[Verdict, list[str]]:
    """MET where the trials can be trusted, whatever they found; INCONCLUSIVE where not."""
    reasons = []
    if changes.alike is not None:
        for name, alike in {"appends": changes.alike, **changes.reads_alike}.items():
            reasons += _doubts(name, alike)
    for together in (changes.together, everything):
        if together is not None and together.refusal:
            reasons.append(
                f"each change is sound alone, but not together with the others: {together.refusal}"
            )
        elif together is not None and together.worse:
            difference = together.worse[0]
            reasons.append(
                "each change is sound alone, but not together with the others: "
                f"{difference.statement} {difference.what}"
            )
    return (Verdict.INCONCLUSIVE if reasons else Verdict.MET), reasons


def _doubts(name: str, alike: Ratio) -> list[str]:
    """Why two unchanged copies cannot be taken to be alike in what ``name`` measured of them."""
    if alike.is_above(WORTH_RATIO) or alike.is_below(1 / WORTH_RATIO):
        return [f"copies that are alike differ: {name} on one are {alike} as fast as on the other"]
    if alike.is_above(1 / ALIKE_RATIO_MAX) and alike.is_below(ALIKE_RATIO_MAX):
        return []
    return [
        f"the rates decide nothing: {name} on one of two unchanged copies are {alike} as fast as on the other, and the "
        f"interval has to lie within {1 / ALIKE_RATIO_MAX:.2f} and {ALIKE_RATIO_MAX:g}; run it on a quiet machine, or "
        "with --profile standard"
    ]

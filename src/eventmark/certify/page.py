"""One result of all parts: the criteria, then each part with its sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import uuid4

from msgspec.structs import replace

from eventmark.certify.criteria import Done, Part, anchor, criteria, verdict_of
from eventmark.jobs.job import Job, environment_of
from eventmark.results.results import OperationResult, Phase, RunResult, Section, Series

SCENARIO = "certify"
_OPERATIONS_OF = {Part.OPERATIONS: "", Part.LOAD: ", under load"}
"""Parts whose operations stand together; those of others are in their sections."""


def whole_result(
    done: Done, job: Job, titles: Mapping[Part, str], *, minutes: int, began_at: datetime, seconds: float
) -> RunResult:
    """Everything that was found, with the answer before it."""
    answers = criteria(done)
    verdict, reasons = verdict_of(answers, done)
    parts = done.parts
    first = next((parts[part] for part in (Part.OPERATIONS, *Part) if part in parts), None)
    environment = environment_of(job, []) if first is None else first.environment
    alone = parts.get(Part.OPERATIONS)
    return RunResult(
        scenario=SCENARIO,
        run_id=str(uuid4()),
        started_at=began_at.isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        command=job.command,
        profile=f"{minutes} minutes",
        seed=job.corpus.seed,
        verdict=verdict,
        reasons=reasons,
        environment=environment,
        corpus=alone.corpus if alone else None,
        operations=_operations(parts),
        plans=alone.plans if alone else [],
        skipped=_skipped(done),
        phases=_phases(parts),
        series=_series(parts),
        orderings=parts[Part.VERIFY].orderings if Part.VERIFY in parts else [],
        figures={
            name if part is Part.OPERATIONS else f"{part}: {name}": figure
            for part, result in parts.items()
            for name, figure in result.figures.items()
        },
        sections=[
            section
            for part in Part
            if part in parts
            for section in _sections(part, parts[part], titles[part])
        ],
        criteria=answers,
    )


def _operations(parts: Mapping[Part, RunResult]) -> dict[str, OperationResult]:
    offsets = _offsets(parts)
    return {
        name + suffix: replace(
            operation, stretches=[(a + offsets[part], b + offsets[part]) for a, b in operation.stretches]
        )
        for part, suffix in _OPERATIONS_OF.items()
        if part in parts
        for name, operation in parts[part].operations.items()
    }


def _sections(part: Part, result: RunResult, title: str) -> Iterator[Section]:
    """The part's own, with its verdict; then its sections under names that no other part's have."""
    text = [f"Took {result.seconds:.0f} s.", *result.reasons]
    yield Section(name=anchor(part), title=title[:1].upper() + title[1:], verdict=result.verdict, text=text)
    for section in result.sections:
        yield replace(section, name=anchor(part, section.name), closing=False)


def _skipped(done: Done) -> dict[str, str]:
    """What a part left out stands there under the part's name, unless another part says the same."""
    chosen: dict[str, str] = {}
    for part in Part:
        if part in done.not_done:
            chosen[part.value] = done.not_done[part]
        elif part in done.parts:
            for name, reason in done.parts[part].skipped.items():
                if chosen.get(name) != reason:
                    chosen[name if name not in chosen else f"{name}, {part}"] = reason
    return chosen


def _offsets(parts: Mapping[Part, RunResult]) -> dict[Part, float]:
    """When each part began, had one followed the other at once."""
    offsets, at_s = {}, 0.0
    for part in Part:
        if part in parts:
            offsets[part] = at_s
            at_s += parts[part].seconds
    return offsets


def _phases(parts: Mapping[Part, RunResult]) -> list[Phase]:
    return [
        Phase(name=part.value, start_s=round(start_s, 3), end_s=round(start_s + parts[part].seconds, 3))
        for part, start_s in _offsets(parts).items()
    ]


def _series(parts: Mapping[Part, RunResult]) -> list[Series]:
    """Those of the machine and the server, one after the other; a part's own are in its file."""
    joined: dict[tuple[str, str], Series] = {}
    common = [{(series.name, series.unit) for series in parts[part].series} for part in parts]
    shared = set.intersection(*common) if common else set()
    for part, start_s in _offsets(parts).items():
        for series in parts[part].series:
            key = (series.name, series.unit)
            if key not in shared:
                continue
            before = joined.get(key, Series(name=series.name, unit=series.unit, at_s=[], values=[]))
            joined[key] = Series(
                name=series.name, unit=series.unit,
                at_s=[*before.at_s, *(round(at + start_s, 3) for at in series.at_s)],
                values=[*before.values, *series.values],
            )  # fmt: skip
    return list(joined.values())

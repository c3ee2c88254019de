"""The ground that the instrument is checked on: two schemas alike, and stores with delays planted in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import msgspec

from eventmark.experiments.selfcheck.planted import plant_store
from eventmark.jobs.job import Job
from eventmark.seeding import Progress
from eventmark.sidebyside.grounds import Ground, grounds
from eventmark.sidebyside.protocol import Corpus, Prepare, Prepared
from eventmark.sidebyside.sides import BASE, CANDIDATE, Side
from eventmark.stores import find_store

EVENTS = 20_000  # the least that has streams of 1000 events and snapshots


@dataclass(frozen=True, slots=True)
class Proving:
    """``job`` works on the base's schema, with the store that has no delay."""

    job: Job
    both: tuple[Ground, Ground]
    scratch: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def planted(self, delays_ms: Mapping[str, float]) -> str:
        """The folder of a store with these delays by statement."""
        return plant_store(self.scratch / f"planted{next(self._numbers)}", delays_ms)

    def against(self, store: str) -> tuple[Ground, Ground]:
        """The base as it is, and the candidate's schema under ``store``."""
        base, candidate = self.both
        side = replace(candidate.side, store=store)
        return base, replace(
            candidate, side=side, place=msgspec.structs.replace(candidate.place, store=store)
        )


@contextmanager
def proving_ground(job: Job, progress: Progress) -> Iterator[Proving]:
    """Both schemas seeded, from the same seed by one worker each; gone afterwards. Raises ``CannotRunError``."""
    with tempfile.TemporaryDirectory(prefix="eventmark-selfcheck-") as name:
        scratch = Path(name)
        store = plant_store(scratch / "plain", {})
        sides = tuple(Side(role=role, named=store, store=store) for role in (BASE, CANDIDATE))
        with grounds(job, (sides[0], sides[1]), scratch) as both:
            for number, ground in enumerate(both):
                progress("seed both sides", number, len(both))
                corpus = Corpus(
                    events=EVENTS, seed=job.corpus.seed, tenants=job.corpus.tenant_count,
                    payload=job.corpus.payload_profile, samples=job.corpus.samples, shape=job.corpus.shape,
                )  # fmt: skip
                ground.ask(Prepare(place=ground.place, corpus=corpus, sample=str(ground.sample)), Prepared)
            progress("seed both sides", len(both), len(both))
            own = replace(
                job, store=store, definition=find_store(store), schema=both[0].place.schema,
                corpus=replace(job.corpus, events=EVENTS), with_floors=False,
            )  # fmt: skip
            yield Proving(own, both, scratch)

"""What is to be seeded, as a value: equal plans make equal corpora."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eventmark.errors import UsageError
from eventmark.workload.calendar import Calendar
from eventmark.workload.payloads import (
    LEAN,
    PROFILES,
    PayloadPool,
    draw_sizes,
    example_payloads,
    prepared_pool,
)
from eventmark.workload.samples import size_classes, variants
from eventmark.workload.shape import USUAL_SHAPE, CorpusShape, SizeClass
from eventmark.workload.tenants import Tenant, make_tenants

BATCH_EVENTS = 10_000
COHORT_EVENTS = 100_000
USUAL_PROFILE = "realistic"
EVENTS_MAX = 1_000_000_000
TENANTS_MAX = 10_000


@dataclass(frozen=True)
class CorpusPlan:
    """The corpus to seed. Raises ``UsageError`` for counts out of range or an unknown ``payload_profile``.

    ``cohort_events``: how many events are made at one go, whole streams among them. So the first events of the
    log, as many as some cohorts have, are a corpus of their own that holds no stream's beginning alone.
    ``samples``: JSON documents that payloads are made after, instead of by a profile; ``payload_profile`` tells which.
    """

    events: int
    seed: int = 1
    tenant_count: int = 20
    payload_profile: str = USUAL_PROFILE
    cohort_events: int = COHORT_EVENTS
    samples: tuple[str, ...] = ()
    shape: CorpusShape = USUAL_SHAPE

    def __post_init__(self) -> None:
        if not 1 <= self.events <= EVENTS_MAX:
            raise UsageError(
                f"{self.events} events cannot be seeded", remedy=f"name a number from 1 to {EVENTS_MAX:,}"
            )
        if not 2 <= self.tenant_count <= TENANTS_MAX:
            raise UsageError(
                f"{self.tenant_count} tenants cannot be seeded", remedy=f"name 2 to {TENANTS_MAX:,}"
            )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed} is out of range", remedy="name a number from 0 to 2^63 - 1")
        if self.samples:
            if self.payload_profile in PROFILES and self.payload_profile != USUAL_PROFILE:
                raise UsageError(
                    f"payloads are either {self.payload_profile} or made after samples",
                    remedy="leave out --payload, or --payload-samples",
                )
            digest = hashlib.sha256("\n".join(self.samples).encode()).hexdigest()
            object.__setattr__(self, "payload_profile", f"sampled ({digest[:8]})")
        elif self.payload_profile not in PROFILES:
            raise UsageError(
                f"unknown payload profile {self.payload_profile!r}", remedy=f"use {' or '.join(PROFILES)}"
            )

        if self.shape.payload_sizes and (self.samples or self.payload_profile == LEAN):
            raise UsageError(
                f"payloads that are {self.payload_profile} have sizes of their own",
                remedy="leave out the payload sizes, or the payload profile and samples",
            )
        if self.cohort_events < BATCH_EVENTS or self.cohort_events % BATCH_EVENTS:
            raise UsageError(
                f"a cohort of {self.cohort_events:,} events is not made of batches",
                remedy=f"name a multiple of {BATCH_EVENTS:,}",
            )

    @cached_property
    def tenants(self) -> tuple[Tenant, ...]:
        return make_tenants(self.tenant_count, self.random("tenants"), self.shape)

    @cached_property
    def calendar(self) -> Calendar:
        return Calendar(
            [tenant.time_zone for tenant in self.tenants], [tenant.weight for tenant in self.tenants]
        )

    @cached_property
    def pool(self) -> PayloadPool:
        return prepared_pool(self.random("payloads"))

    @cached_property
    def sampled(self) -> list[str]:
        """Payloads after the samples."""
        return variants(self.samples, self.random("samples"))

    @property
    def another_shape(self) -> str:
        """What of its shape is to be told after its numbers; nothing where it is the usual one."""
        return "" if self.shape == USUAL_SHAPE else f", {self.shape}"

    @property
    def size_classes(self) -> tuple[SizeClass, ...]:
        """What sizes the payloads have."""
        if self.samples:
            return size_classes(self.sampled)
        return self.shape.payload_sizes or PROFILES[self.payload_profile]

    def draw_payload_bytes(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Sizes of ``count`` payloads that are made by a profile; those after samples have theirs, and 0 here."""
        return np.zeros(count, np.int64) if self.samples else draw_sizes(self.size_classes, count, random)

    def example_payloads(self, count: int, random: np.random.Generator) -> list[str]:
        """``count`` payloads as the corpus has them."""
        if self.samples:
            return [self.sampled[index] for index in random.integers(0, len(self.sampled), count).tolist()]
        return example_payloads(count, random, self.payload_profile, self.size_classes)

    @property
    def batch_count(self) -> int:
        return -(-self.events // BATCH_EVENTS)

    @property
    def cohort_count(self) -> int:
        return -(-self.events // self.cohort_events)

    def random(self, purpose: str, number: int = 0) -> np.random.Generator:
        """A generator of its own for each purpose and number, all from the one seed."""
        return np.random.default_rng([self.seed, number, *purpose.encode()])

"""How much is measured: forks, warm-up, samples, and the time they may take."""

from __future__ import annotations

from dataclasses import dataclass

from eventmark.choices import unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """``samples`` and ``seconds_max`` are of one operation in one fork, whichever ends first.

    ``calls_per_s_max`` bounds how often the server is asked, None does not.
    """

    name: str
    forks: int
    warmup_calls: int  # in one iteration
    warmup_iterations_max: int
    samples: int
    seconds_max: float
    cold_samples: int
    with_peers: bool = True  # the bare driver and a library as well, not pgbench alone
    calls_per_s_max: float | None = None


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="quick", forks=2, warmup_calls=10, warmup_iterations_max=8, samples=200, seconds_max=0.8,
            cold_samples=10, with_peers=False,
        ),
        Profile(
            name="standard", forks=5, warmup_calls=25, warmup_iterations_max=20, samples=1000, seconds_max=2.0,
            cold_samples=40,
        ),
        Profile(
            name="full", forks=5, warmup_calls=50, warmup_iterations_max=40, samples=5000, seconds_max=30.0,
            cold_samples=200,
        ),
    )
}  # fmt: skip


def find_profile(name: str) -> Profile:
    """Raises ``UsageError`` for an unknown name."""
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]

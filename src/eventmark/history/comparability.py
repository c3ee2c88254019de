"""What two results must have in common before their figures are held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eventmark.errors import UsageError
from eventmark.results.results import RunResult, StoreEnvironment

MEMORY_SHARE = 0.02  # a kernel of another version keeps a little more for itself


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why two results cannot be compared, and what to do about it."""

    what: str
    base: str
    candidate: str
    remedy: str

    @property
    def described(self) -> str:
        return f"{self.what}: {self.base} before, {self.candidate} now"


def check_comparable(base: RunResult, candidate: RunResult, *, across_schemas: bool = False) -> None:
    """Raises ``UsageError`` that names everything in which the results differ and must not.

    ``across_schemas``: the schema, or the store, is what is compared.
    """
    reasons = list(refusals(base, candidate, across_schemas=across_schemas))
    if reasons:
        raise UsageError(
            "these results are not comparable: " + "; ".join(reason.described for reason in reasons),
            remedy=reasons[0].remedy,
        )


def refusals(base: RunResult, candidate: RunResult, *, across_schemas: bool) -> Iterator[Refusal]:
    """In what order a reader would ask: the same store, the same corpus, measured the same way, the same server.

    Format and its version were looked at when the files were read.
    """
    left, right = base.environment, candidate.environment
    yield from _differs("scenario", base.scenario, candidate.scenario, "name two results of one scenario")
    if not across_schemas:
        schemas = "compare on purpose with --across-schemas"
        yield from _differs("store", left.store.name, right.store.name, schemas)
        yield from _differs("schema", left.store.schema_sha256[:12], right.store.schema_sha256[:12], schemas)
        for what, texts in _texts(left.store, right.store).items():
            yield from _differs(what, *texts, schemas)
    yield from _differs("events", _events(base), _events(candidate), "seed the same number of events")
    yield from _differs("tenants", _tenants(base), _tenants(candidate), "seed with the same --tenants")
    yield from _differs("seed", str(base.seed), str(candidate.seed), "run with the same --seed")
    yield from _differs("profile", base.profile, candidate.profile, "run with the same --profile")
    yield from _differs(
        "load generated through", base.through, candidate.through, "run both with the same --through"
    )
    yield from _differs("PostgreSQL", _major(base), _major(candidate), "run both on the same major version")
    if not _share_something(base, candidate):
        yield Refusal(
            "nothing measured in common",
            _held(base),
            _held(candidate),
            "name two results of the same scenario",
        )


def machine_differences(base: RunResult, candidate: RunResult) -> list[str]:
    """Why times of the two cannot be held against each other; empty on one machine. Counters still can."""
    left, right = base.environment, candidate.environment
    differences = [
        *_differs("processor", left.host.cpu_model, right.host.cpu_model),
        *_differs("cores", str(left.host.cpu_count), str(right.host.cpu_count)),
        *_differs("server", left.server.kind, right.server.kind),
    ]
    memory = left.host.memory_mib, right.host.memory_mib
    if abs(memory[1] - memory[0]) > MEMORY_SHARE * max(memory):
        differences += _differs("memory", f"{memory[0]} MiB", f"{memory[1]} MiB")
    return [difference.described for difference in differences]


def noted_differences(base: RunResult, candidate: RunResult) -> list[str]:
    """What else differs, and may be the reason for a change: settings, versions, libraries, the system."""
    left, right = base.environment, candidate.environment
    pairs = {
        "system": (left.host.system, right.host.system),
        "Python": (left.host.python, right.host.python),
        "Eventmark": (left.host.eventmark, right.host.eventmark),
        "PostgreSQL": (left.server.version, right.server.version),
        "schema": (left.store.schema_sha256[:12], right.store.schema_sha256[:12]),
        **_texts(left.store, right.store),
        **_paired("library", left.host.libraries, right.host.libraries),
        **_paired("setting", left.server.settings, right.server.settings),
    }
    return [difference.described for what, sides in pairs.items() for difference in _differs(what, *sides)]


def _differs(what: str, base: str, candidate: str, remedy: str = "") -> Iterator[Refusal]:
    if base != candidate:
        yield Refusal(what, base or "none", candidate or "none", remedy)


def _texts(base: StoreEnvironment, candidate: StoreEnvironment) -> dict[str, tuple[str, str]]:
    """The SHA-256 of the statements of the user's own that both have run."""
    left, right = base.own_statements, candidate.own_statements
    return {f"text of {name}": (left[name][:12], right[name][:12]) for name in left if name in right}


def _paired(what: str, base: dict[str, str], candidate: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {
        f"{what} {name}": (base.get(name, "none"), candidate.get(name, "none"))
        for name in sorted(base.keys() | candidate.keys())
    }


def _events(result: RunResult) -> str:
    return f"{result.corpus.events:,}" if result.corpus else "none"


def _tenants(result: RunResult) -> str:
    return str(result.corpus.tenants) if result.corpus else "none"


def _major(result: RunResult) -> str:
    return str(result.environment.server.version_num // 10000)


def _share_something(base: RunResult, candidate: RunResult) -> bool:
    return bool(
        base.operations.keys() & candidate.operations.keys()
        or base.figures.keys() & candidate.figures.keys()
        or {plan.statement for plan in base.plans} & {plan.statement for plan in candidate.plans}
    )


def _held(result: RunResult) -> str:
    return f"{len(result.operations)} operations, {len(result.plans)} plans, {len(result.figures)} figures"

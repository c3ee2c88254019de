"""A team's own store, tested together with its other tests: ``pytest --eventmark``.

Fixtures of the session: ``eventmark_server``, ``eventmark_store`` (seeded), ``assert_within_targets`` and
``assert_plans_met``; their types are in ``eventmark.testing``. Tests that use one are skipped without ``--eventmark``.
Loaded by every pytest that runs where Eventmark is installed: nothing is imported here that costs time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventmark.errors import EventmarkError

if TYPE_CHECKING:
    from eventmark.results.results import OperationResult, PlanResult, Verdict
    from eventmark.server import Server
    from eventmark.testing import AssertPlansMet, AssertWithinTargets, SeededStore

_FIXTURES = frozenset(("eventmark_server", "eventmark_store", "assert_within_targets", "assert_plans_met"))
_SETTINGS = {
    "store": ("eaf", "the store: its name, or its folder relative to the settings file"),
    "server": ("embedded", "embedded, local, docker or postgresql://user@host/database"),
    "events": ("50k", "events to seed"),
    "profile": ("quick", "quick, standard or full"),
    "schema": ("eventmark_pytest", "the schema that is made and dropped"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("eventmark", "an event store at production scale")
    group.addoption("--eventmark", action="store_true", help="run the tests that need a seeded store")
    group.addoption(
        "--eventmark-strict",
        action="store_true",
        help="a target that the evidence does not decide fails its test",
    )
    for name, (default, text) in _SETTINGS.items():
        group.addoption(f"--eventmark-{name}", default=None, metavar=name.upper(), help=f"{text} [{default}]")
        parser.addini(f"eventmark_{name}", text, default=default)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "eventmark: needs a seeded store; run with --eventmark")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--eventmark"):
        return
    skip = pytest.mark.skip(reason="needs a seeded store: run with --eventmark")
    for item in items:
        if _FIXTURES.intersection(getattr(item, "fixturenames", ())) or item.get_closest_marker("eventmark"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def eventmark_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A server as ``eventmark_server`` names it, gone afterwards if it was started here."""
    from eventmark.server import provision

    with _in_one_line(), provision(_setting(pytestconfig, "server")) as server:
        yield server


@pytest.fixture(scope="session")
def eventmark_store(pytestconfig: pytest.Config, eventmark_server: Server) -> Iterator[SeededStore]:
    """The store, checked and then seeded in a schema of its own."""
    from eventmark.experiments.run.seeded_store import seeded_store

    with (
        _in_one_line(),
        seeded_store(
            eventmark_server,
            _store(pytestconfig),
            events=_setting(pytestconfig, "events"),
            profile=_setting(pytestconfig, "profile"),
            schema=_setting(pytestconfig, "schema"),
        ) as store,
    ):
        yield store


@pytest.fixture(scope="session")
def assert_within_targets(pytestconfig: pytest.Config, eventmark_store: SeededStore) -> AssertWithinTargets:
    """Measure operations, by name, and fail where one breaks its target; all that the store has where none is named.

    One that the evidence does not decide skips the test with the reason, or fails it with ``--eventmark-strict``.
    Gives the results back by name.
    """

    def check(*operations: str) -> dict[str, OperationResult]:
        with _in_one_line():
            results = eventmark_store.measure(*operations)
        _decide(
            pytestconfig, ((result.verdict, f"{name}: {result.reason}") for name, result in results.items())
        )
        return results

    return check


@pytest.fixture(scope="session")
def assert_plans_met(pytestconfig: pytest.Config, eventmark_store: SeededStore) -> AssertPlansMet:
    """Examine the plan of every statement, and fail with the reason of each that is broken.

    One that is not decided skips the test, or fails it with ``--eventmark-strict``. Gives the plans back.
    """

    def check() -> list[PlanResult]:
        with _in_one_line():
            plans = eventmark_store.examine_plans()
        _decide(pytestconfig, ((plan.verdict, _faults(plan)) for plan in plans))
        return plans

    return check


def _faults(plan: PlanResult) -> str:
    text = (
        f"{finding.name}: {finding.observed}, expected {finding.expected}"
        for finding in plan.findings
        if finding.verdict is plan.verdict
    )
    return f"{plan.statement}, {plan.condition}: {'; '.join(text)}"


def _decide(config: pytest.Config, judged: Iterable[tuple[Verdict, str]]) -> None:
    """Fail for what is broken; skip for what is not decided, or fail for it with ``--eventmark-strict``."""
    from eventmark.results.results import Verdict

    reasons: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for verdict, reason in judged:
        reasons[verdict].append(reason)
    if reasons[Verdict.BROKEN]:
        pytest.fail("\n".join(reasons[Verdict.BROKEN]), pytrace=False)
    if unsure := reasons[Verdict.INCONCLUSIVE]:
        if config.getoption("--eventmark-strict"):
            pytest.fail("\n".join(unsure), pytrace=False)
        pytest.skip("; ".join(unsure))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """What is wrong with a store or a server is said in one line, as by the command line, and without a traceback."""
    from eventmark.redaction import redact_text

    try:
        yield
    except EventmarkError as error:
        text = redact_text(f"{type(error).__name__}: {error}")
        raise pytest.fail.Exception(text, pytrace=False) from None


def _setting(config: pytest.Config, name: str) -> str:
    """The flag, else the settings file."""
    return str(config.getoption(f"--eventmark-{name}") or config.getini(f"eventmark_{name}"))


def _store(config: pytest.Config) -> str:
    """A folder is relative to where the settings file is, as a flag's is to where pytest was called."""
    flag = config.getoption("--eventmark-store")
    if flag:
        return str(flag)
    named = str(config.getini("eventmark_store"))
    folder = (config.inipath.parent if config.inipath else Path.cwd()) / named
    return str(folder) if (folder / "store.toml").is_file() else named
